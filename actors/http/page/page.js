// The page: who is signed in, what is shown, and how it follows the snapshot.

import * as actions from "./actions.js";
import * as api from "./api.js";
import { FleetChart, TrafficCharts } from "./charts.js";
import { Details, tell } from "./dialogs.js";
import { $, make, say } from "./dom.js";
import { LiveSnapshot } from "./snapshot.js";
import { accountColumns, accountFacts, accountText, botColumns, botFacts, botText, freesAt } from "./rows.js";
import { Table } from "./table.js";
import { accountState, botState, clock, many } from "./format.js";

const AGES_MS = 5000; // between two looks at what only grows older
const LINKS = { live: "live", connecting: "connecting", refused: "connecting" };

const live = new LiveSnapshot(onChange, onLink);
const details = new Details();
const fleetChart = new FleetChart($("fleet-chart"));
const trafficCharts = new TrafficCharts($);
const tables = {
  bots: new Table($("table-bots"), {
    name: "Bots", key: "bot_id", columns: botColumns(live.accounts, () => live.fleet), text: botText, state: botState, onOpen: openBot,
  }),
  accounts: new Table($("table-accounts"), {
    name: "Accounts", key: "account", columns: accountColumns(), text: accountText, state: accountState, onOpen: openAccount,
  }),
};
let shown = "bots";
let isOperator = false;
let dirty = new Set();

// -- who is there ---------------------------------------------------------------------------------

async function begin() {
  let told;
  try {
    told = await api.session();
  } catch {
    onLink("connecting");
    setTimeout(begin, 3000);
    return;
  }
  isOperator = told.state === "signed-in";
  const mayWatch = told.may_watch;
  $("locked").hidden = mayWatch;
  $("all").hidden = !mayWatch;
  $("sign-in").hidden = told.state !== "signed-out" || !mayWatch;
  $("sign-out").hidden = !isOperator;
  for (const part of document.querySelectorAll(".operator")) part.hidden = !isOperator;
  say($("hint"), told.state === "no-admin" ? "To act from here, name a file with a token in http.admin_token_file and restart the service." : "");
  if (mayWatch) {
    live.open();
  } else {
    live.close();
    say($("link"), "signed out");
    $("link").dataset.link = "out";
    $("token").focus();
  }
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, refusal = form.querySelector(".refusal");
  refusal.textContent = "";
  try {
    await api.signIn(form.token.value);
    await begin();
    $("tables").focus({ preventScroll: true });
  } catch (error) {
    refusal.textContent = error.message;
  } finally {
    form.reset();
  }
});

$("sign-in").addEventListener("click", () => {
  live.close();
  $("all").hidden = true;
  $("locked").hidden = false;
  $("token").focus();
});

$("sign-out").addEventListener("click", async () => {
  await api.signOut().catch((error) => tell(error.message, "act"));
  details.close();
  await begin();
});

// -- the snapshot -------------------------------------------------------------------------------

function onLink(link) {
  $("link").dataset.link = link;
  say($("link"), LINKS[link]);
  if (link === "refused") begin(); // the session may be over
}

function onChange(changed) {
  if (!dirty.size) requestAnimationFrame(draw);
  for (const part of changed) dirty.add(part);
}

function draw() {
  const changed = dirty;
  dirty = new Set();
  const has = (...parts) => parts.some((part) => changed.has(part));
  if (has("headlines", "ages")) drawAlerts();
  if (has("about")) say($("about"), `${live.about.version} on ${live.about.instance}`);
  if (has("fleet")) drawPlan();
  if (has("bots", "accounts", "history", "ages")) drawFleet();
  if (has("accounts", "ips")) drawBudgets();
  if (has("minutes", "ages")) trafficCharts.draw(live.minutes, live.now);
  if (has("bots", "accounts", "fleet", "ages", "filter")) drawTable();
  if (has("bots", "accounts", "fleet", "ages")) details.draw();
}

setInterval(() => onChange(new Set(["ages"])), AGES_MS);

function drawAlerts() {
  const [first, ...others] = (live.headlines ?? []).map((line) => ({
    ...line,
    text: line.text.replace("{when}", line.when ? clock(line.when, live.now) : ""),
  }));
  if (!first) return;
  $("alert").dataset.level = first.level;
  say($("alert-text"), first.text);
  say($("alert-todo"), first.todo ?? "");
  const about = target(first.about);
  $("alert-open").hidden = !about;
  $("alert-open").onclick = about;
  document.title = ["act", "outage"].includes(first.level) ? "! BotAPI" : "BotAPI";
  const told = others.map((line) => line.text).join("\n");
  if ($("also").dataset.told === told) return;
  $("also").dataset.told = told;
  $("also").replaceChildren(...others.map((line) => {
    const open = target(line.about);
    const button = open && make("button", { type: "button", text: "Open" });
    button?.addEventListener("click", open);
    return make("li", { data: { level: line.level }, text: `${line.text} ${line.todo ?? ""} ` }, ...(button ? [button] : []));
  }));
}

/** What to open for a line that is about something; null for one that is not. */
function target(about) {
  if (!about) return null;
  const [kind, name] = about;
  return kind === "account" ? () => openAccount(name) : () => openBot(name);
}

function drawPlan() {
  const plan = live.fleet;
  $("drain").hidden = Boolean(plan?.drained);
  $("resume").hidden = !plan?.drained;
}

