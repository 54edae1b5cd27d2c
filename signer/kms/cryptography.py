"""What keys are used for: each operation of AWS on the native operation that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from keystore.algorithms import SIGNING_ALGORITHMS, key_algorithms
from signer.access import Action
from signer.call import Answer, Call
from signer.kms.errors import INVALID_USAGE, Refusal, invalid
from signer.kms.operation import KmsOperation
from signer.kms.references import key_reference
from signer.kms.shapes import GrantTokens, KeyId, MessageType, Request, SigningAlgorithm
from signer.kms.translation import AsAws, Translated, only_result
from signer.operations.signatures import DIGEST_SIZES, RawSignatures
from signer.request import Signatures

if TYPE_CHECKING:
    from signer.operations.base import Subject
    from signer.services import Services

_SIGNATURES: Final = RawSignatures()
Message = Annotated[bytes, Meta(min_length=1, max_length=4096)]


class SignRequest(Request):
    """`Sign`"""

    key_id: KeyId
    message: Message
    signing_algorithm: SigningAlgorithm
    message_type: MessageType | None = None
    grant_tokens: GrantTokens | None = None
    dry_run: bool | None = None


def sign(services: Services, call: Call) -> Answer:
    """`Sign`"""
    asked = Translated(SignRequest, _signatures)

    def check(subject: Subject) -> None:
        _require_algorithm(subject, asked.request.signing_algorithm)
        _require_message(asked.request)

    operation = AsAws(_SIGNATURES, check, lambda: bool(asked.request.dry_run))
    answer = services.pipeline.sign(
        asked.of(call), lambda _body: key_reference(asked.request.key_id, services.keystore), operation
    )
    made = only_result(answer)
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "Signature": made["signature"],
            "SigningAlgorithm": made["algorithm"],
        }
    )


def _signatures(request: SignRequest) -> Signatures:
    if request.message_type in (None, "RAW"):
        return Signatures(algorithm=request.signing_algorithm, message=request.message)
    return Signatures(algorithm=request.signing_algorithm, digest=request.message)


def _require_algorithm(subject: Subject, name: str) -> None:
    key = subject.key
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


OPERATIONS: Final = (KmsOperation("Sign", SignRequest, sign, (Action.SIGN,)),)
