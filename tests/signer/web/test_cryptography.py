"""The calls that encrypt and authenticate, over HTTP: what policies decide of them, and that nothing secret is kept.

What each of them does is in tests/signer/operations; every call by everybody in test_matrix.py.
"""

from __future__ import annotations

import base64
import io
import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from keystore.db.schema import METADATA
from tests.signer.web.refusal import assert_refused
from verifier import encrypt, open_bytes, parse_trust, read_header, recipient_of, seal_bytes

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

KEEPER: Final = "user/key-admin"
USER: Final = "role/ci"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def keys(service: ServiceInProcess) -> dict[str, str]:
    made = {
        "vault": ("SYMMETRIC_DEFAULT", "encrypt", {}),
        "inbox": ("RSA_2048", "encrypt", {"published": True}),
        "codes": ("HMAC_256", "mac", {}),
        "meeting": ("ECC_NIST_P256", "agree", {}),
    }
    return {
        f"{name}": str(service.make_key(f"secret-{name}", spec, purpose, **members)["id"])
        for name, (spec, purpose, members) in made.items()
    }


def result(service: ServiceInProcess, path: str, body: object) -> Any:
    return service.made(USER, "POST", path, body)["results"][0]


def everything(service: ServiceInProcess) -> bytes:
    """Every row of every table."""
    with service.services.keystore.database.read() as connection:
        rows = [row for table in METADATA.sorted_tables for row in connection.execute(select(table))]
    return b"\n".join(repr(tuple(row)).encode() for row in rows)


def test_nothing_secret_is_kept_or_logged(
    service: ServiceInProcess, keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    plaintext, message = os.urandom(24), os.urandom(24)
    vault, codes = f"/v1/keys/{keys['vault']}", f"/v1/keys/{keys['codes']}"
    sealed = result(service, f"{vault}/encrypt", {"plaintext": text(plaintext), "context": {"seen": "yes-seen"}})
    of_it = {"ciphertext": sealed["ciphertext"], "context": {"seen": "yes-seen"}}
    opened = result(service, "/v1/decrypt", of_it)
    assert opened["plaintext"] == text(plaintext)
    data_key = result(service, f"{vault}/data-keys", {})["plaintext"]
    pair = result(service, f"{vault}/data-key-pairs", {"spec": "ECC_NIST_P256"})
    mac = result(service, f"{codes}/macs", {"message": text(message)})["mac"]
    point = pair["public_key"]
    shared = result(service, f"/v1/keys/{keys['meeting']}/shared-secrets", {"public_key": point})["shared_secret"]
    random = service.made(USER, "POST", "/v1/random", {"number_of_bytes": 24})["random"]
    wrong = service.call(USER, "POST", f"{codes}/macs/verify", {"message": text(plaintext), "mac": mac})
    assert_refused(wrong, 422, "invalid_mac")

    kept = everything(service) + "".join(capsys.readouterr()).encode()
    secrets = [plaintext, message, *map(base64.b64decode, (data_key, pair["private_key"], mac, shared, random))]
    for secret in secrets:
        for form in (secret, text(secret).encode(), secret.hex().encode(), repr(secret)[2:-1].encode()):
            assert form not in kept
    assert b"yes-seen" in kept  # the context is no secret: it is on record


def test_an_idempotency_key_is_refused_where_nothing_is_kept(service: ServiceInProcess, keys: dict[str, str]) -> None:
    header = {"Idempotency-Key": "again"}
    answer = service.call(USER, "POST", f"/v1/keys/{keys['vault']}/data-keys", {}, headers=header)
    assert_refused(answer, 422, "unprocessable", "Idempotency-Key")


def test_a_policy_may_allow_data_keys_without_their_plaintext_alone(service: ServiceInProcess) -> None:
    key = service.make_key("prepared", "SYMMETRIC_DEFAULT", "encrypt")
    administers = ["kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:DescribeKey"]
    condition = {"StringEquals": {"kms:EncryptionContext:host": "db1"}}
    statements = [
        _allowed(KEEPER, administers),
        _allowed(USER, ["kms:DescribeKey"]),
        {**_allowed(USER, ["kms:GenerateDataKeyWithoutPlaintext"]), "Condition": condition},
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    service.made(KEEPER, "PUT", f"/v1/keys/{key['id']}/policy", policy)
    path, context = f"/v1/keys/{key['id']}/data-keys", {"context": {"host": "db1"}}
    made = result(service, f"{path}/without-plaintext", context)
    assert "plaintext" not in made
    for refused, body in ((path, context), (f"{path}/without-plaintext", {"context": {"host": "db2"}})):
        assert_refused(service.call(USER, "POST", refused, body), 403, "policy_forbids")
    answer = service.call(USER, "POST", "/v1/decrypt", {"ciphertext": made["ciphertext"], **context})
    assert_refused(answer, 403, "policy_forbids")


def _allowed(name: str, actions: list[str]) -> dict[str, object]:
    principal = {"AWS": f"arn:aws:iam::000000000000:{name}"}
    return {"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"}


def test_a_strangers_envelope_is_opened_by_the_services_decrypt(
    service: ServiceInProcess, keys: dict[str, str]
) -> None:
    """The third party's flow, by the two APIs: the trust bundle out, the envelope in, its data key decrypted."""
    trust = parse_trust(service.call(None, "GET", "/v1/trust").get_data())
    inbox = recipient_of(trust, key=keys["inbox"])
    small = encrypt(b"a token", inbox)
    path = f"/v1/keys/{keys['inbox']}/decrypt"
    assert result(service, path, {"ciphertext": text(small)})["plaintext"] == text(b"a token")
    sealed = encrypt(b"long " * 100, inbox, context={"case": "4711"})
    header = read_header(_stream(sealed))
    wrapped = {"ciphertext": text(header.wrapped_data_key), "algorithm": header.algorithm, "key_version": 1}
    data_key = base64.b64decode(result(service, path, wrapped)["plaintext"])
    assert open_bytes(sealed, data_key, context={"case": "4711"})[0] == b"long " * 100
    # An RSA ciphertext names no key.
    assert_refused(service.call(USER, "POST", "/v1/decrypt", {"ciphertext": text(small)}), 422, "undecipherable")


def test_a_data_key_of_the_service_seals_an_envelope(service: ServiceInProcess, keys: dict[str, str]) -> None:
    path, context = f"/v1/keys/{keys['vault']}", {"host": "db1"}
    made = result(service, f"{path}/data-keys", {"spec": "AES_256", "context": context})
    plain, wrapped = (base64.b64decode(made[name]) for name in ("plaintext", "ciphertext"))
    sealed = seal_bytes(b"content", data_key=plain, wrapped_data_key=wrapped, key_id=keys["vault"], context=context)
    header = read_header(_stream(sealed))
    asked = {"ciphertext": text(header.wrapped_data_key), "context": dict(header.context)}
    opened = base64.b64decode(result(service, f"{path}/decrypt", asked)["plaintext"])
    assert open_bytes(sealed, opened)[0] == b"content"
    other = service.call(USER, "POST", f"{path}/decrypt", {**asked, "context": {"host": "db2"}})
    assert_refused(other, 422, "undecipherable")


def _stream(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)