function counts() {
  const found = { ready: 0, recovering: 0, parked: 0, needs_you: 0 };
  for (const { state } of live.bots.values()) found[state === "ready" || state === "parked" ? state : "recovering"] += 1;
  for (const account of live.accounts.values()) found.needs_you += account.needs_you;
  return found;
}

function drawFleet() {
  const found = counts();
  for (const cell of document.querySelectorAll("[data-count]")) say(cell, String(found[cell.dataset.count]));
  document.querySelector(".counts .needs").dataset.some = found.needs_you > 0;
  fleetChart.draw(live.history, live.now, found);
}

function drawBudgets() {
  const accounts = [...live.accounts.values()];
  const left = accounts.reduce((sum, one) => sum + one.left, 0);
  const used = accounts.reduce((sum, one) => sum + one.used, 0);
  const spent = accounts.filter((one) => one.left === 0);
  const frees = Math.min(...accounts.filter((one) => one.frees_at).map((one) => one.frees_at));
  const lines = [{ name: many(accounts.length, "account"), left, used, frees_at: Number.isFinite(frees) ? frees : null, more: spent.length ? `${spent.length} spent` : "" }];
  for (const ip of live.ips.values()) lines.push({ ...ip, name: `address ${ip.ip}` });
  const rows = lines.map((line) => {
    const of = line.left + line.used;
    const text = `${line.left} of ${of}`;
    const when = line.used && line.frees_at ? `more from ${freesAt(line, live.now)}` : "";
    const bar = make("i", { data: { low: of > 0 && line.left / of < 0.15 } });
    bar.style.width = `${of ? (100 * line.left) / of : 0}%`;
    return make("li", {},
      make("span", { class: "who", text: line.name }),
      make("span", { class: "left", text }),
      make("span", { class: "meter", "aria-hidden": "true" }, bar),
      make("small", { text: [line.more, when].filter(Boolean).join(", ") || "nothing used" }));
  });
  $("budgets").replaceChildren(...rows);
}

// -- the tables ---------------------------------------------------------------------------------------

function drawTable() {
  const rows = live[shown];
  const number = tables[shown].show(rows.values(), $("find").value, $("state").value, live.now);
  say($("shown"), number === rows.size ? many(rows.size, shown.slice(0, -1)) : `${number} of ${rows.size}`);
  drawStates(rows);
}

function drawStates(rows) {
  const of = shown === "bots" ? botState : accountState;
  const states = [...new Set([...rows.values()].map((row) => of(row)[0])), $("state").value].filter(Boolean);
  const known = [...new Set(states)].sort();
  if ($("state").dataset.known === known.join("|")) return;
  const chosen = $("state").value;
  $("state").dataset.known = known.join("|");
  $("state").replaceChildren(make("option", { value: "", text: "all" }), ...known.map((text) => make("option", { value: text, text })));
  $("state").value = chosen;
}

function choose(name) {
  shown = name;
  for (const one of ["bots", "accounts"]) {
    const isChosen = one === name;
    $(`tab-${one}`).setAttribute("aria-selected", isChosen);
    $(`tab-${one}`).tabIndex = isChosen ? 0 : -1;
    $(`table-${one}`).hidden = !isChosen;
  }
  $("state").value = "";
  drawTable();
}

for (const name of ["bots", "accounts"]) {
  $(`tab-${name}`).addEventListener("click", () => choose(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = name === "bots" ? "accounts" : "bots";
    choose(other);
    $(`tab-${other}`).focus();
  });
}
$("find").addEventListener("input", () => onChange(new Set(["filter"])));
$("state").addEventListener("change", () => onChange(new Set(["filter"])));
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());

// -- details and actions --------------------------------------------------------------------------------

function openBot(id) {
  details.open(() => {
    const bot = live.bots.get(id);
    if (!bot) return null;
    const isParked = live.fleet?.parked.includes(id);
    const canWait = ["parked", "backing_off"].includes(bot.state);
    const buttons = [
      { text: "Restart", act: () => actions.restart(id) },
      isParked || canWait
        ? { text: isParked ? "Let it go on" : "Try now", act: () => actions.unpark(id) }
        : { text: "Park", act: () => actions.park(id), hurts: true },
    ];
    if (bot.account) buttons.push({ text: "Its account", act: () => openAccount(bot.account) });
    return { title: id, facts: botFacts(bot, live.now, live.accounts.get(bot.account), live.fleet), buttons: mine(buttons) };
  });
}

function openAccount(name) {
  details.open(() => {
    const account = live.accounts.get(name);
    if (!account) return null;
    const buttons = [
      { text: "Enter a Steam Guard code", act: () => actions.guard(name) },
      { text: "Release", act: () => actions.release(name), hurts: true },
      { text: "Reset", act: () => actions.reset(name), hurts: true },
      { text: "Remove", act: () => actions.remove(name), hurts: true },
    ];
    return { title: name, facts: accountFacts(account, live.now), buttons: mine(buttons) };
  });
}

/** Only operators act; "Its account" is no action. */
const mine = (buttons) => (isOperator ? buttons : buttons.filter(({ text }) => text === "Its account"));

$("scale").addEventListener("click", () => actions.scale(live.fleet));
$("drain").addEventListener("click", () => actions.drain());
$("resume").addEventListener("click", () => actions.resume());
$("add").addEventListener("click", () => actions.add());
$("import").addEventListener("click", () => actions.importFile());

begin();
