"""securesystemslib's AWSSigner, as TUF and in-toto sign with it: each of its schemes for the keys there are."""

from __future__ import annotations

from typing import Final

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import AWSSigner, Key, Signature, Signer

from tests.interop.aws.clients.told import flipped, given, tell

PAYLOAD: Final = b'{"_type": "targets", "version": 3}'
SCHEMES: Final = {
    "sign": ("ecdsa-sha2-nistp256",),
    "sign-384": ("ecdsa-sha2-nistp384",),
    "rsa": tuple(f"{form}-sha{size}" for form in ("rsassa-pss", "rsa-pkcs1v15") for size in (256, 384, 512)),
}


def verdict(key: Key, signature: Signature, payload: bytes) -> str:
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError:
        return "refused"
    return "verified"


def main() -> None:
    keys = given()["keys"]
    told = {}
    for name, schemes in SCHEMES.items():
        for scheme in schemes:
            uri, public = AWSSigner.import_(keys[name], scheme)
            signature = Signer.from_priv_key_uri(uri, public).sign(PAYLOAD)
            told[scheme] = {
                "public": public.keyval["public"],
                "signature": signature.signature,
                "verdicts": [verdict(public, signature, content) for content in (PAYLOAD, flipped(PAYLOAD))],
            }
    _, first = AWSSigner.import_(keys["sign"])
    tell(payload=PAYLOAD, schemes=told, default=first.scheme)


if __name__ == "__main__":
    main()
