"""Sigstore bundles, version 0.3 (sigstore/protobuf-specs, sigstore_bundle.proto), in the canonical JSON of protobuf.

A bundle holds a signature over a file's digest or a DSSE envelope, and says whose it is: the hint of a public key,
which every verifier takes that is given the key, or the key's certificate. There is no entry of a transparency log
and no time-stamp in it; a verifier that demands one has to be told not to.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from signer.errors import ServiceUnavailable
from signer.formats import publickey, raw

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import SigningKey
    from signer.formats.dsse import Envelope

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
# sigstore_common.proto, enum HashAlgorithm
_HASH_ALGORITHMS: Final = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}

VerificationMaterial = dict[str, dict[str, str]]
Bundle = dict[str, object]


def public_key_material(kid: str) -> VerificationMaterial:
    """The hint by which a verifier finds the key among those that it trusts: its RFC 7638 thumbprint."""
    return {"publicKey": {"hint": kid}}


def certificate_material(certificate: bytes) -> VerificationMaterial:
    """The key's own certificate (DER); version 0.3 carries no chain, the verifier has the authority."""
    return {"certificate": {"rawBytes": base64.b64encode(certificate).decode("ascii")}}


def require_usable(key: SigningKey, certificate: bytes, moment: datetime) -> None:
    """Pass if the certificate is the key's and valid at the moment.

    Raises: `ServiceUnavailable` for another key's, `Unprocessable` naming `material` outside its validity.
    """
    publickey.require_certified(key, certificate)
    publickey.require_valid(certificate, moment, field="material")


def over_digest(key: SigningKey, digest: bytes, material: VerificationMaterial) -> Bundle:
    """A bundle with a message signature over a file's digest, by the key's own hash.

    Raises: `Unprocessable` for a digest of another length or Ed25519; what `SigningKey.sign_digest` raises.
    """
    hash_name = raw.require_digest(key, digest, field="digests")
    signature = key.sign_digest(digest)
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": {
                "algorithm": _HASH_ALGORITHMS[hash_name],
                "digest": base64.b64encode(digest).decode("ascii"),
            },
            "signature": base64.b64encode(signature).decode("ascii"),
        },
    }


def around(envelope: Envelope, material: VerificationMaterial) -> Bundle:
    """A bundle with a DSSE envelope that is signed already.

    Raises: `ServiceUnavailable` unless it has exactly one signature (sigstore_bundle.proto allows no more).
    """
    if len(envelope["signatures"]) != 1:
        message = "an envelope in a bundle has exactly one signature"
        raise ServiceUnavailable(message)
    return {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
