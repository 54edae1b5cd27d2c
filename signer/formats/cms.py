"""CMS detached signatures (RFC 5652) over a file's digest, with the signer's certificate chain.

SignedData version 1 with the signed attributes contentType, messageDigest, signingTime and signingCertificateV2
(RFC 5035), in DER: what `openssl cms -verify -binary` takes. What does not change between two signatures of a key is
built once with asn1crypto and kept; the rest is four small DER values. It does not build attached signatures,
countersignatures or time-stamps, and no Ed25519, which OpenSSL 3.0 refuses in CMS.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from asn1crypto import algos, cms, tsp, x509

from keystore.algorithms import Scheme
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import publickey, raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keystore.algorithms import SigningAlgorithm
    from keystore.api import SigningKey

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OCTET_STRING: Final = 0x04
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_CONTEXT_0: Final = 0xA0

_FIRST_YEAR_OF_GENERALIZED_TIME: Final = 2050  # RFC 5652 section 11.3
_VERSION_1: Final = bytes.fromhex("020101")
_SIGNED_DATA: Final = cms.ContentType("signed_data").dump()
_DATA: Final = cms.ContentType("data").dump()
_MESSAGE_DIGEST: Final = cms.CMSAttributeType("message_digest").dump()
_SIGNING_TIME: Final = cms.CMSAttributeType("signing_time").dump()


def _der(tag: int, *contents: bytes) -> bytes:
    """One DER value (X.690 section 8.1.3): tag, definite length in the fewest octets, contents."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _der_set(tag: int, members: Iterable[bytes]) -> bytes:
    """A SET OF in DER: members in the order of their encodings (X.690 section 11.6)."""
    return _der(tag, *sorted(members))


@dataclass(frozen=True, slots=True)
class _Template:
    """All parts of a SignedData that depend on the algorithm and the chain alone, in DER."""

    before_signer_infos: bytes  # version, digestAlgorithms, encapContentInfo, certificates
    signer_prefix: bytes  # version, sid, digestAlgorithm
    signature_algorithm: bytes
    fixed_attributes: tuple[bytes, ...]  # contentType, signingCertificateV2


def _signature_algorithm(algorithm: SigningAlgorithm) -> bytes:
    """AlgorithmIdentifier of the signature: RFC 5754 section 3 for PKCS#1 v1.5 and ECDSA, RFC 4056 for PSS."""
    hash_name = algorithm.hash_name
    if algorithm.scheme is Scheme.PKCS1V15:
        identifier = algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_rsa"})
    elif algorithm.scheme is Scheme.ECDSA:
        identifier = algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_ecdsa"})
    else:
        hash_identifier = algos.DigestAlgorithm({"algorithm": hash_name})
        parameters = algos.RSASSAPSSParams(
            {
                "hash_algorithm": hash_identifier,
                "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": hash_identifier},
                "salt_length": hashlib.new(str(hash_name)).digest_size,
            }
        )
        identifier = algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})
    return bytes(identifier.dump())


def _signing_certificate(leaf: x509.Certificate, leaf_der: bytes) -> bytes:
    """The attribute signingCertificateV2 (RFC 5035 section 3); its hash is the default, SHA-256, and so left out."""
    certificate_id = tsp.ESSCertIDv2(
        {
            "cert_hash": hashlib.sha256(leaf_der).digest(),
            "issuer_serial": {
                "issuer": [x509.GeneralName("directory_name", leaf.issuer)],
                "serial_number": leaf.serial_number,
            },
        }
    )
    attribute = cms.CMSAttribute(
        {"type": "signing_certificate_v2", "values": [tsp.SigningCertificateV2({"certs": [certificate_id]})]}
    )
    return bytes(attribute.dump())


@lru_cache(maxsize=1024)
def _template(algorithm: SigningAlgorithm, chain: tuple[bytes, ...]) -> _Template:
    leaf = x509.Certificate.load(chain[0])
    digest_algorithm = algos.DigestAlgorithm({"algorithm": algorithm.hash_name})
    # RFC 5754 section 2: SHA-2 identifiers go without parameters.
    digest_identifier = _der(_SEQUENCE, digest_algorithm["algorithm"].dump())
    signer_id = cms.IssuerAndSerialNumber({"issuer": leaf.issuer, "serial_number": leaf.serial_number})
    return _Template(
        before_signer_infos=b"".join(
            (
                _VERSION_1,
                _der_set(_SET, (digest_identifier,)),
                _der(_SEQUENCE, _DATA),
                _der_set(_CONTEXT_0, chain),
            )
        ),
        signer_prefix=_VERSION_1 + bytes(signer_id.dump()) + digest_identifier,
        signature_algorithm=_signature_algorithm(algorithm),
        fixed_attributes=(
            bytes(cms.CMSAttribute({"type": "content_type", "values": ["data"]}).dump()),
            _signing_certificate(leaf, chain[0]),
        ),
    )


def _time(moment: datetime) -> bytes:
    """RFC 5652 section 11.3: UTCTime until 2049, GeneralizedTime from 2050; whole seconds, Z."""
    moment = moment.astimezone(UTC)
    if moment.year < _FIRST_YEAR_OF_GENERALIZED_TIME:
        return _der(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return _der(_GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))


def detached(key: SigningKey, digest: bytes, chain: Sequence[bytes], signing_time: datetime) -> bytes:
    """A ContentInfo in DER that signs the file whose digest (by the key's own hash) is `digest`.

    `chain` is DER certificates, the key's own first; all of them travel along. `signing_time` is timezone-aware.
    Raises: `Unprocessable` for a digest of another length, Ed25519, or a time at which the certificate is not valid;
    `ServiceUnavailable` for no certificate or one that is not the key's; and what `SigningKey.sign` raises.
    """
    algorithm = key.info.algorithm
    if algorithm.hash_name is None:
        message = f"{algorithm.name} keys make no CMS signatures: OpenSSL 3.0 refuses them"
        raise Unprocessable(message, field="formats")
    raw.require_digest(key, digest, field="digests")
    if not chain:
        message = "the key has no certificate; nothing was signed"
        raise ServiceUnavailable(message)
    publickey.require_certified(key, chain[0])
    publickey.require_valid(chain[0], signing_time, field="formats")
    template = _template(algorithm, tuple(chain))
    attributes = sorted(
        (
            *template.fixed_attributes,
            _der(_SEQUENCE, _MESSAGE_DIGEST, _der(_SET, _der(_OCTET_STRING, digest))),
            _der(_SEQUENCE, _SIGNING_TIME, _der(_SET, _time(signing_time))),
        )
    )
    # RFC 5652 section 5.4: what is signed is the attributes as an explicit SET OF, not the [0] that is sent.
    signature = key.sign(_der(_SET, *attributes))
    signer_info = _der(
        _SEQUENCE,
        template.signer_prefix,
        _der(_CONTEXT_0, *attributes),
        template.signature_algorithm,
        _der(_OCTET_STRING, signature),
    )
    signed_data = _der(_SEQUENCE, template.before_signer_infos, _der(_SET, signer_info))
    return _der(_SEQUENCE, _SIGNED_DATA, _der(_CONTEXT_0, signed_data))
