"""The calls that encrypt, make data keys and MACs, agree on secrets, verify, and give random octets."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from keystore.ciphertexts import describe
from signer.access import Action
from signer.cryptographic_requests import Decryption, RandomOctets, ReEncryption
from signer.operations.agreement import SharedSecrets
from signer.operations.data_keys import DataKeyPairs, DataKeys
from signer.operations.encapsulation import Decapsulations, Encapsulations
from signer.operations.encryption import Decrypted, Encrypted
from signer.operations.macs import Macs, VerifiedMacs
from signer.operations.random_octets import random_octets
from signer.operations.re_encryption import ReEncrypted
from signer.operations.verification import VerifiedSignatures
from signer.web.endpoints import Endpoint, View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.call import Answer, Call
    from signer.operations.base import Operation
    from signer.services import Services

_Body = TypeVar("_Body", bound=msgspec.Struct)
_TAG: Final = "encryption"
_DECRYPTED: Final = Decrypted()
_RE_ENCRYPTED: Final = ReEncrypted()


def _view(operation: Operation[_Body]) -> View:
    def view(services: Services, call: Call, key: str) -> Answer:
        return services.pipeline.sign(call, key, operation)

    return view


def decrypt(services: Services, call: Call) -> Answer:
    """The key is the one that the ciphertext names."""
    return services.pipeline.sign(call, _key_of, _DECRYPTED)


def _key_of(body: Decryption) -> str:
    return describe(body.ciphertext).key_id


def re_encrypt(services: Services, call: Call, key: str) -> Answer:
    return services.pipeline.re_encrypt(call, key, _destination_of, _RE_ENCRYPTED)


def _destination_of(body: ReEncryption) -> str:
    return body.destination


def random(services: Services, call: Call) -> Answer:
    return random_octets(services.pipeline, services.keystore, call)


def _uses(path: str, summary: str, operation: Operation[_Body]) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/keys/<key>/{path}",
        summary,
        _view(operation),
        operation.action,
        operation.body_type,
        tag=_TAG,
    )


# Those that take no longer than a signature, and so may go together with others (`signer.lane`): no pair is made here.
OPERATIONS: Final[Mapping[str, Operation[Any]]] = MappingProxyType(
    {
        "encrypt": Encrypted(),
        "decrypt": _DECRYPTED,
        "data-keys": DataKeys(plaintext=True),
        "data-keys/without-plaintext": DataKeys(plaintext=False),
        "shared-secrets": SharedSecrets(),
        "macs": Macs(),
        "macs/verify": VerifiedMacs(),
        "signatures/verify": VerifiedSignatures(),
    }
)
ENDPOINTS: Final = (
    _uses("encrypt", "Encrypt up to 4096 bytes", OPERATIONS["encrypt"]),
    _uses("decrypt", "Decrypt a ciphertext of this key", _DECRYPTED),
    Endpoint(
        "POST",
        "/v1/decrypt",
        "Decrypt a ciphertext with the key that it names",
        decrypt,
        Action.DECRYPT,
        Decryption,
        tag=_TAG,
    ),
    _uses("data-keys", "Make a data key, in the clear and encrypted", OPERATIONS["data-keys"]),
    _uses("data-keys/without-plaintext", "Make a data key, encrypted alone", OPERATIONS["data-keys/without-plaintext"]),
    _uses("data-key-pairs", "Make a key pair for use outside", DataKeyPairs(plaintext=True)),
    _uses(
        "data-key-pairs/without-plaintext",
        "Make a key pair for use outside, its private half encrypted alone",
        DataKeyPairs(plaintext=False),
    ),
    Endpoint(
        "POST",
        "/v1/keys/<key>/re-encrypt",
        "Encrypt anew what a key encrypted, with another key or context",
        re_encrypt,
        _RE_ENCRYPTED.source.action,
        ReEncryption,
        tag=_TAG,
    ),
    _uses("shared-secrets", "Derive a shared secret", OPERATIONS["shared-secrets"]),
    _uses("encapsulate", "Make a shared secret, and its ciphertext", Encapsulations()),
    _uses("decapsulate", "Get the shared secret of a ciphertext", Decapsulations()),
    _uses("macs", "Make the MAC of a message", OPERATIONS["macs"]),
    _uses("macs/verify", "Check a MAC", OPERATIONS["macs/verify"]),
    _uses("signatures/verify", "Check a raw signature", OPERATIONS["signatures/verify"]),
    Endpoint(
        "POST", "/v1/random", "Get random bytes of the HSM", random, Action.GENERATE_RANDOM, RandomOctets, tag=_TAG
    ),
)
