// One JWT judged by npm's jose with a key set.
//
// Called as `node verify_jwt.mjs ISSUER AUDIENCE`; standard input is {"keys": the key set, "tokens": [...]}, standard
// output the list of verdicts: {"verified": true, "alg": ..., "claims": {...}}, or {"verified": false, "code": ...}.
// It imports nothing of Sealmark.

import { text } from "node:stream/consumers";
import { createLocalJWKSet, jwtVerify } from "jose";

const [issuer, audience] = process.argv.slice(2);
const { keys, tokens } = JSON.parse(await text(process.stdin));
const trusted = createLocalJWKSet(keys);
const verdicts = [];
for (const token of tokens) {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, trusted, { issuer, audience });
    verdicts.push({ verified: true, alg: protectedHeader.alg, claims: payload });
  } catch (error) {
    verdicts.push({ verified: false, code: error.code ?? error.name });
  }
}
process.stdout.write(JSON.stringify(verdicts));
