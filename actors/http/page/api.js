// What the page asks the service to do. The header is one that no other site's page can send.

export class Refusal extends Error {
  constructor(status, answer) {
    super(answer.message ?? `the service answered ${status}`);
    this.status = status;
    this.word = answer.error;
  }
}

/** Send one request; `body`: an object as JSON, or a text or a file as it is. */
export async function call(method, path, body) {
  const headers = { "X-BotAPI-Page": "1" };
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined || typeof body === "string" || body instanceof Blob ? body : JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new Refusal(0, { error: "unreachable", message: "The service does not answer." });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

const one = (kind, name, what) => `/admin/${kind}/${encodeURIComponent(name)}${what}`;

export const session = () => call("GET", "/session");
export const signIn = (token) => call("POST", "/session", { token });
export const signOut = () => call("DELETE", "/session");

export const bot = (id, what) => call("POST", one("bots", id, `/${what}`));
export const fleet = (what, body) => call("POST", `/admin/fleet/${what}`, body);

export const addAccount = (account) => call("POST", "/admin/accounts", account);
export const importAccounts = (text) => call("POST", "/admin/import", text);
export const account = (name, what, force) => call("POST", one("accounts", name, `/${what}${force ? "?force=1" : ""}`));
export const removeAccount = (name, force) => call("DELETE", one("accounts", name, force ? "?force=1" : ""));
export const guard = (name, code) => call("POST", one("accounts", name, "/guard"), code === undefined ? undefined : { code });
