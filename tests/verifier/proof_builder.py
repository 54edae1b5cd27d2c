"""Proofs for what the other builders sign. What was signed is dug out by other libraries than the verifier's own."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from asn1crypto import cms
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from tests.verifier import pki
from tests.verifier.log_builder import (
    LogBuilder,
    NoteSigner,
    cosign,
    decision_leaf,
    leaf_time,
    log_signer,
    rows_leaf,
    witness_signer,
)
from verifier import TrustedLog, trusted_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

LOG = log_signer()
WITNESSES = tuple(witness_signer(f"witness.example/w{number}") for number in (1, 2, 3))
SEEN = pki.NOW - timedelta(seconds=20)  # by the first witness; each of the others a second later
Logged = dict[str, str]


def trust(cosignatures: int = 0, witnesses: Sequence[NoteSigner] = WITNESSES, log: NoteSigner = LOG) -> TrustedLog:
    """The log, as a caller trusts it."""
    return trusted_log(log.text, [witness.text for witness in witnesses], cosignatures)


def log_entry(cosignatures: int = 0, **changes: object) -> dict[str, object]:
    """The log in a trust bundle's `logs`."""
    entry: dict[str, object] = {
        "key": LOG.text,
        "witnesses": [each.text for each in WITNESSES],
        "cosignatures": cosignatures,
    }
    return entry | changes


def logged(signed: bytes, signature: bytes, hash_name: str = "sha256") -> Logged:
    """A signature as a leaf names it; `signature` in DER for ECDSA."""
    return {"digest": hashlib.new(hash_name, signed).hexdigest(), "sha256": hashlib.sha256(signature).hexdigest()}


def leaf(key: pki.PrivateKey, algorithm: str, /, *signatures: Logged, **changes: object) -> bytes:
    """The leaf of a decision that made these signatures, a little before the first witness saw it."""
    members: dict[str, object] = {
        "algorithm": algorithm,
        "key_sha256": hashlib.sha256(pki.spki(key)).hexdigest(),
        "key_version": 1,
        "time": leaf_time(SEEN - timedelta(milliseconds=1500)),
    }
    return decision_leaf(*signatures, **(members | changes))


def cosigned(note: bytes, count: int = 3, first: datetime = SEEN) -> bytes:
    """The checkpoint, seen by the first `count` witnesses, one second apart."""
    for number, witness in enumerate(WITNESSES[:count]):
        note = cosign(note, witness, first + timedelta(seconds=number))
    return note


def proof(entry: bytes, *, count: int = 3, first: datetime = SEEN, log: NoteSigner = LOG) -> bytes:
    """The proof of this leaf among others, its checkpoint seen by `count` witnesses."""
    builder = LogBuilder([rows_leaf(number) for number in range(1, 6)])
    index = builder.append(entry)
    builder.append(rows_leaf(6))
    return builder.proof(index, cosigned(builder.checkpoint(log), count, first))


def cms_parts(signature: bytes) -> tuple[bytes, bytes]:
    """The signed attributes as they are signed, and the signature (RFC 5652 section 5.4)."""
    (info,) = cms.ContentInfo.load(signature)["content"]["signer_infos"]
    return info["signed_attrs"].untag().dump(), info["signature"].native


def jwt_parts(token: str) -> tuple[bytes, bytes]:
    """The signing input, and the signature, an ECDSA one by its length in DER."""
    signing_input, _, encoded = token.rpartition(".")
    return signing_input.encode(), _der(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


def saml_parts(message: bytes) -> list[tuple[bytes, bytes]]:
    """SignedInfo in exclusive canonical form and the signature, for each signature of the message."""
    namespace = "{http://www.w3.org/2000/09/xmldsig#}"
    found = []
    for element in etree.fromstring(message).iter(f"{namespace}Signature"):
        signed_info, value = element.find(f"{namespace}SignedInfo"), element.findtext(f"{namespace}SignatureValue")
        assert signed_info is not None
        assert value is not None
        canonical = etree.tostring(signed_info, method="c14n", exclusive=True, with_comments=False)
        found.append((canonical, _der(base64.b64decode(value))))
    return found


def _der(signature: bytes) -> bytes:
    """r and s side by side into DER; RSA signatures of the tests are longer, those of Ed25519 go by another way."""
    half = len(signature) // 2
    if half not in (32, 48, 66):
        return signature
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
