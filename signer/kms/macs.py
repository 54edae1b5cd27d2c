"""GenerateMac and VerifyMac."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import MacBody, MacVerification
from signer.kms.operation import in_steps
from signer.kms.references import key_reference
from signer.kms.shapes import KeyId, MacAlgorithm, UseRequest
from signer.kms.translation import Translated, require_algorithm, use_key
from signer.operations.macs import Macs, VerifiedMacs

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.audit.logged import Steps
    from signer.services import Services


class GenerateMacRequest(UseRequest, kw_only=True):
    """`GenerateMac`"""

    message: Annotated[bytes, Meta(min_length=1, max_length=4096)]
    key_id: KeyId
    mac_algorithm: MacAlgorithm


class VerifyMacRequest(GenerateMacRequest, kw_only=True):
    """`VerifyMac`"""

    mac: Annotated[bytes, Meta(min_length=1, max_length=6144)]


def generate_mac(services: Services, call: Call) -> Steps[Answer]:
    """`GenerateMac`"""
    made = yield from use_key(
        services,
        call,
        Translated(
            GenerateMacRequest, lambda request: MacBody(message=request.message, algorithm=request.mac_algorithm)
        ),
        Macs(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=_check,
    )
    return Answer(
        {"Mac": made["mac"], "MacAlgorithm": made["algorithm"], "KeyId": services.keystore.arn_of(made["key_id"])}
    )


def verify_mac(services: Services, call: Call) -> Steps[Answer]:
    """`VerifyMac`: `KMSInvalidMacException` for what is none, never an answer that says so."""
    made = yield from use_key(
        services,
        call,
        Translated(VerifyMacRequest, _verification),
        VerifiedMacs(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=_check,
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "MacValid": made["valid"],
            "MacAlgorithm": made["algorithm"],
        }
    )


def _verification(request: VerifyMacRequest) -> MacVerification:
    return MacVerification(message=request.message, mac=request.mac, algorithm=request.mac_algorithm)


def _check(request: GenerateMacRequest, key: Key) -> None:
    require_algorithm(key, request.mac_algorithm, "macAlgorithm")


OPERATIONS: Final = (
    in_steps("GenerateMac", GenerateMacRequest, generate_mac, (Action.GENERATE_MAC,)),
    in_steps("VerifyMac", VerifyMacRequest, verify_mac, (Action.VERIFY_MAC,)),
)
