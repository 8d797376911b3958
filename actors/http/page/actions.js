// What an operator can do, each with the question that comes before it where it hurts.

import * as api from "./api.js";
import { ask, tell } from "./dialogs.js";
import { many } from "./format.js";

/** Do something that needs no question; say what came of it. */
async function just(what, done) {
  try {
    await what();
    tell(done);
  } catch (error) {
    tell(error.message, "act");
  }
}

export const restart = (id) => just(() => api.bot(id, "restart"), `${id} finishes its requests and logs on again.`);
export const unpark = (id) => just(() => api.bot(id, "unpark"), `${id} goes on.`);

export const park = (id) => ask({
  title: `Park ${id}?`,
  text: "It finishes what it has, logs off and gives its account back. It stays away until you want it, or until the service restarts.",
  yes: "Park",
  hurts: true,
  act: async () => {
    await api.bot(id, "park");
    tell(`${id} is being parked.`);
  },
});

export const drain = () => ask({
  title: "Drain the fleet?",
  text: "No bot takes another request; each finishes what it has, logs off and gives its account back. Until you resume, only matches that are cached are answered.",
  yes: "Drain",
  hurts: true,
  act: async () => {
    await api.fleet("drain");
    tell("The fleet is being drained.");
  },
});

export const resume = () => just(() => api.fleet("resume"), "The fleet goes on.");

export const scale = (plan) => ask({
  title: "How many bots?",
  text: `The settings say ${plan.configured}. Another number holds until bots.count is edited there, or the service restarts. Bots that are too many finish what they have first.`,
  fields: [{ name: "count", label: "Bots", type: "number", min: 1, max: 1000, required: true, value: plan.count }],
  yes: "Scale",
  act: async ({ count }) => {
    const now = await api.fleet("scale", { count: Number(count) });
    tell(`There shall be ${many(now.count, "bot")}.`);
  },
});

export const add = () => ask({
  title: "Add an account",
  text: "An account that is there already gets the new password.",
  fields: [
    { name: "name", label: "Name", required: true, maxlength: 64 },
    { name: "password", label: "Password", type: "password", required: true, autocomplete: "new-password" },
    { name: "shared_secret", label: "Shared secret", type: "password", autocomplete: "new-password", hint: "Optional, of the authenticator: base64, hex or base32. With it no code is ever asked for." },
  ],
  yes: "Add",
  act: async ({ name, password, shared_secret: secret }) => {
    const account = { name: name.trim(), password, ...(secret && { shared_secret: secret }) };
    await api.addAccount(account);
    tell(`${account.name} is added; the next free bot takes it.`);
  },
});

export const importFile = () => ask({
  title: "Import accounts",
  text: "Lines name:password or name:password:shared-secret, CSV with a header, JSON, maFiles or ASF bot files. All of it is imported, or nothing. A maFile holds no password: add its account first.",
  fields: [
    { name: "file", label: "File", type: "file", accept: ".json,.csv,.tsv,.txt,.maFile,text/*" },
    { name: "text", label: "Or its content", rows: 5 },
  ],
  yes: "Import",
  act: async ({ file, text }) => {
    const told = await api.importAccounts(file || text);
    if (told.imported) tell(`${many(told.imported, "account")} imported.`);
    if (!told.refused) return undefined;
    const lines = told.problems.map(({ where, problem }) => `${where}: ${problem}`);
    return { again: {
      title: "Nothing is imported",
      text: lines.join("\n"),
      yes: "Well",
      act: () => undefined,
    } };
  },
});

/** Something that is refused for an account in use; then it is asked once more, with what it means. */
const forced = ({ title, text, warning, yes, act, done }) => ask({
  title,
  text,
  yes,
  hurts: true,
  act: async () => {
    try {
      await act(false);
    } catch (error) {
      if (error.word !== "in-use") throw error;
      return { again: { title: "It is in use", text: warning, yes: `${yes} anyway`, hurts: true, act: async () => { await act(true); tell(done); } } };
    }
    tell(done);
    return undefined;
  },
});

export const release = (name) => forced({
  title: `Release ${name}?`,
  text: "Use this when the process that checked the account out has crashed and did not give it back.",
  warning: "The account is in use. A bot notices within seconds and stops using it; another kind of client does not, and then both use the account.",
  yes: "Release",
  act: (force) => api.account(name, "release", force),
  done: `${name} is released.`,
});

export const remove = (name) => forced({
  title: `Remove ${name}?`,
  text: "Its password, its tokens and its budget are deleted. To undo this, add the account again.",
  warning: "A bot is using it. It finds out within seconds and takes another account; what it has under way may fail.",
  yes: "Remove",
  act: (force) => api.removeAccount(name, force),
  done: `${name} is removed.`,
});

export const reset = (name) => ask({
  title: `Reset ${name}?`,
  text: "It rests no longer and has its whole budget again. Right only when Valve counts otherwise than we do: past its own limit Valve is silent, and that costs requests of others.",
  yes: "Reset",
  hurts: true,
  act: async () => {
    await api.account(name, "reset");
    tell(`${name} is reset.`);
  },
});

/** Log an account on with a Steam Guard code: begin, bring the code, again where it was wrong. */
export function guard(name) {
  const follow = ({ state, need }) => {
    if (state === "logged-on") {
      tell(`${name} is logged on; its token is stored.`);
      return undefined;
    }
    return { again: {
      title: `A code for ${name}`,
      text: `Steam wants ${need}.`,
      fields: [{ name: "code", label: "Code", required: true, maxlength: 10, autocapitalize: "characters", autocomplete: "one-time-code" }],
      yes: "Log on",
      act: async ({ code }) => follow(await api.guard(name, code.trim())),
    } };
  };
  return ask({
    title: `Log ${name} on?`,
    text: "Steam sends an e-mail with a code, or wants the one that the app shows.",
    yes: "Begin",
    act: async () => follow(await api.guard(name)),
  });
}
