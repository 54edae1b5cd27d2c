// A relying party on npm's jose, with that library's own cache of the key set, and a clock that whoever asks it sets.
//
// Called as `node consumer.mjs KEY_SET_URL ISSUER AUDIENCE`. Each line of standard input is {"now": milliseconds since
// 1970, "tokens": [...]}; each line of standard output is the list of verdicts: "verified", or the error's code.
// It imports nothing of Sealmark.

import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url, issuer, audience] = process.argv.slice(2);
let present = 0;
Date.now = () => present; // jose's cooldown and the age of its cache are measured by this
const keys = createRemoteJWKSet(new URL(url)); // as shipped: 30 s of cooldown, 600 s of cache

async function verdict(token) {
  try {
    await jwtVerify(token, keys, { issuer, audience, currentDate: new Date(present) });
    return "verified";
  } catch (error) {
    return error.code ?? error.name;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  present = asked.now;
  const verdicts = [];
  for (const token of asked.tokens) verdicts.push(await verdict(token));
  process.stdout.write(`${JSON.stringify(verdicts)}\n`);
}
