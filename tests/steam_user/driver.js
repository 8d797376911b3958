// Drives node-steam-user against the simulated Steam: one JSON object a line in and out.
//
// In: {"log_on": {...}} (options of SteamUser.logOn), {"code": "..."}, {"play": 570},
// {"gc": [message, body in hex]}, {"log_off": true}. Out: {"event": name, ...}.
'use strict';

const readline = require('readline');
const SteamUser = require('steam-user');

const DIRECTORY = process.argv[2];
const VALVE = 'https://api.steampowered.com';
const DOTA = 570;

const client = new SteamUser({
  dataDirectory: null,
  autoRelogin: false,
  protocol: SteamUser.EConnectionProtocol[process.argv[3]],
});
// The only thing that is not as it comes: the directory's host, which the library has no option for.
client._httpClient = {
  request: async ({method, url}) => {
    const answer = await fetch(url.replace(VALVE, DIRECTORY), {method});
    return {statusCode: answer.status, textBody: await answer.text()};
  },
};

let submitCode = null;
const say = (event, more = {}) => console.log(JSON.stringify({event, ...more}));

client.on('refreshToken', (token) => say('token', {token}));
client.on('steamGuard', (domain, callback, wrong) => {
  submitCode = callback;
  say('guard', {domain, wrong});
});
client.on('loggedOn', (details) => say('logged_on', {
  steam_id: client.steamID.getSteamID64(), public_ip: details.public_ip && details.public_ip.v4,
}));
client.on('error', (error) => say('error', {eresult: error.eresult || null, text: error.message}));
client.on('disconnected', (eresult) => say('disconnected', {eresult}));
client.on('playingState', (blocked, app) => say('playing', {blocked, app}));
client.on('receivedFromGC', (app, type, body) => say('gc', {type, body: body.toString('hex')}));

const commands = {
  log_on: (options) => client.logOn(options),
  code: (code) => submitCode(code),
  play: (app) => client.gamesPlayed([app]),
  gc: ([type, body]) => client.sendToGC(
    DOTA, type, {}, Buffer.from(body, 'hex'),
    (app, answer, payload) => say('answer', {type: answer, body: payload.toString('hex')}),
  ),
  hello: () => client.sendToGC(DOTA, 4006, {}, Buffer.alloc(0)),
  log_off: () => client.logOff(),
};

readline.createInterface({input: process.stdin})
  .on('line', (line) => {
    for (const [name, value] of Object.entries(JSON.parse(line))) {
      commands[name](value);
    }
  })
  .on('close', () => process.exit(0));
say('ready');
