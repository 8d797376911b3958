// Small charts of the last hour, drawn as SVG: bars, lines and stacked areas over sixty minutes.

import { make, say } from "./dom.js";
import { latency, many } from "./format.js";

const WIDTH = 600;
const HEIGHT = 100;
const MINUTE = 60;
const HOUR = 3600;
const WORDS_SHOWN = 5; // error words with a colour of their own

/** A figure: a title, the present value, the chart, and its axes in words. */
class Chart {
  constructor(figure, title) {
    this.now = make("span", { class: "value" });
    this.caption = make("figcaption", {}, make("span", { text: title }), this.now);
    this.svg = make("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.top = make("span", { class: "top" });
    this.legend = make("ul", { class: "legend" });
    this.title = title;
    const edges = make("p", { class: "edges", "aria-hidden": "true" }, make("span", { text: "60 min ago" }), make("span", { text: "now" }));
    figure.append(this.caption, make("div", { class: "plot" }, this.svg, this.top), edges, this.legend);
  }

  /** Draw `shapes` ([class, path] each), say what is so now, and the largest value at the top. */
  draw(shapes, { now, top, keys = [] }) {
    while (this.svg.children.length > shapes.length) this.svg.lastChild.remove();
    shapes.forEach(([name, path], at) => {
      const shape = this.svg.children[at] ?? this.svg.appendChild(make("svg:path", { "vector-effect": "non-scaling-stroke" }));
      if (shape.getAttribute("class") !== name) shape.setAttribute("class", name);
      if (shape.getAttribute("d") !== path) shape.setAttribute("d", path);
    });
    say(this.now, now);
    say(this.top, top);
    this.svg.setAttribute("aria-label", `${this.title}, last hour: ${now}`);
    const told = keys.map(([, text]) => text).join("|");
    if (this.legend.dataset.told !== told) {
      this.legend.dataset.told = told;
      this.legend.replaceChildren(...keys.map(([name, text]) => make("li", { class: name, text })));
    }
  }
}

/** The fleet over the last hour: who is ready below, then who recovers, then who is parked. */
export class FleetChart {
  constructor(figure) {
    this.chart = new Chart(figure, "Bots");
  }

  draw(history, now, counts) {
    const points = history.length ? [...history, { ...counts, at: now }] : [];
    const highest = Math.max(1, ...points.map((p) => p.ready + p.recovering + p.parked), ...points.map((p) => p.needs_you));
    const x = (at) => WIDTH - ((now - at) / HOUR) * WIDTH;
    const y = (value) => HEIGHT - (value / highest) * (HEIGHT - 4);
    const bands = [
      ["ready", () => 0, (p) => p.ready],
      ["recovering", (p) => p.ready, (p) => p.ready + p.recovering],
      ["parked", (p) => p.ready + p.recovering, (p) => p.ready + p.recovering + p.parked],
    ];
    const shapes = bands.map(([name, from, to]) => [
      `area ${name}`,
      band(points.map((p) => [x(p.at), y(from(p)), y(to(p))])),
    ]);
    shapes.push(["line needs", points.some((p) => p.needs_you) ? steps(points.map((p) => [x(p.at), y(p.needs_you)])) : ""]);
    this.chart.draw(shapes, {
      now: `${counts.ready} ready, ${counts.recovering} recovering, ${counts.parked} parked`,
      top: String(highest),
      keys: [["ready", "ready"], ["recovering", "recovering"], ["parked", "parked"], ["needs", "accounts that need you"]],
    });
  }
}

/** The four charts of what was asked. */
export class TrafficCharts {
  constructor($) {
    this.requests = new Chart($("requests-chart"), "Requests per minute");
    this.latency = new Chart($("latency-chart"), "Latency");
    this.cache = new Chart($("cache-chart"), "Answered from a cache");
    this.errors = new Chart($("errors-chart"), "Errors");
  }

  draw(minutes, now) {
    const first = Math.floor(now / MINUTE) - 59;
    const hour = Array.from({ length: 60 }, (_, at) => minutes.get((first + at) * MINUTE));
    this.drawRequests(hour);
    this.drawLatency(hour);
    this.drawCache(hour);
    this.drawErrors(hour);
  }

  drawRequests(hour) {
    const counts = hour.map((minute) => minute?.requests ?? 0);
    const highest = Math.max(1, ...counts);
    const total = counts.reduce((a, b) => a + b, 0);
    this.requests.draw([["bars requests", bars(counts, highest)]], { now: `${many(total, "request")}`, top: String(highest) });
  }

