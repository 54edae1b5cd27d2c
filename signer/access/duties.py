"""Separation of duties: the closed table of which duty may make which call.

A principal has exactly one duty. The break-glass `root` alone has `root`, both administrators' duties and no use of
keys.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.access.actions import POLICY_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


class Duty(StrEnum):
    """What kind of person or program a principal is."""

    ADMINISTRATOR = "administrator"  # identities, nothing on keys
    KEY_ADMINISTRATOR = "key-administrator"  # keys and their policies, no identities, no use
    KEY_USER = "key-user"  # may be named in a key's policy as a user
    AUDITOR = "auditor"  # reads the audit trail, and who may do what with every customer's key
    ROOT = "root"  # break-glass: both administrators', never signs


class Action(StrEnum):
    """Every call that needs a credential. Names follow AWS KMS where it has the call."""

    WHO_AM_I = "WhoAmI"
    CREATE_PRINCIPAL = "CreatePrincipal"
    LIST_PRINCIPALS = "ListPrincipals"
    DELETE_PRINCIPAL = "DeletePrincipal"
    CREATE_KEY = "CreateKey"
    LIST_KEYS = "ListKeys"
    DESCRIBE_KEY = "DescribeKey"
    ROTATE_KEY = "RotateKey"
    DISABLE_KEY = "DisableKey"
    ENABLE_KEY = "EnableKey"
    SCHEDULE_KEY_DELETION = "ScheduleKeyDeletion"
    CANCEL_KEY_DELETION = "CancelKeyDeletion"
    GET_KEY_POLICY = "GetKeyPolicy"
    PUT_KEY_POLICY = "PutKeyPolicy"
    REQUEST_CERTIFICATE = "RequestCertificate"
    INSTALL_CERTIFICATE = "InstallCertificate"
    RENEW_CERTIFICATE = "RenewCertificate"
    REVOKE_CERTIFICATE = "RevokeCertificate"
    GET_PUBLIC_KEY = "GetPublicKey"
    SIGN = "Sign"
    SIGN_ARTIFACT = "SignArtifact"
    ISSUE_TOKEN = "IssueToken"
    ISSUE_ASSERTION = "IssueAssertion"
    ISSUE_CERTIFICATE = "IssueCertificate"
    SIGN_METADATA = "SignMetadata"
    SIGN_REVOCATION_LIST = "SignRevocationList"
    LIST_ISSUERS = "ListIssuers"
    CREATE_ISSUER = "CreateIssuer"
    LIST_DOMAINS = "ListDomains"
    EXPLAIN_ACCESS = "ExplainAccess"
    CREATE_GRANT = "CreateGrant"
    LIST_GRANTS = "ListGrants"
    RETIRE_GRANT = "RetireGrant"
    REVOKE_GRANT = "RevokeGrant"
    GET_PRINCIPAL_POLICY = "GetPrincipalPolicy"
    PUT_PRINCIPAL_POLICY = "PutPrincipalPolicy"
    UPDATE_PRINCIPAL = "UpdatePrincipal"
    CREATE_ENROLMENT = "CreateEnrolment"
    CREATE_CREDENTIAL = "CreateCredential"
    LIST_CREDENTIALS = "ListCredentials"
    UPDATE_CREDENTIAL = "UpdateCredential"
    REVOKE_CREDENTIAL = "RevokeCredential"
    CREATE_TRUSTED_ISSUER = "CreateTrustedIssuer"
    LIST_TRUSTED_ISSUERS = "ListTrustedIssuers"
    UPDATE_TRUSTED_ISSUER = "UpdateTrustedIssuer"
    DELETE_TRUSTED_ISSUER = "DeleteTrustedIssuer"
    EXCHANGE_TOKEN = "ExchangeToken"
    PUT_APPROVAL_RULE = "PutApprovalRule"
    DELETE_APPROVAL_RULE = "DeleteApprovalRule"
    GET_APPROVAL_RULE = "GetApprovalRule"
    REQUEST_APPROVAL = "RequestApproval"
    LIST_APPROVAL_REQUESTS = "ListApprovalRequests"
    GET_APPROVAL_REQUEST = "GetApprovalRequest"
    APPROVE_REQUEST = "ApproveRequest"
    REJECT_REQUEST = "RejectRequest"
    WITHDRAW_REQUEST = "WithdrawRequest"
    READ_AUDIT_TRAIL = "ReadAuditTrail"
    REPORT_AUDIT_TRAIL = "ReportAuditTrail"
    EXPORT_AUDIT_TRAIL = "ExportAuditTrail"
    READ_USAGE = "ReadUsage"
    ENCRYPT = "Encrypt"
    DECRYPT = "Decrypt"
    RE_ENCRYPT_FROM = "ReEncryptFrom"
    RE_ENCRYPT_TO = "ReEncryptTo"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT = "GenerateDataKeyPairWithoutPlaintext"
    GENERATE_MAC = "GenerateMac"
    VERIFY_MAC = "VerifyMac"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"
    ENCAPSULATE = "Encapsulate"
    DECAPSULATE = "Decapsulate"
    VERIFY = "Verify"
    GENERATE_RANDOM = "GenerateRandom"
    CREATE_ALIAS = "CreateAlias"
    UPDATE_ALIAS = "UpdateAlias"
    DELETE_ALIAS = "DeleteAlias"
    TAG_RESOURCE = "TagResource"
    UNTAG_RESOURCE = "UntagResource"
    UPDATE_KEY_DESCRIPTION = "UpdateKeyDescription"
    ENABLE_KEY_ROTATION = "EnableKeyRotation"
    DISABLE_KEY_ROTATION = "DisableKeyRotation"
    ROTATE_KEY_ON_DEMAND = "RotateKeyOnDemand"
    GET_PARAMETERS_FOR_IMPORT = "GetParametersForImport"
    IMPORT_KEY_MATERIAL = "ImportKeyMaterial"
    DELETE_IMPORTED_KEY_MATERIAL = "DeleteImportedKeyMaterial"
    REPLICATE_KEY = "ReplicateKey"
    UPDATE_PRIMARY_REGION = "UpdatePrimaryRegion"
    SYNCHRONIZE_MULTI_REGION_KEY = "SynchronizeMultiRegionKey"
    LIST_ALIASES = "ListAliases"
    LIST_RESOURCE_TAGS = "ListResourceTags"
    LIST_KEY_POLICIES = "ListKeyPolicies"
    LIST_KEY_ROTATIONS = "ListKeyRotations"
    LIST_RETIRABLE_GRANTS = "ListRetirableGrants"
    GET_KEY_ROTATION_STATUS = "GetKeyRotationStatus"
    GET_KEY_LAST_USAGE = "GetKeyLastUsage"

    @property
    def policy_name(self) -> str:
        """As policies write it. What only the service's own code does is named in none."""
        return _POLICY_NAMES.get(self.value, self.value)


