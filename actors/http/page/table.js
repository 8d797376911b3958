// A table of which only the rows in sight exist: a thousand rows cost what thirty do.
//
// Columns are {key, title, cell(row, now), sort(row)}; a cell is a text, or {text, kind, title, left, of}.

import { make, say } from "./dom.js";

const ORDER = new Intl.Collator(undefined, { numeric: true }); // bot-9 before bot-10
const SPARE = 6; // rows beyond either edge, so that scrolling shows no gap

export class Table {
  constructor(scroller, { name, key, columns, text, state, onOpen }) {
    Object.assign(this, { scroller, key, columns, text, state, onOpen });
    this.rows = [];
    this.lines = new Map(); // key -> the element of a row in sight
    this.sorted = { column: columns[0], up: true };
    this.build(name);
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(scroller);
  }

  build(name) {
    this.above = make("tr", { class: "spacer", "aria-hidden": "true" }, make("td", { colspan: this.columns.length }));
    this.below = this.above.cloneNode(true);
    this.body = make("tbody", { role: "rowgroup" }, this.above, this.below);
    this.heads = this.columns.map((column) => this.head(column));
    this.table = make(
      "table",
      { role: "table", "aria-label": name },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row", "aria-rowindex": 1 }, ...this.heads)),
      this.body,
    );
    this.empty = make("p", { class: "empty", text: "Nothing to show.", hidden: true });
    this.scroller.append(this.table, this.empty);
    this.mark();
  }

  head(column) {
    const button = make("button", { type: "button", text: column.title });
    button.addEventListener("click", () => {
      this.sorted = { column, up: this.sorted.column === column ? !this.sorted.up : true };
      this.mark();
      this.arrange();
    });
    return make("th", { role: "columnheader", scope: "col", class: `c-${column.key}` }, button);
  }

  mark() {
    this.columns.forEach((column, at) => {
      const order = column === this.sorted.column ? (this.sorted.up ? "ascending" : "descending") : "none";
      this.heads[at].setAttribute("aria-sort", order);
    });
  }

  /** Show those of `all` that have `find` in them and are in `state`; return how many. */
  show(all, find, state, now) {
    const needle = find.trim().toLowerCase();
    this.now = now;
    this.rows = [...all].filter((row) =>
      (!state || this.state(row)[0] === state) && (!needle || this.text(row).toLowerCase().includes(needle)));
    this.arrange();
    return this.rows.length;
  }

  arrange() {
    const { column, up } = this.sorted;
    const keyed = this.rows.map((row) => [column.sort(row), row]);
    keyed.sort(([a, one], [b, other]) => compare(a, b) * (up ? 1 : -1) || compare(one[this.key], other[this.key]));
    this.rows = keyed.map(([, row]) => row);
    this.empty.hidden = this.rows.length > 0;
    this.draw();
  }

  /** Draw the rows in sight. */
  draw() {
    const { clientHeight, scrollTop } = this.scroller;
    if (!clientHeight) return; // the other tab is shown
    const height = parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row"));
    const first = Math.max(0, Math.floor(scrollTop / height) - SPARE);
    const last = Math.min(this.rows.length, first + Math.ceil(clientHeight / height) + 2 * SPARE);
    this.table.setAttribute("aria-rowcount", this.rows.length + 1);
    this.above.firstChild.style.height = `${first * height}px`;
    this.below.firstChild.style.height = `${(this.rows.length - last) * height}px`;
    this.place(this.rows.slice(first, last), first);
  }

  place(rows, first) {
    const wanted = new Set(rows.map((row) => row[this.key]));
    for (const [key, line] of this.lines) {
      if (!wanted.has(key)) line.remove(), this.lines.delete(key);
    }
    let before = this.above;
    rows.forEach((row, at) => {
      const line = this.lines.get(row[this.key]) ?? this.line(row);
      if (before.nextSibling !== line) before.after(line);
      line.setAttribute("aria-rowindex", first + at + 2);
      this.fill(line, row);
      before = line;
    });
  }

  line(row) {
    const line = make("tr", { role: "row" });
    this.columns.forEach((column, at) => {
      const cell = make(at ? "td" : "th", { role: at ? "cell" : "rowheader", scope: at ? null : "row", class: `c-${column.key}`, data: { title: column.title } });
      if (!at) {
        const open = make("button", { type: "button", class: "open" });
        open.addEventListener("click", () => this.onOpen(row[this.key]));
        cell.append(open);
      }
      line.append(cell);
    });
    this.lines.set(row[this.key], line);
    return line;
  }

  fill(line, row) {
    this.columns.forEach((column, at) => {
      const cell = line.children[at];
      const told = column.cell(row, this.now);
      const value = typeof told === "object" ? told : { text: told };
      if (!at) return say(cell.firstChild, value.text);
      if (value.of !== undefined) return fillMeter(cell, value);
      say(cell, value.text);
      if (value.kind) cell.dataset.kind = value.kind;
      if (value.title !== undefined && cell.title !== value.title) cell.title = value.title;
    });
  }
}

function fillMeter(cell, { text, left, of }) {
  if (!cell.firstChild) cell.append(make("span", { class: "left" }), make("span", { class: "meter", "aria-hidden": "true" }, make("i")));
  say(cell.firstChild, text);
  cell.lastChild.hidden = !of;
  const share = of ? Math.round((100 * left) / of) : 0;
  const bar = cell.lastChild.firstChild;
  if (bar.dataset.share !== String(share)) {
    bar.dataset.share = share;
    bar.dataset.low = share < 15;
    bar.style.width = `${share}%`;
  }
}

function compare(a, b) {
  if (a === b) return 0;
  if (a == null || a === "") return 1; // what is not there comes last
  if (b == null || b === "") return -1;
  return typeof a === "string" ? ORDER.compare(a, b) : a - b;
}
