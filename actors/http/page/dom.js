// The few lines that a framework would be for.

export const $ = (id) => document.getElementById(id);

/** Make an element: make("button", {type: "button", text: "Park"}, child, ...). */
export function make(tag, { text, data, ...attributes } = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  Object.assign(element.dataset, data);
  if (text != null) element.textContent = text;
  element.append(...children);
  return element;
}

/** Change a text only where it is another, so that nothing is laid out or read out in vain. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