  drawLatency(hour) {
    const highest = Math.max(0.001, ...hour.map((minute) => minute?.p95 ?? 0));
    const seen = hour.findLast((minute) => minute?.p95 != null);
    const line = (key) => hour.map((minute, at) => (minute?.[key] == null ? null : [middle(at), HEIGHT - (minute[key] / highest) * (HEIGHT - 4)]));
    this.latency.draw([["line p95", path(line("p95"))], ["line p50", path(line("p50"))]], {
      now: seen ? `p50 ${latency(seen.p50)}, p95 ${latency(seen.p95)}` : "none yet",
      top: seen ? latency(highest) : "",
      keys: [["p50", "p50: half are quicker"], ["p95", "p95: 95 % are quicker"]],
    });
  }

  drawCache(hour) {
    const share = hour.map((minute) => {
      const sources = Object.entries(minute?.sources ?? {});
      const all = sources.reduce((sum, [, count]) => sum + count, 0);
      return all ? sources.filter(([name]) => name !== "gc").reduce((sum, [, count]) => sum + count, 0) / all : 0;
    });
    const total = (but) => hour.reduce((sum, minute) => sum + Object.entries(minute?.sources ?? {}).reduce((s, [name, count]) => s + (name === but ? 0 : count), 0), 0);
    const all = total();
    this.cache.draw([["bars cache", bars(share, 1)]], {
      now: all ? `${Math.round((100 * total("gc")) / all)} %` : "none yet",
      top: all ? "100 %" : "",
    });
  }

  drawErrors(hour) {
    const totals = new Map();
    for (const minute of hour) {
      for (const [word, count] of Object.entries(minute?.errors ?? {})) totals.set(word, (totals.get(word) ?? 0) + count);
    }
    const words = [...totals].sort((a, b) => b[1] - a[1]);
    const shown = words.slice(0, WORDS_SHOWN).map(([word]) => word);
    const highest = Math.max(1, ...hour.map((minute) => Object.values(minute?.errors ?? {}).reduce((a, b) => a + b, 0)));
    const floor = hour.map(() => 0);
    const shapes = [...shown, null].map((word, at) => {
      const counts = hour.map((minute) => Object.entries(minute?.errors ?? {}).reduce((sum, [one, count]) => sum + ((word === null ? !shown.includes(one) : one === word) ? count : 0), 0));
      const shape = [`bars error-${at}`, bars(counts, highest, floor)];
      counts.forEach((count, minute) => { floor[minute] += count; });
      return shape;
    });
    const total = words.reduce((sum, [, count]) => sum + count, 0);
    this.errors.draw(shapes, {
      now: total ? many(total, "error") : "none",
      top: total ? String(highest) : "",
      keys: words.slice(0, WORDS_SHOWN).map(([word, count], at) => [`error-${at}`, `${word} ${count}`]),
    });
  }
}

const middle = (at) => (at + 0.5) * (WIDTH / 60);

function bars(values, highest, floor = []) {
  const width = WIDTH / 60;
  return values.map((value, at) => {
    if (!value) return "";
    const height = (value / highest) * (HEIGHT - 4);
    const bottom = HEIGHT - ((floor[at] ?? 0) / highest) * (HEIGHT - 4);
    return `M${(at * width + 1).toFixed(1)} ${bottom.toFixed(1)}v${(-height).toFixed(1)}h${(width - 2).toFixed(1)}v${height.toFixed(1)}z`;
  }).join("");
}

/** A line through the points; null breaks it. A lone point becomes a short dash. */
function path(points) {
  let isDrawing = false;
  return points.map((point, at) => {
    if (!point) return (isDrawing = false), "";
    const [x, y] = point.map((value) => value.toFixed(1));
    const move = isDrawing ? `L${x} ${y}` : `M${x} ${y}${points[at + 1] ? "" : "h6"}`;
    isDrawing = true;
    return move;
  }).join("");
}

/** A stepped area between two lines: [x, from, to] each. */
function band(points) {
  if (!points.some(([, from, to]) => from !== to)) return "";
  const there = points.map(([x, , to], at) => `${at ? `H${x.toFixed(1)}V` : `M${x.toFixed(1)} `}${to.toFixed(1)}`).join("");
  const back = points.toReversed().map(([x, from], at) => `${at ? "" : `V${from.toFixed(1)}`}${at ? `V${from.toFixed(1)}` : ""}H${x.toFixed(1)}`).join("");
  return `${there}${back}Z`;
}

const steps = (points) => points.map(([x, y], at) => `${at ? `H${x.toFixed(1)}V` : `M${x.toFixed(1)} `}${y.toFixed(1)}`).join("");
