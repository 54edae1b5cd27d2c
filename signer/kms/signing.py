"""Signatures: Sign, and what checks them elsewhere: GetPublicKey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from keystore.algorithms import KEY_USAGES, SIGNING_ALGORITHMS, key_algorithms
from keystore.api import KeyState
from keystore.lifecycle import current_version
from signer.access import Action
from signer.call import Answer, Call
from signer.errors import WrongState
from signer.kms.errors import INVALID_USAGE, Refusal, invalid, unsupported
from signer.kms.metadata import algorithm_members
from signer.kms.operation import KmsOperation
from signer.kms.references import described, key_reference
from signer.kms.shapes import GrantTokens, KeyId, MessageType, Request, SigningAlgorithm
from signer.kms.translation import AsAws, Translated, only_result
from signer.operations.signatures import DIGEST_SIZES, RawSignatures
from signer.pipeline import present
from signer.request import Signatures

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.operations.base import Subject
    from signer.services import Services

_SIGNATURES: Final = RawSignatures()
Message = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Signature = Annotated[bytes, Meta(min_length=1, max_length=6144)]


class SignRequest(Request):
    """`Sign`"""

    key_id: KeyId
    message: Message
    signing_algorithm: SigningAlgorithm
    message_type: MessageType | None = None
    grant_tokens: GrantTokens | None = None
    dry_run: bool | None = None


class VerifyRequest(SignRequest, kw_only=True):
    """`Verify`"""

    signature: Signature


class GetPublicKeyRequest(Request):
    """`GetPublicKey`"""

    key_id: KeyId
    grant_tokens: GrantTokens | None = None


def sign(services: Services, call: Call) -> Answer:
    """`Sign`"""
    asked = Translated(SignRequest, _signatures)

    def check(subject: Subject) -> None:
        _require_algorithm(subject.key, asked.request.signing_algorithm)
        _require_message(asked.request)

    made = only_result(
        services.pipeline.sign(
            asked.of(call),
            lambda _body: key_reference(asked.request.key_id, services.keystore),
            AsAws(_SIGNATURES, check, lambda: bool(asked.request.dry_run)),
        )
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "Signature": made["signature"],
            "SigningAlgorithm": made["algorithm"],
        }
    )


def get_public_key(services: Services, call: Call) -> Answer:
    """`GetPublicKey`: of the version that is used now. Whether the key is published makes no difference here."""

    def work(_permit: Permit, found: Key | None, _body: GetPublicKeyRequest) -> Answer:
        key = present(found)
        usage = KEY_USAGES[key.purpose]
        if not any(version.public_key for version in key.versions):
            raise unsupported(f"{key.arn} has no public key: its KeySpec is {key.spec}", field="keyId")
        if key.state is not KeyState.ENABLED:
            msg = f"{key.arn} is {key.state.replace('_', ' ')}."
            raise WrongState(msg, state=key.state.value)
        version = current_version(key.versions, services.keystore.clock())
        return Answer(
            {
                "KeyId": key.arn,
                "PublicKey": version.public_key,
                "CustomerMasterKeySpec": key.spec,
                "KeySpec": key.spec,
                "KeyUsage": usage,
                **algorithm_members(key),
            }
        )

    def reference(body: GetPublicKeyRequest) -> str:
        return described(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.GET_PUBLIC_KEY, GetPublicKeyRequest, work, reference)


def _signatures(request: SignRequest) -> Signatures:
    if request.message_type in (None, "RAW"):
        return Signatures(algorithm=request.signing_algorithm, message=request.message)
    return Signatures(algorithm=request.signing_algorithm, digest=request.message)


def _require_algorithm(key: Key, name: str) -> None:
    if name not in key_algorithms(key.purpose, key.spec, key.algorithm):
        msg = f"Algorithm {name} is incompatible with key spec {key.spec}."
        raise Refusal(INVALID_USAGE, msg, code="wrong_purpose", field="signingAlgorithm")


def _require_message(request: SignRequest) -> None:
    if request.message_type in (None, "RAW"):
        return
    algorithm = SIGNING_ALGORITHMS[request.signing_algorithm]
    if algorithm.hash_name is None or request.message_type == "EXTERNAL_MU":
        msg = f"MessageType {request.message_type} is incompatible with algorithm {request.signing_algorithm}."
        raise invalid(msg, field="messageType")
    if len(request.message) != DIGEST_SIZES[algorithm.hash_name]:
        raise invalid(f"Digest is invalid length for algorithm {request.signing_algorithm}.", field="message")


OPERATIONS: Final = (
    KmsOperation("Sign", SignRequest, sign, (Action.SIGN,)),
    KmsOperation("GetPublicKey", GetPublicKeyRequest, get_public_key, (Action.GET_PUBLIC_KEY,)),
)
