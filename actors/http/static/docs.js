// Shows /openapi.json and tries it. Text only ever goes in as text, so nothing here can become a script.

const METHODS = ["get", "post", "put", "patch", "delete"];
const SHOWN = 200_000; // characters of an answer; more would only stall the page
const byId = (id) => document.getElementById(id);

const api = await (await fetch("/openapi.json")).json();
byId("version").textContent = api.info.version;
byId("about").textContent = api.info.description;
byId("operations").replaceChildren(...[...groups(api.paths)].flatMap(([tag, cards]) => [
  element("h2", { textContent: tag }),
  ...cards,
]));

function groups(paths) {
  const found = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of METHODS.filter((one) => one in methods)) {
      const operation = methods[method];
      const tag = operation.tags?.[0] ?? "others";
      found.set(tag, [...(found.get(tag) ?? []), card(path, method, operation)]);
    }
  }
  return found;
}

function card(path, method, operation) {
  const root = byId("operation").content.cloneNode(true).firstElementChild;
  const part = (name) => root.querySelector(`.${name}`);
  root.id = operation.operationId;
  part("method").textContent = method.toUpperCase();
  part("method").classList.add(method);
  part("path").textContent = path;
  part("title").textContent = operation.summary;
  part("details").textContent = operation.description;
  const fields = [...inputs(operation)];
  part("fields").append(...fields.map((field) => field.label));
  root.querySelector("tbody").append(...Object.entries(operation.responses).map(row));
  const request = () => compose(path, method, fields);
  const show = () => { part("curl").textContent = asCurl(request()); };
  root.addEventListener("toggle", show);
  root.addEventListener("input", show);
  part("try").addEventListener("submit", (event) => {
    event.preventDefault();
    show();
    attempt(request(), part);
  });
  return root;
}

function* inputs(operation) {
  for (const { name, in: place, required, description, schema } of operation.parameters ?? []) {
    const input = schema.enum ? choice(schema, required) : element("input", {
      value: required ? schema.examples?.[0] ?? "" : "",
      placeholder: String(schema.examples?.[0] ?? ""),
    });
    input.required = required;
    yield field(name, place, description, input);
  }
  const body = operation.requestBody?.content["application/json"]?.schema;
  if (body) {
    const value = JSON.stringify(example(resolve(body)));
    yield field("body", "body", "JSON", element("textarea", { value }));
  }
}

function field(name, place, description, input) {
  const label = element("label");
  label.append(
    element("span", { textContent: `${name} (${place})` }),
    input,
    element("span", { className: "hint", textContent: description }),
  );
  return { name, place, input, label };
}

function choice(schema, required) {
  const select = element("select");
  const options = required ? schema.enum : ["", ...schema.enum];
  select.append(...options.map((one) => element("option", { value: one, textContent: one })));
  return select;
}

function resolve(schema) {
  return schema.$ref ? schema.$ref.split("/").slice(1).reduce((at, key) => at[key], api) : schema;
}

function example({ properties = {} }) {
  const values = Object.entries(properties).map(([name, one]) => [name, one.examples?.[0] ?? null]);
  return Object.fromEntries(values);
}

function compose(path, method, fields) {
  const query = new URLSearchParams();
  const headers = {};
  let body;
  for (const { name, place, input: { value } } of fields) {
    if (value === "") continue;
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "query") query.append(name, value);
    else if (place === "header") headers[name] = value;
    else body = value;
  }
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (byId("key").value) headers.Authorization = `Bearer ${byId("key").value}`;
  const url = new URL(path, location.origin);
  url.search = query;
  return { url: url.href, method: method.toUpperCase(), headers, body };
}

function asCurl({ url, method, headers, body }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = ["curl"];
  if (method !== "GET") words.push("-X", method);
  for (const [name, value] of Object.entries(headers)) {
    // The key itself is not for the screen.
    words.push("-H", name === "Authorization" ? '"Authorization: Bearer $KEY"' : quoted(`${name}: ${value}`));
  }
  if (body !== undefined) words.push("-d", quoted(body));
  return [...words, quoted(url)].join(" ");
}

async function attempt({ url, ...request }, part) {
  const status = part("status");
  part("answer").hidden = false;
  part("headers").textContent = part("body").textContent = "";
  status.className = "status";
  status.textContent = "Asking …";
  const begun = performance.now();
  try {
    // A redirect leads to Valve, which a page may not read: say that there is one instead.
    const answer = await fetch(url, { ...request, redirect: "manual", cache: "no-store" });
    const text = readable(await answer.text(), answer.headers.get("Content-Type") ?? "");
    const took = Math.round(performance.now() - begun);
    status.classList.toggle("bad", answer.status >= 400);
    status.textContent = answer.type === "opaqueredirect"
      ? "A redirect, as it should be; open the address itself to follow it."
      : `${answer.status} ${answer.statusText}, ${took} ms`;
    part("headers").textContent = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    part("body").textContent = text.length > SHOWN ? `${text.slice(0, SHOWN)} …` : text;
  } catch (error) {
    status.classList.add("bad");
    status.textContent = `No answer: ${error.message}`;
  }
}

function readable(text, kind) {
  if (!kind.startsWith("application/json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function row([status, { description }]) {
  const line = element("tr");
  line.append(element("td", { textContent: status }), element("td", { textContent: description }));
  return line;
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