_POLICY_NAMES: Final = {name.partition(":")[2]: name for name in POLICY_ACTIONS}

_IDENTITIES = frozenset({Duty.ADMINISTRATOR, Duty.ROOT})
_KEYS = frozenset({Duty.KEY_ADMINISTRATOR, Duty.ROOT})
_USE = frozenset({Duty.KEY_USER})
_SEE = _KEYS | _USE
_AUDIT = frozenset({Duty.AUDITOR})
_TRAIL = _AUDIT | {Duty.ROOT}  # who administers keys sees none of it: what they did is for others to read
_APPROVE = frozenset(Duty) - {Duty.ROOT}  # whom a key's approval rule names; the break-glass principal never approves

DUTIES_OF: Final[Mapping[Action, frozenset[Duty]]] = MappingProxyType(
    {
        Action.WHO_AM_I: frozenset(Duty),
        Action.CREATE_PRINCIPAL: _IDENTITIES,
        Action.LIST_PRINCIPALS: _IDENTITIES,
        Action.DELETE_PRINCIPAL: _IDENTITIES,
        Action.CREATE_KEY: _KEYS,
        Action.LIST_KEYS: _SEE | _AUDIT,
        Action.DESCRIBE_KEY: _SEE | _AUDIT,
        Action.ROTATE_KEY: _KEYS,
        Action.DISABLE_KEY: _KEYS,
        Action.ENABLE_KEY: _KEYS,
        Action.SCHEDULE_KEY_DELETION: _KEYS,
        Action.CANCEL_KEY_DELETION: _KEYS,
        Action.GET_KEY_POLICY: _KEYS | _AUDIT,
        Action.PUT_KEY_POLICY: _KEYS,
        Action.REQUEST_CERTIFICATE: _KEYS,
        Action.INSTALL_CERTIFICATE: _KEYS,
        Action.RENEW_CERTIFICATE: _KEYS,
        Action.REVOKE_CERTIFICATE: _KEYS,
        Action.GET_PUBLIC_KEY: _SEE,
        Action.SIGN: _USE,
        Action.SIGN_ARTIFACT: _USE,
        Action.ISSUE_TOKEN: _USE,
        Action.ISSUE_ASSERTION: _USE,
        # Only the service's own code asks its certificate authority, on behalf of whoever makes a published key.
        Action.ISSUE_CERTIFICATE: _KEYS,
        # Nobody's call: only the service's own code signs what it publishes.
        Action.SIGN_METADATA: frozenset(),
        Action.SIGN_REVOCATION_LIST: frozenset(),
        Action.LIST_ISSUERS: _KEYS,
        Action.CREATE_ISSUER: _KEYS,
        Action.LIST_DOMAINS: _KEYS,
        # About oneself anybody asks: that is WhoAmI (`signer.access.explanation.admit_question`).
        Action.EXPLAIN_ACCESS: _KEYS | _AUDIT,
        Action.CREATE_GRANT: _KEYS,
        Action.LIST_GRANTS: _KEYS | _AUDIT,
        # A grantee gives its grant back, too.
        Action.RETIRE_GRANT: _SEE,
        Action.REVOKE_GRANT: _KEYS,
        Action.GET_PRINCIPAL_POLICY: _IDENTITIES,
        Action.PUT_PRINCIPAL_POLICY: _IDENTITIES,
        Action.UPDATE_PRINCIPAL: _IDENTITIES,
        Action.CREATE_ENROLMENT: _IDENTITIES,
        # Everybody's own; another's, where that is possible at all, is for administrators. Break glass has the one
        # token that its ceremony made.
        Action.CREATE_CREDENTIAL: frozenset(Duty) - {Duty.ROOT},
        Action.LIST_CREDENTIALS: frozenset(Duty),
        Action.UPDATE_CREDENTIAL: frozenset(Duty) - {Duty.ROOT},
        Action.REVOKE_CREDENTIAL: frozenset(Duty),
        Action.CREATE_TRUSTED_ISSUER: _IDENTITIES,
        Action.LIST_TRUSTED_ISSUERS: _IDENTITIES,
        Action.UPDATE_TRUSTED_ISSUER: _IDENTITIES,
        Action.DELETE_TRUSTED_ISSUER: _IDENTITIES,
        # Whose duty a workload may take on: none that administers.
        Action.EXCHANGE_TOKEN: frozenset({Duty.KEY_USER, Duty.AUDITOR}),
        Action.PUT_APPROVAL_RULE: _KEYS,
        Action.DELETE_APPROVAL_RULE: _KEYS,
        Action.GET_APPROVAL_RULE: frozenset(Duty),
        Action.REQUEST_APPROVAL: _SEE,
        Action.LIST_APPROVAL_REQUESTS: frozenset(Duty),
        Action.GET_APPROVAL_REQUEST: frozenset(Duty),
        Action.APPROVE_REQUEST: _APPROVE,
        Action.REJECT_REQUEST: _APPROVE,
        Action.WITHDRAW_REQUEST: frozenset(Duty),
        Action.READ_AUDIT_TRAIL: _TRAIL,
        Action.REPORT_AUDIT_TRAIL: _TRAIL,
        Action.EXPORT_AUDIT_TRAIL: _TRAIL,
        Action.READ_USAGE: _IDENTITIES | _AUDIT,
        Action.ENCRYPT: _USE,
        Action.DECRYPT: _USE,
        Action.RE_ENCRYPT_FROM: _USE,
        Action.RE_ENCRYPT_TO: _USE,
        Action.GENERATE_DATA_KEY: _USE,
        Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: _USE,
        Action.GENERATE_DATA_KEY_PAIR: _USE,
        Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT: _USE,
        Action.GENERATE_MAC: _USE,
        Action.VERIFY_MAC: _USE,
        Action.DERIVE_SHARED_SECRET: _USE,
        Action.ENCAPSULATE: _USE,
        Action.DECAPSULATE: _USE,
        # What anybody works out from a public key, and what is about no key.
        Action.VERIFY: _SEE,
        Action.GENERATE_RANDOM: _SEE,
        Action.CREATE_ALIAS: _KEYS,
        Action.UPDATE_ALIAS: _KEYS,
        Action.DELETE_ALIAS: _KEYS,
        Action.TAG_RESOURCE: _KEYS,
        Action.UNTAG_RESOURCE: _KEYS,
        Action.UPDATE_KEY_DESCRIPTION: _KEYS,
        Action.ENABLE_KEY_ROTATION: _KEYS,
        Action.DISABLE_KEY_ROTATION: _KEYS,
        Action.ROTATE_KEY_ON_DEMAND: _KEYS,
        Action.GET_PARAMETERS_FOR_IMPORT: _KEYS,
        Action.IMPORT_KEY_MATERIAL: _KEYS,
        Action.DELETE_IMPORTED_KEY_MATERIAL: _KEYS,
        Action.REPLICATE_KEY: _KEYS,
        Action.UPDATE_PRIMARY_REGION: _KEYS,
        Action.SYNCHRONIZE_MULTI_REGION_KEY: frozenset({Duty.KEY_ADMINISTRATOR}),  # a deployment's, never in emergency
        Action.LIST_ALIASES: _SEE | _AUDIT,
        Action.LIST_RESOURCE_TAGS: _SEE | _AUDIT,
        Action.LIST_KEY_POLICIES: _SEE | _AUDIT,
        Action.LIST_KEY_ROTATIONS: _SEE | _AUDIT,
        Action.LIST_RETIRABLE_GRANTS: _SEE | _AUDIT,
        Action.GET_KEY_ROTATION_STATUS: _SEE | _AUDIT,
        Action.GET_KEY_LAST_USAGE: _SEE | _AUDIT,
    }
)

