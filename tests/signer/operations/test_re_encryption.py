"""ReEncrypt: two keys, two permits, two records, and a plaintext that nobody sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keystore.errors import KeystoreError
from signer.cryptographic_requests import Decryption, Encryption, ReEncryption
from signer.errors import SealmarkError
from signer.operations.encryption import Decrypted, Encrypted
from signer.operations.re_encryption import ReEncrypted
from tests.signer.operations.calls import CI, call_of, use

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ENCRYPTED, DECRYPTED, MOVED = Encrypted(), Decrypted(), ReEncrypted()
OLD: Final = {"tenant": "one"}
NEW: Final = {"tenant": "two"}


@pytest.fixture(scope="module", autouse=True)
def _keys(service: ServiceInProcess) -> None:
    for alias in ("moves-from", "moves-to"):
        service.make_key(alias, "SYMMETRIC_DEFAULT", "encrypt")
    service.make_key("moves-rsa", "RSA_2048", "encrypt")
    service.make_key("moves-signs", purpose="general")


def moved(service: ServiceInProcess, source: str, body: ReEncryption, who: str = CI) -> tuple[Any, str]:
    call = call_of(service, who, body)
    answer: Any = service.services.pipeline.re_encrypt(call, source, lambda asked: asked.destination, MOVED).content
    (result,) = answer["results"]
    return result, call.request_id


def not_moved(service: ServiceInProcess, source: str, body: ReEncryption, who: str = CI) -> tuple[Any, list[Any]]:
    call = call_of(service, who, body)
    with pytest.raises((SealmarkError, KeystoreError)) as refusal:
        service.services.pipeline.re_encrypt(call, source, lambda asked: asked.destination, MOVED)
    found = service.outcomes(call.request_id)
    return refusal.value, [(entry["action"], entry["outcome"], entry["code"]) for entry in found]


def encrypted(service: ServiceInProcess, key: str = "moves-from", context: dict[str, str] | None = OLD) -> bytes:
    made: bytes = use(service, key, ENCRYPTED, Encryption(plaintext=b"plain", context=context))["ciphertext"]
    return made


def test_it_is_opened_by_the_other_key_with_the_other_context_alone(service: ServiceInProcess) -> None:
    body = ReEncryption(ciphertext=encrypted(service), destination="moves-to", context=OLD, destination_context=NEW)
    made, request_id = moved(service, "moves-from", body)
    assert "plaintext" not in made
    keystore = service.services.keystore
    source, destination = keystore.get_key("moves-from"), keystore.get_key("moves-to")
    assert (made["source"]["key_id"], made["key_id"]) == (source.id, destination.id)
    assert made["source"]["material_id"] != made["material_id"]
    opened = use(service, "moves-to", DECRYPTED, Decryption(ciphertext=made["ciphertext"], context=NEW))
    assert opened["plaintext"] == b"plain"
    entries = service.outcomes(request_id)
    assert [intent["key_id"] for intent in service.intents(request_id)] == [source.id, destination.id]
    told = [
        (entry["action"], entry["key_id"], msgspec.json.decode(entry["record"])["context"], entry["outcome"])
        for entry in entries
    ]
    assert told == [
        ("ReEncryptFrom", source.id, OLD, "succeeded"),
        ("ReEncryptTo", destination.id, NEW, "succeeded"),
    ]


def test_a_key_re_encrypts_for_itself_under_its_newest_version(service: ServiceInProcess) -> None:
    key = service.make_key("moves-turned", "SYMMETRIC_DEFAULT", "encrypt")["id"]
    old = encrypted(service, key)
    service.made("user/key-admin", "POST", f"/v1/keys/{key}/rotate", {})
    made, _ = moved(service, key, ReEncryption(ciphertext=old, destination=key, context=OLD))
    assert (made["source"]["key_version"], made["key_version"]) == (1, 2)
    assert use(service, key, DECRYPTED, Decryption(ciphertext=made["ciphertext"]))["plaintext"] == b"plain"


def test_between_rsa_and_symmetric_keys(service: ServiceInProcess) -> None:
    body = ReEncryption(
        ciphertext=encrypted(service),
        destination="moves-rsa",
        context=OLD,
        destination_algorithm="RSAES_OAEP_SHA_1",
    )
    bare, _ = moved(service, "moves-from", body)
    assert (len(bare["ciphertext"]), bare["algorithm"]) == (256, "RSAES_OAEP_SHA_1")
    back = ReEncryption(ciphertext=bare["ciphertext"], algorithm="RSAES_OAEP_SHA_1", destination="moves-to")
    made, _ = moved(service, "moves-rsa", back)
    assert use(service, "moves-to", DECRYPTED, Decryption(ciphertext=made["ciphertext"]))["plaintext"] == b"plain"
    long = use(service, "moves-from", ENCRYPTED, Encryption(plaintext=bytes(500)))["ciphertext"]
    error, told = not_moved(service, "moves-from", ReEncryption(ciphertext=long, destination="moves-rsa"))
    assert (error.code, error.field) == ("unprocessable", "destination")
    assert told == [("ReEncryptFrom", "denied", "unprocessable"), ("ReEncryptTo", "denied", "unprocessable")]


@pytest.mark.parametrize(
    ("source", "body", "code", "told"),
    [
        ("moves-from", {"context": NEW}, "undecipherable", ["ReEncryptFrom", "ReEncryptTo"]),
        ("moves-to", {"context": OLD}, "undecipherable", ["ReEncryptFrom"]),
        ("moves-signs", {"context": OLD}, "wrong_purpose", ["ReEncryptFrom"]),
        ("moves-from", {"context": OLD, "destination": "moves-signs"}, "wrong_purpose", ["ReEncryptTo"]),
        ("moves-from", {"context": OLD, "destination": "absent"}, "not_found", ["ReEncryptTo"]),
        ("absent", {"context": OLD}, "not_found", ["ReEncryptFrom"]),
        ("moves-from", {"context": OLD, "algorithm": "RSAES_OAEP_SHA_1"}, "unprocessable", ["ReEncryptFrom"]),
        (
            "moves-from",
            {"context": OLD, "destination": "moves-rsa", "destination_context": NEW},
            "unprocessable",
            ["ReEncryptFrom"],
        ),
    ],
)
def test_what_is_wrong_on_either_side_is_refused_and_recorded(
    service: ServiceInProcess, source: str, body: dict[str, Any], code: str, told: list[str]
) -> None:
    asked = ReEncryption(**{"ciphertext": encrypted(service), "destination": "moves-to", **body})
    error, entries = not_moved(service, source, asked)
    assert error.code == code
    assert entries == [(action, "denied", code) for action in told]


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    arn = "arn:aws:iam::000000000000:"
    administers = ["kms:DescribeKey", "kms:PutKeyPolicy", "kms:GetKeyPolicy"]
    own = {"Effect": "Allow", "Principal": {"AWS": f"{arn}user/key-admin"}, "Action": administers, "Resource": "*"}
    uses = {"Effect": "Allow", "Principal": {"AWS": f"{arn}role/ci"}, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [own, *({**uses, **statement} for statement in statements)]}


def key_with(service: ServiceInProcess, *statements: dict[str, Any]) -> str:
    body = {"spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt", "policy": policy(*statements)}
    made: str = service.made("user/key-admin", "POST", "/v1/keys", body)["id"]
    return made


def test_both_keys_policies_decide_and_may_ask_whether_they_are_one(service: ServiceInProcess) -> None:
    encrypts: dict[str, Any] = {"Action": ["kms:Encrypt"]}
    same = {"Bool": {"kms:ReEncryptOnSameKey": "true"}}
    only_from = key_with(service, {"Action": ["kms:Encrypt", "kms:ReEncryptFrom"]})
    only_to = key_with(service, {"Action": ["kms:ReEncryptTo"]})
    within = key_with(service, encrypts, {"Action": ["kms:ReEncryptFrom", "kms:ReEncryptTo"], "Condition": same})
    moved(service, only_from, ReEncryption(ciphertext=encrypted(service, only_from, None), destination=only_to))
    moved(service, within, ReEncryption(ciphertext=encrypted(service, within, None), destination=within))
    for source, destination, refusing in (
        (only_from, only_from, "ReEncryptTo"),
        (within, only_to, "ReEncryptFrom"),
        (only_from, within, "ReEncryptTo"),
    ):
        asked = ReEncryption(ciphertext=encrypted(service, source, None), destination=destination)
        error, told = not_moved(service, source, asked)
        assert error.code in ("policy_forbids", "not_found")
        assert told == [(refusing, "denied", error.code)]
