// Verifies c2sp.org/tlog-proof@v1 proofs with what npm's @sigstore/verify checks Rekor's by: a signed note by the log's
// key, and RFC 6962 inclusion. Those two functions are inside the package; nothing of them is changed here.
//
// stdin: [{proof: text, key: base64 SPKI, hint: base64 of the key's id, name}]
// stdout: [null or the refusal's message]; whatever is not a refusal of the library ends the program with another status.
import { createRequire } from "node:module";
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { VerificationError } from "@sigstore/verify";

const inside = createRequire(import.meta.url);
const { verifyCheckpoint } = inside("@sigstore/verify/dist/tlog/checkpoint.js");
const { verifyMerkleInclusion } = inside("@sigstore/verify/dist/tlog/merkle.js");
const bytes = (text) => Buffer.from(text, "base64");

function verify({ proof, key, hint, name }) {
  const [head, ...rest] = proof.split("\n\n");
  const [, extra, index, ...hashes] = head.split("\n");
  const entry = {
    canonicalizedBody: bytes(extra.slice("extra ".length)),
    inclusionProof: {
      logIndex: index.slice("index ".length),
      hashes: hashes.map(bytes),
      checkpoint: { envelope: rest.join("\n\n") },
    },
  };
  const publicKey = createPublicKey({ key: bytes(key), format: "der", type: "spki" });
  const checkpoint = verifyCheckpoint(entry, [{ logID: bytes(hint), publicKey, baseURL: name }]);
  verifyMerkleInclusion(entry, checkpoint);
}

const answers = JSON.parse(readFileSync(0, "utf8")).map((asked) => {
  try {
    verify(asked);
    return null;
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    return error.message;
  }
});
process.stdout.write(JSON.stringify(answers));
