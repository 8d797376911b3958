// Formats states, instants, spans and numbers. The sentences of alerts: actors/dashboard/alerts.py.

export const BOT_STATES = {
  ready: ["ready", "well"],
  waiting_for_account: ["waiting for an account", "busy"],
  connecting: ["connecting", "busy"],
  authenticating: ["logging on", "busy"],
  launching: ["joining Dota 2", "busy"],
  exhausted: ["budget spent", "busy"],
  needs_human: ["needs you", "act"],
  backing_off: ["waiting to retry", "busy"],
  parked: ["parked", "rest"],
  draining: ["finishing", "busy"],
  stopped: ["stopped", "rest"],
};

const ACCOUNT_STATES = {
  free: "well", "in use": "well", "checked out": "busy", lapsed: "busy", "cooling down": "busy",
  spent: "busy", "no password": "act", "not listed": "act", unusable: "act",
};

/** What a bot does, and how urgent that is: well, busy, rest or act. */
export const botState = (bot) => BOT_STATES[bot.state] ?? [bot.state, "busy"];

/** Where an account is, and how urgent that is. */
export const accountState = (account) => account.needs_you
  ? ["needs you", "act"]
  : [account.state, ACCOUNT_STATES[account.state] ?? "busy"];

/** A length of time in its largest unit: 45 s, 12 min, 5 h, 3 d. */
export function span(seconds) {
  if (seconds == null) return "";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** How long ago an instant (UTC seconds) was. */
export const ago = (instant, now) => (instant == null ? "" : span(now - instant));

/** How far ahead an instant is. */
export const ahead = (instant, now) => (instant == null ? "" : instant <= now ? "now" : `in ${span(instant - now)}`);

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });

/** An instant by the local clock; with the day where it is not within twelve hours. */
export function clock(instant, now) {
  return (Math.abs(instant - now) < 43200 ? CLOCK : DAY).format(new Date(instant * 1000));
}

/** A latency. */
export function latency(seconds) {
  if (seconds == null) return "–";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

/** A number with its noun. */
export const many = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
