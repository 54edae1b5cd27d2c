"""Errors of botocore's model of AWS KMS that no request provokes here, and why.

Held by test_modelled_errors.py, shown in docs/kms-coverage.md."""

from __future__ import annotations

from typing import Final

from tests.signer.kms.model import errors_of, operation_names

NO_KEY_STORES: Final = "there are no custom key stores: the operation is an UnsupportedOperationException"
KEY_STORES_ASKED: Final = "there are no custom key stores: to ask for one is an UnsupportedOperationException"
ELSEWHERE: Final = "it takes a second deployment: tests/signer/regions"
NO_STATE: Final = "every state of a key allows it, as the key states table of AWS has it"
# Of whatever operation has it.
OF_ANY: Final = {
    "KeyUnavailableException": "an HSM that cannot be used is a DependencyTimeoutException, which clients try again",
}
_NO_SUCH_ARN: Final = "the request holds no ARN that is looked at"
OF_ONE: Final[dict[tuple[str, str], str]] = {
    ("CreateKey", "InvalidArnException"): _NO_SUCH_ARN,
    ("CreateKey", "LimitExceededException"): "only a full HSM: tests/keystore",
    ("CreateAlias", "LimitExceededException"): "aliases have no limit here",
    ("UpdateAlias", "LimitExceededException"): "aliases have no limit here",
    ("EnableKey", "LimitExceededException"): "enabled keys have no limit of their own here",
    ("CreateGrant", "LimitExceededException"): "it takes more grants than a test makes: tests/signer/administration",
    ("PutKeyPolicy", "LimitExceededException"): "a policy that is too long is a MalformedPolicyDocumentException",
    ("PutKeyPolicy", "UnsupportedOperationException"): "there is no key whose policy is not supported",
    ("TagResource", "LimitExceededException"): "more tags than a key may have are a TagException",
    ("ListAliases", "NotFoundException"): "a key that is not there is told as one that the caller may not see",
    ("GetPublicKey", "InvalidKeyUsageException"): "a key without a public half is an UnsupportedOperationException",
    ("ListRetirableGrants", "NotFoundException"): "the request names no key",
    ("RotateKeyOnDemand", "ConflictException"): "only two requests at the same moment",
    ("ImportKeyMaterial", "ExpiredImportTokenException"): "it takes a day: tests/signer/kms/test_importing.py",
}
STATELESS: Final = (
    *("GetKeyPolicy", "PutKeyPolicy", "ListKeyPolicies", "ListGrants", "RetireGrant", "RevokeGrant"),
    *("GetKeyRotationStatus", "ListKeyRotations", "DeleteAlias", "DeleteImportedKeyMaterial"),
)
OF_TWO_REGIONS: Final = {
    "ReplicateKey": (
        "AlreadyExistsException",
        "DisabledException",
        "KMSInvalidStateException",
        "LimitExceededException",
    ),
    "UpdatePrimaryRegion": ("DisabledException", "KMSInvalidStateException"),
}
_OF_KEY_STORES: Final = ("CustomKeyStore", "CloudHsm", "Xks")


def why_not(operation: str, error: str) -> str | None:
    """The reason why nothing provokes the error; None where something does."""
    if operation.endswith(("CustomKeyStore", "CustomKeyStores")):
        return None if error == "KMSInternalException" else NO_KEY_STORES
    if error.startswith(_OF_KEY_STORES):
        return KEY_STORES_ASKED
    if error in OF_TWO_REGIONS.get(operation, ()):
        return ELSEWHERE
    if operation in STATELESS and error == "KMSInvalidStateException":
        return NO_STATE
    return OF_ANY.get(error) or OF_ONE.get((operation, error))


def pairs() -> list[tuple[str, str]]:
    """Every operation with each of its errors."""
    return [(operation, error) for operation in operation_names() for error in sorted(errors_of(operation))]
