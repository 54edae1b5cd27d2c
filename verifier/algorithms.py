"""The verifier's own closed lists of algorithms, for signatures and for encryption: what is not in them is refused.

They are kept apart from the signer's tables on purpose, since a verifier that asked the signer what to accept would
accept what a broken signer makes. Names are those of AWS KMS.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from cryptography.hazmat.primitives import hashes

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyKind = Literal["RSA", "EC", "EDWARDS", "ML_DSA"]
Scheme = Literal["PKCS1V15", "PSS", "ECDSA", "EDDSA", "EDDSA_PH", "ML_DSA"]
HashName = Literal["sha256", "sha384", "sha512"]

HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = MappingProxyType(
    {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
)

_DSIG_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """One row of the list. `hash_name` is hashlib's name, None where the message itself is signed (RFC 8032,
    FIPS 204)."""

    name: str
    key_kind: KeyKind
    scheme: Scheme
    hash_name: HashName | None
    jws: str | None  # RFC 7518 section 3.1, RFC 8037 section 3.1
    jws_curve: str | None  # RFC 7518 section 3.4 ties each ECDSA algorithm to one curve
    xml_signature: str | None  # RFC 9231 section 2.3


ALGORITHMS: Final[Mapping[str, SignatureAlgorithm]] = MappingProxyType(
    {
        row.name: row
        for row in (
            SignatureAlgorithm(
                "RSASSA_PKCS1_V1_5_SHA_256", "RSA", "PKCS1V15", "sha256", "RS256", None, f"{_DSIG_MORE}rsa-sha256"
            ),
            SignatureAlgorithm(
                "RSASSA_PKCS1_V1_5_SHA_384", "RSA", "PKCS1V15", "sha384", "RS384", None, f"{_DSIG_MORE}rsa-sha384"
            ),
            SignatureAlgorithm(
                "RSASSA_PKCS1_V1_5_SHA_512", "RSA", "PKCS1V15", "sha512", "RS512", None, f"{_DSIG_MORE}rsa-sha512"
            ),
            SignatureAlgorithm("RSASSA_PSS_SHA_256", "RSA", "PSS", "sha256", "PS256", None, None),
            SignatureAlgorithm("RSASSA_PSS_SHA_384", "RSA", "PSS", "sha384", "PS384", None, None),
            SignatureAlgorithm("RSASSA_PSS_SHA_512", "RSA", "PSS", "sha512", "PS512", None, None),
            SignatureAlgorithm(
                "ECDSA_SHA_256", "EC", "ECDSA", "sha256", "ES256", "secp256r1", f"{_DSIG_MORE}ecdsa-sha256"
            ),
            SignatureAlgorithm(
                "ECDSA_SHA_384", "EC", "ECDSA", "sha384", "ES384", "secp384r1", f"{_DSIG_MORE}ecdsa-sha384"
            ),
            SignatureAlgorithm(
                "ECDSA_SHA_512", "EC", "ECDSA", "sha512", "ES512", "secp521r1", f"{_DSIG_MORE}ecdsa-sha512"
            ),
            SignatureAlgorithm("ED25519_SHA_512", "EDWARDS", "EDDSA", None, "EdDSA", None, None),
            SignatureAlgorithm("ED25519_PH_SHA_512", "EDWARDS", "EDDSA_PH", None, None, None, None),
            SignatureAlgorithm("ML_DSA_SHAKE_256", "ML_DSA", "ML_DSA", None, None, None, None),
        )
    }
)

# Nobody makes these but around a message as it is: in no bundle, envelope or CMS.
BARE_ONLY: Final = frozenset({"ED25519_PH_SHA_512", "ML_DSA_SHAKE_256"})

BY_JWS: Final[Mapping[str, SignatureAlgorithm]] = MappingProxyType(
    {row.jws: row for row in ALGORITHMS.values() if row.jws is not None}
)


@dataclass(frozen=True, slots=True)
class EncryptionAlgorithm:
    """One row of the list for RSA keys that encrypt: OAEP with MGF1 of the same hash and an empty label (RFC 8017
    section 7.1), as AWS KMS has it."""

    name: str
    digest: hashes.SHA1 | hashes.SHA256

    def maximum_plaintext(self, modulus_bits: int) -> int:
        """Octets that one ciphertext can hold: k - 2 hLen - 2."""
        return (modulus_bits + 7) // 8 - 2 * self.digest.digest_size - 2


# The first is the default. OAEP does not need a hash without collisions, so SHA-1 is no weakness there; some need it.
ENCRYPTION_ALGORITHMS: Final[Mapping[str, EncryptionAlgorithm]] = MappingProxyType(
    {
        row.name: row
        for row in (
            EncryptionAlgorithm("RSAES_OAEP_SHA_256", hashes.SHA256()),
            EncryptionAlgorithm("RSAES_OAEP_SHA_1", hashes.SHA1()),  # noqa: S303 - see above
        )
    }
)