# What a key's own policy decides: its administrators' actions, its users' actions, and what both may do.
ADMINISTRATORS_ACTIONS: Final = frozenset(
    {
        Action.ROTATE_KEY,
        Action.DISABLE_KEY,
        Action.ENABLE_KEY,
        Action.SCHEDULE_KEY_DELETION,
        Action.CANCEL_KEY_DELETION,
        Action.GET_KEY_POLICY,
        Action.PUT_KEY_POLICY,
        Action.REQUEST_CERTIFICATE,
        Action.INSTALL_CERTIFICATE,
        Action.RENEW_CERTIFICATE,
        Action.REVOKE_CERTIFICATE,
        Action.CREATE_GRANT,
        Action.LIST_GRANTS,
        Action.REVOKE_GRANT,
        Action.PUT_APPROVAL_RULE,
        Action.DELETE_APPROVAL_RULE,
        Action.CREATE_ALIAS,
        Action.UPDATE_ALIAS,
        Action.DELETE_ALIAS,
        Action.TAG_RESOURCE,
        Action.UNTAG_RESOURCE,
        Action.UPDATE_KEY_DESCRIPTION,
        Action.ENABLE_KEY_ROTATION,
        Action.DISABLE_KEY_ROTATION,
        Action.ROTATE_KEY_ON_DEMAND,
        Action.GET_PARAMETERS_FOR_IMPORT,
        Action.IMPORT_KEY_MATERIAL,
        Action.DELETE_IMPORTED_KEY_MATERIAL,
        Action.REPLICATE_KEY,
        Action.UPDATE_PRIMARY_REGION,
        Action.LIST_KEY_POLICIES,
        Action.LIST_RESOURCE_TAGS,
        Action.LIST_KEY_ROTATIONS,
        Action.GET_KEY_ROTATION_STATUS,
        Action.GET_KEY_LAST_USAGE,
    }
)
USERS_ACTIONS: Final = frozenset(
    {
        Action.SIGN,
        Action.SIGN_ARTIFACT,
        Action.ISSUE_TOKEN,
        Action.ISSUE_ASSERTION,
        Action.ENCRYPT,
        Action.DECRYPT,
        Action.RE_ENCRYPT_FROM,
        Action.RE_ENCRYPT_TO,
        Action.GENERATE_DATA_KEY,
        Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
        Action.GENERATE_DATA_KEY_PAIR,
        Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
        Action.GENERATE_MAC,
        Action.VERIFY_MAC,
        Action.DERIVE_SHARED_SECRET,
        Action.ENCAPSULATE,
        Action.DECAPSULATE,
    }
)
COMMON_ACTIONS: Final = frozenset({Action.DESCRIBE_KEY, Action.GET_PUBLIC_KEY, Action.GET_APPROVAL_RULE, Action.VERIFY})
# What everybody does to credentials of their own.
OWN_ACTIONS: Final = frozenset(
    {Action.CREATE_CREDENTIAL, Action.LIST_CREDENTIALS, Action.UPDATE_CREDENTIAL, Action.REVOKE_CREDENTIAL}
)


def actions_of_duty(duty: Duty) -> frozenset[str]:
    """The actions that a duty can ever have, as policies write them."""
    return _ACTIONS_OF[duty]


_ACTIONS_OF: Final = {
    duty: frozenset(action.policy_name for action, duties in DUTIES_OF.items() if duty in duties) for duty in Duty
}
