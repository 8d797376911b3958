// Dialogs: one that asks (a question, or a form), one that shows details. What was typed is gone when they close.

import { $, make } from "./dom.js";

/** Say what came of something, also to who cannot see it; it goes away by itself. */
export function tell(text, kind = "well") {
  const note = make("p", { text, data: { kind } });
  const box = $("told");
  box.append(note);
  box.hidePopover();
  box.showPopover(); // show it again, so that it is above a dialog that has opened since
  setTimeout(() => note.remove(), kind === "act" ? 12000 : 6000);
}

/**
 * Ask, and do `act(values)` on yes; a refusal is shown and the dialog stays. Resolves when it is closed.
 *
 * `fields`: [{name, label, type, value, rows, hint, ...attributes}]; `hurts`: the button warns.
 * `act` may return {again: {...}} to have the dialog ask something further.
 */
export function ask(question) {
  const dialog = $("ask"), form = $("ask-form"), refusal = form.querySelector(".refusal");
  let act;
  const lay = ({ title, text, fields = [], yes, hurts, act: next }) => {
    act = next;
    $("ask-title").textContent = title;
    $("ask-text").textContent = text ?? "";
    $("ask-fields").replaceChildren(...fields.flatMap(field));
    $("ask-yes").textContent = yes;
    $("ask-yes").dataset.hurts = Boolean(hurts);
    refusal.textContent = "";
  };
  lay(question);
  return new Promise((closed) => {
    const busy = (isBusy) => {
      form.inert = isBusy;
      form.dataset.busy = isBusy;
    };
    form.onsubmit = async (event) => {
      event.preventDefault();
      refusal.textContent = "";
      const values = valuesOf(form);
      busy(true);
      try {
        const further = await act(values);
        if (further?.again) {
          lay(further.again);
          busy(false);
          focusFirst(dialog);
        } else finish();
      } catch (error) {
        refusal.textContent = error.message;
      } finally {
        busy(false);
      }
    };
    // Not in the event "close": that comes later, perhaps when the next question is asked already.
    const finish = () => {
      form.reset();
      $("ask-fields").replaceChildren(); // passwords go with their fields
      dialog.close();
      closed();
    };
    $("ask-no").onclick = finish;
    dialog.oncancel = (event) => { // Escape
      event.preventDefault();
      finish();
    };
    dialog.showModal();
    focusFirst(dialog);
  });
}

function focusFirst(dialog) {
  // Where nothing is to be typed, the harmless button: Enter alone must not do harm.
  (dialog.querySelector("#ask-fields :is(input, textarea)") ?? $("ask-no")).focus();
}

function field({ name, label, type = "text", value, rows, hint, ...attributes }) {
  const id = `field-${name}`;
  const common = { id, name, "aria-describedby": hint ? `${id}-hint` : null, spellcheck: "false", autocomplete: "off", ...attributes };
  const input = rows ? make("textarea", { rows, ...common }) : make("input", { type, ...common });
  if (value !== undefined) input.value = value;
  const parts = [make("label", { for: id, text: label }), input];
  if (hint) parts.push(make("small", { id: `${id}-hint`, text: hint }));
  return parts;
}

function valuesOf(form) {
  const values = {};
  for (const [name, value] of new FormData(form)) {
    values[name] = value instanceof File && !value.size ? "" : value;
  }
  return values;
}

/** The dialog with everything about one bot or account; it follows the snapshot while it is open. */
export class Details {
  constructor() {
    this.dialog = $("details");
    this.dialog.addEventListener("close", () => { this.look = null; });
  }

  /** `look()` returns {title, facts, buttons}, or null when the thing is gone. */
  open(look) {
    this.look = look;
    this.drawn = null;
    if (this.draw() && !this.dialog.open) this.dialog.showModal();
  }

  draw() {
    if (!this.look) return false;
    const seen = this.look();
    if (!seen) return this.dialog.close(), false;
    const facts = seen.facts.filter(([, value]) => value);
    $("details-title").textContent = seen.title;
    $("details-facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
    const drawn = seen.buttons.map(({ text }) => text).join("|");
    if (drawn !== this.drawn) { // else the focus would be lost with every update
      this.drawn = drawn;
      $("details-buttons").replaceChildren(...seen.buttons.map(({ text, act, hurts }) => {
        const button = make("button", { type: "button", text, data: { hurts: Boolean(hurts) } });
        button.addEventListener("click", () => act());
        return button;
      }));
    }
    return true;
  }

  close() {
    this.dialog.close();
  }
}
