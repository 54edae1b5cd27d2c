"""Grants as the decision sees them, and what a grant may carry."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KEY_SPECS, KeyKind, Purpose
from signer.access.model import GrantFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.access import GrantRecord

# What anybody may be granted, whatever the key is for. `CreateGrant`, which AWS lets a grant carry, is not among them:
# here it administers a key, and a grantee uses it.
COMMON_OPERATIONS: Final = frozenset({"DescribeKey", "GetPublicKey", "RetireGrant"})
# The use that a key of each purpose has; a grant of another would do nothing.
USE_OPERATIONS: Final[Mapping[Purpose, frozenset[str]]] = MappingProxyType(
    {
        Purpose.ARTIFACT: frozenset({"SignArtifact"}),
        Purpose.GENERAL: frozenset({"Sign", "Verify"}),
        Purpose.JWT: frozenset({"IssueToken"}),
        Purpose.SAML: frozenset({"IssueAssertion"}),
        Purpose.ENCRYPT: frozenset({"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"}),
        Purpose.MAC: frozenset({"GenerateMac", "VerifyMac"}),
        Purpose.AGREE: frozenset({"DeriveSharedSecret"}),
        Purpose.ENCAPSULATE: frozenset({"Encapsulate", "Decapsulate"}),
    }
)
# What a symmetric key encrypts besides what it is given.
_DATA_KEYS: Final = frozenset(
    {
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
    }
)


def grantable(purpose: Purpose, spec: str) -> frozenset[str]:
    """The operations that a grant on a key of this purpose and spec may carry, without their prefix."""
    makes_data_keys = purpose is Purpose.ENCRYPT and KEY_SPECS[spec].kind is KeyKind.AES
    return COMMON_OPERATIONS | USE_OPERATIONS.get(purpose, frozenset()) | (_DATA_KEYS if makes_data_keys else set())


def grant_facts(grant: GrantRecord) -> GrantFacts:
    """A stored grant as the decision takes it."""
    return GrantFacts(
        grant.id,
        grant.grantee,
        frozenset(grant.operations),
        context_equals=grant.context_equals,
        context_subset=grant.context_subset,
        retiring=grant.retiring,
    )
