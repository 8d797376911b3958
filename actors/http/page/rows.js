// What the two tables show of a bot and of an account, and what the details do.

import { accountState, ago, ahead, botState, clock } from "./format.js";

const state = (of) => (row) => {
  const [text, kind] = of(row);
  return { text, kind };
};

/** The columns of the bots; `accounts` is the live map, for the budgets. */
export const botColumns = (accounts, plan) => [
  { key: "name", title: "Bot", cell: (bot) => bot.bot_id, sort: (bot) => bot.bot_id },
  { key: "state", title: "State", cell: state(botState), sort: (bot) => botState(bot)[0] },
  { key: "since", title: "Since", cell: (bot, now) => ago(bot.since, now), sort: (bot) => -bot.since },
  { key: "account", title: "Account", cell: (bot) => bot.account ?? "", sort: (bot) => bot.account },
  { key: "uptime", title: "Uptime", cell: (bot, now) => ago(bot.up_since, now), sort: (bot) => bot.up_since && -bot.up_since },
  { key: "budget", title: "Budget left", cell: (bot) => budget(accounts.get(bot.account)), sort: (bot) => accounts.get(bot.account)?.left },
  { key: "restarts", title: "Restarts", cell: (bot) => String(bot.restarts), sort: (bot) => bot.restarts },
  { key: "error", title: "Last error", cell: (bot, now) => ({ text: lastError(bot, now), title: lastError(bot, now) }), sort: (bot) => bot.last_error },
  { key: "next", title: "Next try", cell: (bot, now) => nextTry(bot, now, plan()), sort: (bot) => bot.next_try_at },
];

/** The last error with its age; none of a bot that has been well for a while. */
const lastError = (bot, now) => (bot.last_error == null ? "" : bot.last_error_at == null
  ? bot.last_error : `${ago(bot.last_error_at, now)} ago: ${bot.last_error}`);

/** Why an account is not used. */
const why = (one) => [one.problem, one.cooldown_reason ?? (one.need && `needs ${one.need}`)].filter(Boolean).join("; ");

/** The columns of the accounts. */
export const accountColumns = () => [
  { key: "name", title: "Account", cell: (one) => one.account, sort: (one) => one.account },
  { key: "state", title: "State", cell: state(accountState), sort: (one) => accountState(one)[0] },
  { key: "budget", title: "Budget left", cell: budget, sort: (one) => one.left },
  { key: "frees", title: "Frees", cell: (one, now) => (one.used ? freesAt(one, now) : ""), sort: (one) => one.frees_at },
  { key: "holder", title: "Used by", cell: (one) => ({ text: shortHolder(one.holder), title: one.holder ?? "" }), sort: (one) => one.holder },
  { key: "cooldown", title: "Rests", cell: (one, now) => ahead(one.cooldown_until, now), sort: (one) => one.cooldown_until },
  { key: "error", title: "Why", cell: (one) => ({ text: why(one), title: why(one) }), sort: why },
  { key: "logon", title: "Last log-on", cell: (one, now) => ago(one.last_logon_at, now), sort: (one) => one.last_logon_at && -one.last_logon_at },
];

/** What is searched in. */
export const botText = (bot) => [bot.bot_id, botState(bot)[0], bot.account, bot.last_error, bot.ip].join(" ");
export const accountText = (one) => [one.account, accountState(one)[0], one.holder, why(one)].join(" ");

/** All that is known, for the details. */
export const botFacts = (bot, now, account, plan) => [
  ["State", botState(bot)[0]],
  ["Since", `${clock(bot.since, now)} (${ago(bot.since, now)})`],
  ["Account", bot.account],
  ["Budget left", account && `${account.left} of ${account.left + account.used}`],
  ["Ready since", bot.up_since && `${clock(bot.up_since, now)} (${ago(bot.up_since, now)})`],
  ["Address", bot.ip],
  ["Restarts", String(bot.restarts)],
  ["Waits for", bot.waits],
  ["Last error", lastError(bot, now)],
  ["Next try", nextTry(bot, now, plan)],
];

export const accountFacts = (one, now) => [
  ["State", accountState(one)[0]],
  ["Budget left", `${one.left} of ${one.left + one.used}`],
  ["Frees", one.used ? freesAt(one, now) : null],
  ["Used by", one.holder],
  ["Rests", one.cooldown_until && `until ${clock(one.cooldown_until, now)}`],
  ["Why", why(one)],
  ["Last log-on", one.last_logon_at && `${clock(one.last_logon_at, now)} (${ago(one.last_logon_at, now)} ago)`],
];

export const freesAt = (budget, now) => (budget.frees_at ? clock(budget.frees_at, now) : "");

const budget = (account) => account
  ? { text: String(account.left), left: account.left, of: account.left + account.used }
  : { text: "", left: 0, of: 0 };

function nextTry(bot, now, plan) {
  if (bot.state === "parked" && bot.next_try_at == null) {
    return plan?.drained ? "when the fleet is resumed" : "when you want it";
  }
  return ahead(bot.next_try_at, now);
}

const shortHolder = (holder) => (holder ?? "").split("/").at(-1);
