// @aws-crypto/client-node, the AWS Encryption SDK for JavaScript: a message under a key of the service.
import { readFileSync } from "node:fs";
import { buildClient, CommitmentPolicy, KmsKeyringNode } from "@aws-crypto/client-node";

const { keys } = JSON.parse(readFileSync(0, "utf8"));
const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const keyring = new KmsKeyringNode({ generatorKeyId: keys.data });
const content = Buffer.from("a file of the backup".repeat(100));
const { result } = await encrypt(keyring, content, { encryptionContext: { tenant: "blue" } });
const { plaintext, messageHeader } = await decrypt(keyring, result);
const refused = [];
for (const at of [400, result.length - 1]) {
  const changed = Buffer.from(result);
  changed[at] ^= 1;
  refused.push(
    await decrypt(keyring, changed).then(
      () => false,
      () => true,
    ),
  );
}
console.log(
  JSON.stringify({ whole: plaintext.equals(content), tenant: messageHeader.encryptionContext.tenant, refused }),
);
