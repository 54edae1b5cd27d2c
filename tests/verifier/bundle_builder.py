"""Sigstore bundles and DSSE envelopes built by hand, every part of them open to change."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUILDER = "urn:sealmark:000000000000:role/ci"
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
Json = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The DSSE protocol's pre-authentication encoding, written a second time here on purpose."""
    return b" ".join((b"DSSEv1", b"%d" % len(payload_type), payload_type.encode(), b"%d" % len(payload), payload))


def sign(key: pki.PrivateKey, message: bytes, hash_name: str = "sha256") -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), HASHES[hash_name])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(HASHES[hash_name]))
    return key.sign(message)


def subject(content: bytes, name: str = "tool", *hash_names: str) -> Json:
    digests = {each: hashlib.new(each, content).hexdigest() for each in hash_names or ("sha256",)}
    return {"name": name, "digest": digests}


def statement(*subjects: Json, **changes: Any) -> Json:
    """SLSA provenance over the subjects; None takes a member away."""
    members: Json = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": list(subjects),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {"runDetails": {"builder": {"id": BUILDER}}},
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def encoded(members: Json) -> bytes:
    return json.dumps(members).encode()


def envelope(
    key: pki.PrivateKey,
    payload: bytes,
    *,
    payload_type: str = PAYLOAD_TYPE,
    hash_name: str = "sha256",
    signed: Callable[[bytes, str], bytes] = pae,
    **changes: Any,
) -> Json:
    """The envelope; `signed` says what the signature is over."""
    signature = sign(key, signed(payload, payload_type), hash_name)
    return {
        "payloadType": payload_type,
        "payload": b64(payload),
        "signatures": [{"keyid": "", "sig": b64(signature)}],
        **changes,
    }


def public_key_material(hint: str = "release") -> Json:
    return {"publicKey": {"hint": hint}}


def certificate_material(certificate: x509.Certificate) -> Json:
    return {"certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))}}


def message_signature(key: pki.PrivateKey, content: bytes, hash_name: str = "sha256") -> Json:
    return {
        "messageDigest": {
            "algorithm": hash_name.upper().replace("SHA", "SHA2_"),
            "digest": b64(hashlib.new(hash_name, content).digest()),
        },
        "signature": b64(sign(key, content, hash_name)),
    }


def bundle(material: Json | None = None, **content: Any) -> Json:
    """A bundle with `messageSignature` or `dsseEnvelope`."""
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": public_key_material() if material is None else material,
        **content,
    }
