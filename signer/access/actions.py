"""Every action that a policy may name, and the part that it has in the separation of duties.

Names and meaning are those of AWS KMS where it has the action (Service Authorization Reference, "Actions, resources,
and condition keys for AWS Key Management Service"); the service's own stand beside them under the same prefix `kms:`,
so that `kms:*`, allowed or denied, means all that can be done with a key. What is about no key is `sealmark:`.

Part: `administer` decides what a key is or who may do what with it, `use` needs its private or secret half, `neutral`
does neither (it reads, or asks what anybody can work out from a public key). Nobody administers and uses one key.
`CreateGrant` administers: who may hand on the use of a key decides who uses it.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Part(StrEnum):
    """An action's part in the separation of duties."""

    ADMINISTER = "administer"
    USE = "use"
    NEUTRAL = "neutral"


KEY_PREFIX: Final = "kms:"
SERVICE_PREFIX: Final = "sealmark:"

_ADMINISTER: Final = """
    CancelKeyDeletion CreateAlias CreateGrant DeleteAlias DeleteApprovalRule DeleteImportedKeyMaterial DisableKey
    DisableKeyRotation EnableKey EnableKeyRotation GetParametersForImport ImportKeyMaterial InstallCertificate
    PutApprovalRule PutKeyPolicy
    RenewCertificate ReplicateKey RequestCertificate RevokeCertificate RevokeGrant RotateKey RotateKeyOnDemand
    ScheduleKeyDeletion TagResource UntagResource UpdateAlias UpdateKeyDescription UpdatePrimaryRegion
"""
_USE: Final = """
    Decapsulate Decrypt DeriveSharedSecret Encapsulate Encrypt GenerateDataKey GenerateDataKeyPair
    GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext GenerateMac IssueAssertion IssueToken
    ReEncryptFrom ReEncryptTo Sign SignArtifact VerifyMac
"""
_NEUTRAL: Final = """
    CreateKey DescribeKey ExplainAccess GenerateRandom GetApprovalRule GetKeyLastUsage GetKeyPolicy GetKeyRotationStatus
    GetPublicKey ListAliases ListGrants ListKeyPolicies ListKeyRotations ListKeys ListResourceTags ListRetirableGrants
    RequestApproval RetireGrant SynchronizeMultiRegionKey Verify
"""
# About no key: identities, issuers, domains, how callers prove themselves, and the audit trail.
_SERVICE: Final = """
    ApproveRequest CreateCredential CreateEnrolment CreateIssuer CreatePrincipal CreateTrustedIssuer DeletePrincipal
    DeleteTrustedIssuer ExchangeToken ExportAuditTrail GetApprovalRequest GetPrincipalPolicy ListApprovalRequests
    ListCredentials ListDomains ListIssuers ListPrincipals ListTrustedIssuers PutPrincipalPolicy ReadAuditTrail
    ReadUsage RejectRequest ReportAuditTrail RevokeCredential UpdateCredential UpdatePrincipal UpdateTrustedIssuer
    WhoAmI WithdrawRequest
"""

POLICY_ACTIONS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        f"{prefix}{name}": part
        for prefix, names, part in (
            (KEY_PREFIX, _ADMINISTER, Part.ADMINISTER),
            (KEY_PREFIX, _USE, Part.USE),
            (KEY_PREFIX, _NEUTRAL, Part.NEUTRAL),
            (SERVICE_PREFIX, _SERVICE, Part.NEUTRAL),
        )
        for name in names.split()
    }
)

# Actions that stand under `kms:` but are about no key yet, or about all of them (Service Authorization Reference: no
# resource type "key").
_ABOUT_NO_KEY: Final = frozenset(
    f"{KEY_PREFIX}{name}"
    for name in (
        *("CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"),
        "SynchronizeMultiRegionKey",  # the key may not be here yet, and no policy of its own decides: the seal does
    )
)
KEY_ACTIONS: Final = tuple(
    action for action in POLICY_ACTIONS if action.startswith(KEY_PREFIX) and action not in _ABOUT_NO_KEY
)
