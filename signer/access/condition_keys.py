"""The condition keys that a policy may name: a closed table, with each key's type and whether it holds many values.

Names and types are AWS's (IAM User Guide, "AWS global condition context keys"; AWS KMS Developer Guide, "AWS KMS
condition keys"), and the service's own under `sealmark:`. A key with `filled=False` can be stored, because AWS's
documented policies use it, but no request here ever has it: it is absent, so an Allow that asks for a value of it
allows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.access.patterns import ascii_lower

if TYPE_CHECKING:
    from collections.abc import Mapping


class ValueType(StrEnum):
    """What a condition key's values are."""

    STRING = "string"
    ARN = "ARN"
    NUMBER = "number"
    DATE = "date"
    EPOCH = "date in seconds since 1970"
    BOOLEAN = "boolean"
    ADDRESS = "IP address"


@dataclass(frozen=True, slots=True)
class ConditionKey:
    """A row of the table. `fixed`: the one value that it has in every request here that has it."""

    name: str  # as AWS writes it; compared without regard to ASCII case
    type: ValueType
    many: bool = False
    filled: bool = True
    fixed: str | None = None


def _rows(
    names: str, value_type: ValueType = ValueType.STRING, *, many: bool = False, filled: bool = True
) -> tuple[ConditionKey, ...]:
    return tuple(ConditionKey(name, value_type, many, filled) for name in names.split())


_KEYS: Final = (
    # Who calls, from where, how and when.
    *_rows("aws:PrincipalArn", ValueType.ARN),
    *_rows("aws:PrincipalAccount aws:PrincipalType aws:username kms:CallerAccount"),
    *_rows("sealmark:CredentialKind sealmark:Duty"),
    *_rows("aws:SourceIp", ValueType.ADDRESS),
    *_rows("aws:CurrentTime", ValueType.DATE),
    *_rows("aws:EpochTime", ValueType.EPOCH),
    *_rows("aws:SecureTransport", ValueType.BOOLEAN),
    # The key.
    *_rows("kms:KeyOrigin kms:KeySpec kms:KeyUsage kms:RequestAlias sealmark:Purpose"),
    *_rows("kms:ResourceAliases aws:TagKeys", many=True),  # the tags that a request sets or takes away
    *_rows("kms:MultiRegion", ValueType.BOOLEAN),
    *_rows("kms:MultiRegionKeyType"),
    # What is asked of it.
    *_rows("kms:DataKeyPairSpec kms:EncryptionAlgorithm kms:KeyAgreementAlgorithm kms:MacAlgorithm kms:MessageType"),
    *_rows("kms:SigningAlgorithm"),
    *_rows("kms:EncryptionContextKeys sealmark:Format sealmark:SigningContextKeys sealmark:TokenAudience", many=True),
    *_rows("kms:ReEncryptOnSameKey", ValueType.BOOLEAN),
    *_rows("sealmark:AssertionAudience sealmark:TokenType"),
    *_rows("sealmark:TokenLifetime", ValueType.NUMBER),  # seconds
    # Grants and the key's administration.
    *_rows("kms:GrantConstraintType kms:GranteePrincipal kms:RetiringPrincipal"),
    *_rows("kms:GrantOperations", many=True),
    ConditionKey("kms:GrantIsForAWSResource", ValueType.BOOLEAN, fixed="false"),
    *_rows("kms:BypassPolicyLockoutSafetyCheck", ValueType.BOOLEAN),
    *_rows("kms:RotationPeriodInDays kms:ScheduleKeyDeletionPendingWindowInDays", ValueType.NUMBER),
    *_rows("kms:PrimaryRegion kms:ReplicaRegion"),
    *_rows("kms:ExpirationModel kms:WrappingAlgorithm kms:WrappingKeySpec"),
    *_rows("kms:ValidTo", ValueType.EPOCH),
    # What only AWS's own surroundings have, and what AWS itself calls deprecated.
    *_rows("aws:userid kms:CustomerMasterKeySpec kms:CustomerMasterKeyUsage", filled=False),
    *_rows("kms:ViaService", filled=False),
    *_rows("kms:GranteeServicePrincipal kms:RetiringServicePrincipal kms:GrantConstraintSourceArn", filled=False),
    *_rows("aws:PrincipalOrgID aws:PrincipalServiceName aws:SourceAccount aws:SourceOrgID", filled=False),
    *_rows("aws:SourceVpc aws:SourceVpce aws:RequestedRegion aws:UserAgent aws:Referer", filled=False),
    *_rows(
        "aws:ResourceAccount aws:ResourceOrgID aws:FederatedProvider aws:CalledViaFirst aws:CalledViaLast", filled=False
    ),
    *_rows(
        "aws:CalledVia aws:PrincipalOrgPaths aws:PrincipalServiceNamesList aws:SourceOrgPaths", many=True, filled=False
    ),
    *_rows("aws:ResourceOrgPaths", many=True, filled=False),
    *_rows("aws:SourceArn", ValueType.ARN, filled=False),
    *_rows("aws:VpcSourceIp", ValueType.ADDRESS, filled=False),
    *_rows("aws:TokenIssueTime", ValueType.DATE, filled=False),
    *_rows("aws:MultiFactorAuthAge", ValueType.NUMBER, filled=False),
    *_rows("aws:MultiFactorAuthPresent aws:PrincipalIsAWSService aws:ViaAWSService", ValueType.BOOLEAN, filled=False),
)

# Keys that end in a name of the caller's choice. Requests keep its case; conditions do not depend on it (AWS KMS
# Developer Guide, "Case sensitivity of the encryption context condition").
_FAMILIES: Final = (
    *_rows("kms:EncryptionContext: sealmark:SigningContext: aws:RequestTag/ aws:ResourceTag/"),
    *_rows("kms:RecipientAttestation: aws:PrincipalTag/", filled=False),
)

CONDITION_KEYS: Final[Mapping[str, ConditionKey]] = MappingProxyType({ascii_lower(row.name): row for row in _KEYS})
CONDITION_KEY_FAMILIES: Final[Mapping[str, ConditionKey]] = MappingProxyType(
    {ascii_lower(row.name): row for row in _FAMILIES}
)
ENCRYPTION_CONTEXT: Final = "kms:encryptioncontext:"
SIGNING_CONTEXT: Final = "sealmark:signingcontext:"
REQUEST_TAG: Final = "aws:requesttag/"
RESOURCE_TAG: Final = "aws:resourcetag/"


def find_condition_key(name: str) -> ConditionKey | None:
    """The row of a key as a policy writes it, or None."""
    lowered = ascii_lower(name)
    return CONDITION_KEYS.get(lowered) or family_of(lowered)


def family_of(lowered: str) -> ConditionKey | None:
    """The row of a key that ends in a name of the caller's choice, or None; `lowered` is in lower case."""
    for prefix, row in CONDITION_KEY_FAMILIES.items():
        if lowered.startswith(prefix) and len(lowered) > len(prefix):
            return row
    return None
