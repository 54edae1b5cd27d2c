// Requests to the service, signed by npm's http-message-signatures (RFC 9421) and sent with node:https.
//
// Called as `node sign_request.mjs KEY.pem ALGORITHM KEYID`; standard input is a list of {"method", "url", "body"?,
// "headers"?, "sent"?}: what is signed, and in `sent` what is sent otherwise. Standard output is a list of {"status",
// "answer"}. LOCAL_ADDRESS in the environment is the address to call from. It imports nothing of Sealmark.

import { constants, createHash, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { text } from "node:stream/consumers";
import { createSigner, httpbis } from "http-message-signatures";

const [file, algorithm, keyid] = process.argv.slice(2);
const pem = readFileSync(file);
// The library's own RSA-PSS takes the longest salt there is; RFC 9421 section 3.3.1 says 64 octets.
const pss = { key: pem, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 };
const key =
  algorithm === "rsa-pss-sha512"
    ? { id: keyid, alg: algorithm, sign: async (data) => sign("sha512", data, pss) }
    : createSigner(pem, algorithm, keyid);

function send(url, { method, headers, body }) {
  return new Promise((resolve, reject) => {
    const options = { method, headers, localAddress: process.env.LOCAL_ADDRESS };
    const call = request(url, options, async (answer) => {
      resolve({ status: answer.statusCode, answer: JSON.parse(await text(answer)) });
    });
    call.on("error", reject);
    call.end(body);
  });
}

async function ask(asked) {
  const headers = { ...asked.headers };
  const fields = ["@method", "@authority", "@path", "@query", ...Object.keys(headers).map((name) => name.toLowerCase())];
  if (asked.body !== undefined) {
    headers["Content-Type"] = "application/json";
    headers["Content-Digest"] = `sha-256=:${createHash("sha256").update(asked.body).digest("base64")}:`;
    fields.push("content-type", "content-digest");
  }
  const signed = await httpbis.signMessage(
    {
      key,
      fields,
      params: ["created", "keyid", "alg", "expires", "nonce", "tag"],
      paramValues: { nonce: randomBytes(18).toString("base64url"), tag: "sealmark" },
    },
    { method: asked.method, url: asked.url, headers },
  );
  const sent = { ...signed, body: asked.body, ...asked.sent, headers: { ...signed.headers, ...asked.sent?.headers } };
  return send(sent.url, sent);
}

const answers = [];
for (const asked of JSON.parse(await text(process.stdin))) answers.push(await ask(asked));
process.stdout.write(JSON.stringify(answers));
