"""Sign and Verify, and GetPublicKey for whoever verifies elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from keystore.algorithms import KEY_USAGES, SIGNING_ALGORITHMS
from keystore.lifecycle import current_version
from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import SignatureVerification
from signer.kms.errors import invalid, unsupported
from signer.kms.grant_tokens import require_grant_tokens
from signer.kms.metadata import algorithm_members
from signer.kms.operation import KmsOperation
from signer.kms.references import described, key_reference
from signer.kms.shapes import GrantTokens, KeyId, MessageType, Request, SigningAlgorithm, UseRequest
from signer.kms.states import require_enabled
from signer.kms.translation import Translated, require_algorithm, use_key
from signer.operations.signatures import DIGEST_SIZES, RawSignatures
from signer.operations.verification import VerifiedSignatures
from signer.pipeline import present
from signer.request import Signatures

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

Message = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Signature = Annotated[bytes, Meta(min_length=1, max_length=6144)]


class SignRequest(UseRequest, kw_only=True):
    """`Sign`"""

    key_id: KeyId
    message: Message
    signing_algorithm: SigningAlgorithm
    message_type: MessageType | None = None


class VerifyRequest(SignRequest, kw_only=True):
    """`Verify`"""

    signature: Signature


class GetPublicKeyRequest(Request):
    """`GetPublicKey`"""

    key_id: KeyId
    grant_tokens: GrantTokens | None = None


def sign(services: Services, call: Call) -> Answer:
    """`Sign`"""
    made = use_key(
        services,
        call,
        Translated(SignRequest, _signatures),
        RawSignatures(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=_check,
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "Signature": made["signature"],
            "SigningAlgorithm": made["algorithm"],
        }
    )


def verify(services: Services, call: Call) -> Answer:
    """`Verify`: `KMSInvalidSignatureException` for what is none, never an answer that says so."""
    made = use_key(
        services,
        call,
        Translated(VerifyRequest, _verification),
        VerifiedSignatures(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=_check,
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "SignatureValid": made["valid"],
            "SigningAlgorithm": made["algorithm"],
        }
    )


def get_public_key(services: Services, call: Call) -> Answer:
    """`GetPublicKey`: of the version that is used now. Whether the key is published makes no difference here."""

    def work(_permit: Permit, found: Key | None, body: GetPublicKeyRequest) -> Answer:
        key = present(found)
        require_grant_tokens(body.grant_tokens, services.keystore)
        if not any(version.public_key for version in key.versions):
            raise unsupported(f"{key.arn} has no public key: its KeySpec is {key.spec}", field="keyId")
        require_enabled(key)
        version = current_version(key.versions, services.keystore.clock())
        return Answer(
            {
                "KeyId": key.arn,
                "PublicKey": version.public_key,
                "CustomerMasterKeySpec": key.spec,
                "KeySpec": key.spec,
                "KeyUsage": KEY_USAGES[key.purpose],
                **algorithm_members(key),
            }
        )

    def reference(body: GetPublicKeyRequest) -> str:
        return described(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.GET_PUBLIC_KEY, GetPublicKeyRequest, work, reference)


def _signatures(request: SignRequest) -> Signatures:
    return Signatures(algorithm=request.signing_algorithm, **_content(request))


def _verification(request: VerifyRequest) -> SignatureVerification:
    return SignatureVerification(signature=request.signature, algorithm=request.signing_algorithm, **_content(request))


def _content(request: SignRequest) -> dict[str, bytes]:
    """What is signed, as the native call takes it."""
    return {"message" if request.message_type in (None, "RAW") else "digest": request.message}


def _check(request: SignRequest, key: Key) -> None:
    """What AWS refuses of an algorithm, a message type and a message's length."""
    require_algorithm(key, request.signing_algorithm, "signingAlgorithm")
    message_type, algorithm = request.message_type or "RAW", SIGNING_ALGORITHMS[request.signing_algorithm]
    if message_type == "RAW":
        return
    if algorithm.hash_name is None or message_type == "EXTERNAL_MU":
        msg = f"MessageType {message_type} is incompatible with algorithm {request.signing_algorithm}."
        raise invalid(msg, field="messageType")
    if len(request.message) != DIGEST_SIZES[algorithm.hash_name]:
        raise invalid(f"Digest is invalid length for algorithm {request.signing_algorithm}.", field="message")


OPERATIONS: Final = (
    KmsOperation("Sign", SignRequest, sign, (Action.SIGN,)),
    KmsOperation("Verify", VerifyRequest, verify, (Action.VERIFY,)),
    KmsOperation("GetPublicKey", GetPublicKeyRequest, get_public_key, (Action.GET_PUBLIC_KEY,)),
)
