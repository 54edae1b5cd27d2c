"""Sign and Verify, and GetPublicKey for whoever verifies elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from keystore.algorithms import KEY_USAGES, SIGNING_ALGORITHMS, Scheme
from keystore.lifecycle import current_version
from keystore.software_keys import MU_OCTETS
from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import SignatureVerification
from signer.kms.errors import invalid, unsupported
from signer.kms.grant_tokens import require_grant_tokens
from signer.kms.metadata import algorithm_members
from signer.kms.operation import KmsOperation, in_steps
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
    from signer.audit.logged import Steps
    from signer.services import Services

PREHASHED: Final = "ED25519_PH_SHA_512"
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


def sign(services: Services, call: Call) -> Steps[Answer]:
    """`Sign`"""
    made = yield from use_key(
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


def verify(services: Services, call: Call) -> Steps[Answer]:
    """`Verify`: `KMSInvalidSignatureException` for what is none, never an answer that says so."""
    made = yield from use_key(
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
        require_enabled(key, services.keystore.clock())
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
    given = _content(request)
    return Signatures(algorithm=request.signing_algorithm, message=given.message, digest=given.digest, mu=given.mu)


def _verification(request: VerifyRequest) -> SignatureVerification:
    given = _content(request)
    return SignatureVerification(
        signature=request.signature,
        algorithm=request.signing_algorithm,
        message=given.message,
        digest=given.digest,
        mu=given.mu,
    )


class _Given(NamedTuple):
    """What is signed, as the native calls take it: one of the three."""

    message: bytes | None = None
    digest: bytes | None = None
    mu: bytes | None = None


def _content(request: SignRequest) -> _Given:
    if request.message_type == "EXTERNAL_MU":
        return _Given(mu=request.message)
    # What a caller of Ed25519ph hashed already is hashed once more (AWS KMS API Reference, Sign, MessageType).
    if request.message_type == "DIGEST" and request.signing_algorithm != PREHASHED:
        return _Given(digest=request.message)
    return _Given(message=request.message)


def _check(request: SignRequest, key: Key) -> None:
    """What AWS refuses of an algorithm, a message type and a message's length."""
    require_algorithm(key, request.signing_algorithm, "signingAlgorithm")
    message_type = request.message_type or "RAW"
    lengths = lengths_of(request.signing_algorithm)
    if message_type not in lengths:
        msg = f"MessageType {message_type} is incompatible with algorithm {request.signing_algorithm}."
        raise invalid(msg, field="messageType")
    expected = lengths[message_type]
    if expected is not None and len(request.message) != expected:
        raise invalid(f"Digest is invalid length for algorithm {request.signing_algorithm}.", field="message")


def lengths_of(algorithm: str) -> dict[str, int | None]:
    """The message types that AWS documents for an algorithm, and how long such a message is (None: as it likes)."""
    found = SIGNING_ALGORITHMS[algorithm]
    if algorithm == PREHASHED:
        return {"DIGEST": DIGEST_SIZES["sha512"]}
    if found.scheme is Scheme.ML_DSA:
        return {"RAW": None, "EXTERNAL_MU": MU_OCTETS}
    return {"RAW": None} if found.hash_name is None else {"RAW": None, "DIGEST": DIGEST_SIZES[found.hash_name]}


OPERATIONS: Final = (
    in_steps("Sign", SignRequest, sign, (Action.SIGN,)),
    in_steps("Verify", VerifyRequest, verify, (Action.VERIFY,)),
    KmsOperation("GetPublicKey", GetPublicKeyRequest, get_public_key, (Action.GET_PUBLIC_KEY,)),
)
