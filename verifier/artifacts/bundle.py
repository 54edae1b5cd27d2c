"""The Sigstore bundle (sigstore/protobuf-specs, version 0.3) in the JSON of protobuf, read strictly. Decides no trust.

What it carries for finding the signer is a hint or a certificate, and neither becomes trust. Entries of transparency
logs and time-stamps may be in it; they are not looked at, and the facts say so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from verifier.artifacts.dsse import MAXIMUM_ENVELOPE_BYTES, Envelope, object_of, octets, read_envelope
from verifier.certificates import load_certificate
from verifier.errors import Indeterminate, Rejected
from verifier.strict_json import JsonValue, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from verifier.algorithms import HashName

MAXIMUM_BUNDLE_BYTES: Final = 2 * MAXIMUM_ENVELOPE_BYTES
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_FAMILY: Final = "application/vnd.dev.sigstore.bundle"
# sigstore_common.proto, enum HashAlgorithm
_HASH_NAMES: Final[Mapping[str, HashName]] = MappingProxyType(
    {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
)
_CONTENTS: Final = frozenset({"messageSignature", "dsseEnvelope"})
_SIGNERS: Final = frozenset({"publicKey", "certificate"})
_NOT_LOOKED_AT: Final = frozenset({"tlogEntries", "timestampVerificationData"})


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A signature over a file's digest."""

    hash_name: HashName
    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A well-formed bundle, its signature not checked yet: its content, and the signer's certificate or hint."""

    content: MessageSignature | Envelope
    certificate: x509.Certificate | None
    hint: str | None


def parse_bundle(data: bytes) -> Bundle:
    """Reads the bundle. Rejected if it is not this package's strict form of version 0.3, Indeterminate for others."""
    if len(data) > MAXIMUM_BUNDLE_BYTES:
        raise Rejected("too_large", f"The bundle is larger than {MAXIMUM_BUNDLE_BYTES} bytes.")
    try:
        return _bundle(parse_object(data))
    except ValueError as error:
        raise Rejected("malformed", f"The Sigstore bundle is malformed: {error}.") from error


def _bundle(members: dict[str, JsonValue]) -> Bundle:
    kind = members.get("mediaType")
    if kind != MEDIA_TYPE:
        if isinstance(kind, str) and kind.startswith(_FAMILY):
            raise Indeterminate("unsupported_format", "Only Sigstore bundles of version 0.3 can be verified.")
        raise ValueError("its mediaType is not that of a Sigstore bundle")
    given = object_of(members, "the bundle", required={"mediaType", "verificationMaterial"}, optional=_CONTENTS)
    content = _one_of(given, _CONTENTS, "the bundle")
    material = object_of(
        given["verificationMaterial"], "verificationMaterial", required=set(), optional=_SIGNERS | _NOT_LOOKED_AT
    )
    signer = _one_of(material, _SIGNERS, "verificationMaterial")
    if not isinstance(material.get("tlogEntries", []), list):
        raise ValueError("tlogEntries is not a list")
    if not isinstance(material.get("timestampVerificationData"), dict | None):
        raise ValueError("timestampVerificationData is not an object")
    certificate, hint = None, None
    if signer == "certificate":
        certified = object_of(material["certificate"], "certificate", required={"rawBytes"})
        certificate = load_certificate(octets(certified, "rawBytes"))
    else:
        hint = _hint(object_of(material["publicKey"], "publicKey", required={"hint"})["hint"])
    if content == "dsseEnvelope":
        envelope = given["dsseEnvelope"]
        if not isinstance(envelope, dict):
            raise ValueError("dsseEnvelope is not an object")
        return Bundle(read_envelope(envelope), certificate, hint)
    return Bundle(_message_signature(given["messageSignature"]), certificate, hint)


def _one_of(members: dict[str, JsonValue], names: frozenset[str], where: str) -> str:
    """The one member of a protobuf `oneof`. ValueError for none or two."""
    found = sorted(names & members.keys())
    if len(found) != 1:
        raise ValueError(f"{where} must have exactly one of {' and '.join(sorted(names))}")
    return found[0]


def _hint(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise ValueError("hint is not a text")
    return value


def _message_signature(value: JsonValue) -> MessageSignature:
    members = object_of(value, "messageSignature", required={"messageDigest", "signature"})
    digest = object_of(members["messageDigest"], "messageDigest", required={"algorithm", "digest"})
    algorithm = digest["algorithm"]
    if not isinstance(algorithm, str):
        raise ValueError("algorithm is not a text")
    if algorithm not in _HASH_NAMES:
        raise Rejected("algorithm_not_allowed", f"The bundle's digest is by {algorithm!r}, which is not allowed.")
    hash_name, octets_of_digest = _HASH_NAMES[algorithm], octets(digest, "digest")
    if len(octets_of_digest) != hashlib.new(hash_name).digest_size:
        raise ValueError(f"its digest has another length than {algorithm}")
    return MessageSignature(hash_name, octets_of_digest, octets(members, "signature"))
