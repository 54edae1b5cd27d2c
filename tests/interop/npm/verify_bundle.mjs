// Verifies a Sigstore bundle with npm's @sigstore/verify, offline: no entry of a log and no time-stamp is asked for.
//
// stdin: {bundle, artifact?: base64, keys?: {hint: base64 SPKI}, authorities?: [base64 certificate], timestampers?: [...]}
// stdout: {accepted, code, message}; whatever is not a refusal of the library ends the program with another status.
import { bundleFromJSON, ValidationError } from "@sigstore/bundle";
import { toSignedEntity, toTrustMaterial, VerificationError, Verifier } from "@sigstore/verify";
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const bytes = (text) => Buffer.from(text, "base64");
const authority = (chain) => ({ certChain: { certificates: chain.map((each) => ({ rawBytes: bytes(each) })) } });
const keys = Object.fromEntries(
  Object.entries(asked.keys ?? {}).map(([hint, spki]) => [hint, { rawBytes: bytes(spki) }]),
);
const trust = toTrustMaterial(
  {
    certificateAuthorities: (asked.authorities ?? []).map((each) => authority([each])),
    timestampAuthorities: (asked.timestampers ?? []).map(authority),
    tlogs: [],
    ctlogs: [],
  },
  keys,
);
const timestamped = Boolean(asked.timestampers);
const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: timestamped ? 1 : 0 });

let verdict;
try {
  const bundle = bundleFromJSON(asked.bundle);
  verifier.verify(toSignedEntity(bundle, asked.artifact === undefined ? undefined : bytes(asked.artifact)));
  verdict = { accepted: true, code: "", message: "" };
} catch (error) {
  if (!(error instanceof VerificationError) && !(error instanceof ValidationError)) throw error;
  verdict = { accepted: false, code: error.code ?? "INVALID_BUNDLE", message: [error.message, error.cause?.message].filter(Boolean).join(": ") };
}
process.stdout.write(JSON.stringify(verdict));
