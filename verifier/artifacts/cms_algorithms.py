"""AlgorithmIdentifiers of CMS: a closed table from object identifiers to the rows of the verifier's own list.

Parameters must be exactly those that the standards ask for: RFC 5754 (digests), RFC 4055 (RSA), RFC 5758 (ECDSA),
RFC 8419 (Ed25519).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from verifier import der
from verifier.algorithms import ALGORITHMS, HASHES, HashName, SignatureAlgorithm
from verifier.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGESTS: Final[Mapping[str, HashName]] = MappingProxyType(
    {
        "2.16.840.1.101.3.4.2.1": "sha256",
        "2.16.840.1.101.3.4.2.2": "sha384",
        "2.16.840.1.101.3.4.2.3": "sha512",
    }
)
_RSA_WITH_HASH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1.2.840.113549.1.1.11": "RSASSA_PKCS1_V1_5_SHA_256",
        "1.2.840.113549.1.1.12": "RSASSA_PKCS1_V1_5_SHA_384",
        "1.2.840.113549.1.1.13": "RSASSA_PKCS1_V1_5_SHA_512",
    }
)
_WITHOUT_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1.2.840.10045.4.3.2": "ECDSA_SHA_256",
        "1.2.840.10045.4.3.3": "ECDSA_SHA_384",
        "1.2.840.10045.4.3.4": "ECDSA_SHA_512",
        "1.3.101.112": "ED25519_SHA_512",
    }
)
_RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
_RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
_MGF1: Final = "1.2.840.113549.1.1.8"
_NULL: Final = b"\x05\x00"


def _identifier(element: der.Element) -> tuple[str, bytes]:
    """The object identifier, and the encoded parameters (empty where absent)."""
    fields = der.Reader(der.parse(element.encoded, der.SEQUENCE).content)
    name = fields.object_identifier()
    parameters = b"" if fields.empty else fields.take_any().encoded
    fields.finish()
    return name, parameters


def _not_allowed(what: str) -> Rejected:
    return Rejected("algorithm_not_allowed", f"The signature uses a {what} that is not allowed.")


def digest_algorithm(element: der.Element) -> HashName:
    """SHA-256, SHA-384 or SHA-512, with absent or NULL parameters (RFC 5754 section 2 accepts both)."""
    name, parameters = _identifier(element)
    if name not in _DIGESTS:
        raise _not_allowed(f"digest algorithm ({name})")
    if parameters not in (b"", _NULL):
        raise der.DerError("a digest algorithm has parameters")
    return _DIGESTS[name]


def signature_algorithm(element: der.Element, hash_name: HashName) -> SignatureAlgorithm:
    """The row of the list, whose hash must be the digest algorithm that the signer named. Rejected otherwise."""
    name, parameters = _identifier(element)
    bits = hash_name.removeprefix("sha")
    if name in _RSA_WITH_HASH or name == _RSA_ENCRYPTION:
        expected, row = _NULL, _RSA_WITH_HASH.get(name, f"RSASSA_PKCS1_V1_5_SHA_{bits}")
    elif name == _RSASSA_PSS:
        _check_pss(parameters, hash_name)
        expected, row = parameters, f"RSASSA_PSS_SHA_{bits}"
    elif name in _WITHOUT_PARAMETERS:
        expected, row = b"", _WITHOUT_PARAMETERS[name]
    else:
        raise _not_allowed(f"signature algorithm ({name})")
    if parameters != expected:
        raise der.DerError("the signature algorithm's parameters are not as its standard says")
    algorithm = ALGORITHMS[row]
    # RFC 8419 section 3.1: Ed25519 with signed attributes goes with SHA-512.
    if hash_name != (algorithm.hash_name or "sha512"):
        raise Rejected("algorithm_mismatch", "The digest algorithm is not the one of the signature algorithm.")
    return algorithm


def _check_pss(parameters: bytes, hash_name: HashName) -> None:
    """RFC 4055 section 3.1: hash, MGF1 with the same hash, salt as long as the hash; the trailer is the default."""
    fields = der.Reader(der.parse(parameters, der.SEQUENCE).content)
    digest = der.parse(fields.take(der.context(0)).content, der.SEQUENCE)
    mask = der.Reader(der.parse(fields.take(der.context(1)).content, der.SEQUENCE).content)
    salt = der.Reader(fields.take(der.context(2)).content)
    fields.finish()
    mask_name, mask_digest = mask.object_identifier(), mask.take(der.SEQUENCE)
    mask.finish()
    salt_length = salt.integer()
    salt.finish()
    named = (digest_algorithm(digest), mask_name, digest_algorithm(mask_digest), salt_length)
    if named != (hash_name, _MGF1, hash_name, HASHES[hash_name].digest_size):
        raise Rejected("algorithm_not_allowed", "The RSA-PSS parameters are not those that are allowed.")
