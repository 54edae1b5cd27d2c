// @aws-sdk/client-kms: signs, encrypts and decrypts with the keys given on standard input; prints what came of it.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  CreateKeyCommand,
  DecryptCommand,
  EncryptCommand,
  GetPublicKeyCommand,
  KMSClient,
  SignCommand,
  VerifyCommand,
} from "@aws-sdk/client-kms";

const { keys } = JSON.parse(readFileSync(0, "utf8"));
const kms = new KMSClient({});
const context = { tenant: "blue" };
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const flipped = (bytes) => Uint8Array.from(bytes, (byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte));
const refusal = (command) =>
  kms.send(command).then(
    () => "",
    (error) => error.name,
  );

const digest = createHash("sha256").update("released by node").digest();
const asked = { KeyId: keys.sign, Message: digest, MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256" };
const { Signature } = await kms.send(new SignCommand(asked));
const { SignatureValid } = await kms.send(new VerifyCommand({ ...asked, Signature }));
const { PublicKey } = await kms.send(new GetPublicKeyCommand({ KeyId: keys.sign }));
const plain = Buffer.from("secret");
const { CiphertextBlob } = await kms.send(
  new EncryptCommand({ KeyId: keys.data, Plaintext: plain, EncryptionContext: context }),
);
const { Plaintext } = await kms.send(new DecryptCommand({ CiphertextBlob, EncryptionContext: context }));
console.log(
  JSON.stringify({
    signature: base64(Signature),
    valid: SignatureValid,
    public_key: base64(PublicKey),
    opened: Buffer.from(Plaintext).toString(),
    refused: {
      signature: await refusal(new VerifyCommand({ ...asked, Signature: flipped(Signature) })),
      ciphertext: await refusal(
        new DecryptCommand({ CiphertextBlob: flipped(CiphertextBlob), EncryptionContext: context }),
      ),
      context: await refusal(new DecryptCommand({ CiphertextBlob })),
      create: await refusal(new CreateKeyCommand({})),
    },
  }),
);
