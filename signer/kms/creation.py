"""CreateKey: what AWS asks for as the body of a native key, with AWS's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from keystore.algorithms import NOT_OFFERED, PURPOSES, Purpose
from signer.access import Action
from signer.administration.new_key import new_key_details
from signer.call import Answer, Call
from signer.kms.errors import invalid, unsupported
from signer.kms.metadata import key_metadata
from signer.kms.operation import KmsOperation
from signer.kms.policies import malformed_policies, policy_members
from signer.kms.shapes import (
    CustomerMasterKeySpec,
    CustomKeyStoreId,
    Description,
    KeySpec,
    KeyUsage,
    Origin,
    PolicyText,
    Request,
)
from signer.kms.tags import Tag, tags_of
from signer.kms.translation import Translated
from signer.request import NewKeyBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_DEFAULT_SPEC: Final = "SYMMETRIC_DEFAULT"
_DEFAULT_USAGE: Final = "ENCRYPT_DECRYPT"
_NIST_CURVES: Final = ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521")
_Purpose = Literal["general", "encrypt", "mac", "agree", "encapsulate"]
_PURPOSES: Final[Mapping[str, _Purpose]] = {
    "SIGN_VERIFY": "general",
    "ENCRYPT_DECRYPT": "encrypt",
    "GENERATE_VERIFY_MAC": "mac",
    "KEY_AGREEMENT": "agree",
    "ENCAPSULATE_DECAPSULATE": "encapsulate",
}
# What a key of each spec may be used for (AWS KMS API Reference, CreateKey, "KeyUsage"), by the spec's beginning.
_USAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "SYMMETRIC_DEFAULT": ("ENCRYPT_DECRYPT",),
    "RSA_": ("SIGN_VERIFY", "ENCRYPT_DECRYPT"),
    **dict.fromkeys(_NIST_CURVES, ("SIGN_VERIFY", "KEY_AGREEMENT")),
    "ECC_": ("SIGN_VERIFY",),
    "HMAC_": ("GENERATE_VERIFY_MAC",),
    "ML_DSA_": ("SIGN_VERIFY",),
    "ML_KEM_": ("ENCAPSULATE_DECAPSULATE",),
    "SM2": ("SIGN_VERIFY", "ENCRYPT_DECRYPT", "KEY_AGREEMENT"),
}


class CreateKeyRequest(Request):
    """`CreateKey`"""

    policy: PolicyText | None = None
    description: Description | None = None
    key_usage: KeyUsage | None = None
    customer_master_key_spec: CustomerMasterKeySpec | None = None
    key_spec: KeySpec | None = None
    origin: Origin | None = None
    custom_key_store_id: CustomKeyStoreId | None = None
    bypass_policy_lockout_safety_check: bool | None = None
    tags: list[Tag] | None = None
    multi_region: bool | None = None
    xks_key_id: Annotated[str, Meta(min_length=1, max_length=128, pattern="^[a-zA-Z0-9-_.]+$(?!\\n)")] | None = None


def create_key(services: Services, call: Call) -> Answer:
    """`CreateKey`"""
    asked = Translated(CreateKeyRequest, _new_key)

    def work(permit: Permit, _key: Key | None, body: NewKeyBody) -> Answer:
        with malformed_policies():
            made = services.keys.create(permit, call, body)
        told = {"alias": made.alias, "spec": made.spec, "purpose": made.purpose.value, "domain": made.domain}
        content = {"KeyMetadata": key_metadata(made, services.keystore.clock())}
        return Answer(content, recorded=told | {"published": made.published}, made_key=made.id)

    return services.pipeline.change(asked.of(call), Action.CREATE_KEY, NewKeyBody, work, details=new_key_details)


def _new_key(request: CreateKeyRequest) -> NewKeyBody:
    spec = _spec(request)
    _require_own_keys(request)
    return NewKeyBody(
        spec=spec,
        purpose=_purpose(request, spec),
        policy=None if request.policy is None else policy_members(request.policy),
        description=request.description or "",
        tags=tags_of(request.tags or ()),
        origin="EXTERNAL" if request.origin == "EXTERNAL" else "AWS_KMS",
        multi_region=bool(request.multi_region),
        bypass_policy_lockout_safety_check=bool(request.bypass_policy_lockout_safety_check),
    )


def _spec(request: CreateKeyRequest) -> str:
    if request.key_spec is not None and request.customer_master_key_spec is not None:
        msg = (
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is "
            "deprecated."
        )
        raise invalid(msg, field="customerMasterKeySpec")
    return request.key_spec or request.customer_master_key_spec or _DEFAULT_SPEC


def _require_own_keys(request: CreateKeyRequest) -> None:
    elsewhere = request.origin in ("AWS_CLOUDHSM", "EXTERNAL_KEY_STORE")
    if elsewhere or request.custom_key_store_id is not None or request.xks_key_id is not None:
        msg = "Custom key stores are not supported: every key is in this service's own HSM"
        raise unsupported(msg, field="origin" if elsewhere else "customKeyStoreId")


def _purpose(request: CreateKeyRequest, spec: str) -> _Purpose:
    """Raises `Refusal`: `ValidationException` for what AWS does not allow either, else
    `UnsupportedOperationException`."""
    usage = request.key_usage
    if usage is None and spec != _DEFAULT_SPEC:
        msg = (
            f"You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys: {spec} has none."
        )
        raise invalid(msg, field="keyUsage")
    usage = usage or _DEFAULT_USAGE
    allowed = next(usages for beginning, usages in _USAGES.items() if spec.startswith(beginning))
    if usage not in allowed:
        msg = f"KeyUsage {usage} is not compatible with KeySpec {spec}"
        raise invalid(msg, field="keyUsage")
    purpose = _PURPOSES[usage]
    if spec in NOT_OFFERED:
        raise unsupported(f"KeySpec {spec} is not offered: {NOT_OFFERED[spec]}", field="keySpec")
    if spec not in PURPOSES[Purpose(purpose)]:
        msg = f"KeySpec {spec} is not supported here for KeyUsage {usage}"
        raise unsupported(msg, field="keySpec")
    return purpose


OPERATIONS: Final = (KmsOperation("CreateKey", CreateKeyRequest, create_key, (Action.CREATE_KEY,)),)
