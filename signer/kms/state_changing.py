"""Which operations of AWS KMS change nothing: of all others one request, with one signature, is taken once.

Using a key (signing, encrypting, making a data key) is no change: whoever repeats such a request gets what its sender
could ask for again, and clients of AWS sign equal requests of one second equally, so loops would be refused.
"""

from __future__ import annotations

from typing import Final

TARGET_PREFIX: Final = "TrentService."
CHANGING: Final = frozenset(
    {
        *("CancelKeyDeletion", "ConnectCustomKeyStore", "CreateAlias", "CreateCustomKeyStore", "CreateGrant"),
        *("CreateKey", "DeleteAlias", "DeleteCustomKeyStore", "DeleteImportedKeyMaterial", "DisableKey"),
        *("DisableKeyRotation", "DisconnectCustomKeyStore", "EnableKey", "EnableKeyRotation"),
        *("GetParametersForImport", "ImportKeyMaterial", "PutKeyPolicy", "ReplicateKey", "RetireGrant"),
        *("RevokeGrant", "RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateAlias"),
        *("UpdateCustomKeyStore", "UpdateKeyDescription", "UpdatePrimaryRegion"),
    }
)
UNCHANGING: Final = frozenset(
    {
        *("Decapsulate", "Decrypt", "DeriveSharedSecret", "DescribeCustomKeyStores", "DescribeKey", "Encapsulate"),
        *("Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
        *("GenerateDataKeyWithoutPlaintext", "GenerateMac", "GenerateRandom", "GetKeyLastUsage", "GetKeyPolicy"),
        *("GetKeyRotationStatus", "GetPublicKey", "ListAliases", "ListGrants", "ListKeyPolicies", "ListKeyRotations"),
        *("ListKeys", "ListResourceTags", "ListRetirableGrants", "ReEncrypt", "Sign", "Verify", "VerifyMac"),
    }
)


def changes_state(target: str) -> bool:
    """Whether the operation that `X-Amz-Target` names changes anything: an unknown one might."""
    return target.removeprefix(TARGET_PREFIX) not in UNCHANGING
