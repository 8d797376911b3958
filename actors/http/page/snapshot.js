// Live snapshot of the service: read from /events, kept whole, passed on with the parts that changed.

const TABLES = { bots: "bot_id", accounts: "account", ips: "ip" };
const PARTS = ["fleet", "router", "config", "headlines", "about"];
const HOUR = 3600;
const SILENCE_MS = 35000; // the service sends something every ten seconds; a longer silence is a lost connection
const RETRY_MS = [1000, 2000, 5000, 10000];

export class LiveSnapshot {
  /** @param onChange called with the set of what changed; @param onLink with live, connecting or refused. */
  constructor(onChange, onLink) {
    this.bots = new Map();
    this.accounts = new Map();
    this.ips = new Map();
    this.history = [];
    this.minutes = new Map();
    this.skew = 0; // seconds that the service's clock is ahead of ours
    this.onChange = onChange;
    this.onLink = onLink;
    this.failures = 0;
    this.source = null;
  }

  /** The present instant by the service's clock, UTC seconds. */
  get now() {
    return Date.now() / 1000 + this.skew;
  }

  open() {
    this.close();
    this.onLink("connecting");
    const source = this.source = new EventSource("/events");
    source.addEventListener("snapshot", (event) => this.take(event, true));
    source.addEventListener("update", (event) => this.take(event, false));
    source.addEventListener("over", () => { // the session is over, and a new connection would be refused
      this.close();
      this.onLink("refused");
    });
    source.addEventListener("error", () => this.lost(source));
  }

  close() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.silence);
    clearTimeout(this.retry);
  }

  take(event, isWhole) {
    this.failures = 0;
    this.watchSilence();
    const news = JSON.parse(event.data);
    this.skew = news.at - Date.now() / 1000;
    const changed = new Set(["link"]);
    if (isWhole) {
      for (const table of [...Object.keys(TABLES), "minutes"]) this[table].clear(), changed.add(table);
      this.history = [];
    }
    for (const [table, key] of Object.entries(TABLES)) this.takeRows(table, key, news, changed);
    for (const part of PARTS) {
      if (part in news) this[part] = news[part], changed.add(part);
    }
    this.takePast(news, changed);
    this.onLink("live");
    this.onChange(changed);
  }

  takeRows(table, key, news, changed) {
    for (const row of news[table] ?? []) this[table].set(row[key], row), changed.add(table);
    for (const gone of news[`gone_${table}`] ?? []) this[table].delete(gone), changed.add(table);
  }

  takePast(news, changed) {
    const since = news.at - HOUR;
    if (news.history) {
      this.history = [...this.history, ...news.history].filter((point) => point.at >= since);
      changed.add("history");
    }
    for (const minute of news.minutes ?? []) this.minutes.set(minute.at, minute), changed.add("minutes");
    for (const at of this.minutes.keys()) if (at < since - 60) this.minutes.delete(at);
  }

  lost(source) {
    if (source !== this.source) return;
    this.onLink("connecting");
    clearTimeout(this.silence);
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    this.close();
    this.retry = setTimeout(() => this.onLink("refused"), RETRY_MS[Math.min(this.failures++, 3)]);
  }

  watchSilence() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.open(), SILENCE_MS);
  }
}
