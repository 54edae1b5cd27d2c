"""GenerateMac, VerifyMac, Verify and GenerateRandom: a wrong one is an error, never an answer."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keystore.algorithms import PURPOSES, SIGNING_ALGORITHMS, Purpose, algorithms_for
from signer.cryptographic_requests import MacBody, MacVerification, SignatureVerification
from signer.errors import DutyForbids
from signer.operations.macs import Macs, VerifiedMacs
from signer.operations.random_octets import random_octets
from signer.operations.signatures import RawSignatures
from signer.operations.verification import VerifiedSignatures
from signer.request import Signatures
from tests.signer.operations.calls import CI, call_of, entry_of, refused, use

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

MACS, CHECKED, SIGNED, VERIFIED = Macs(), VerifiedMacs(), RawSignatures(), VerifiedSignatures()
MESSAGE: Final = b"what is authenticated"
HMACS: Final = tuple(PURPOSES[Purpose.MAC])


def turned(service: ServiceInProcess, key: str, **body: object) -> None:
    service.made("user/key-admin", "POST", f"/v1/keys/{key}/rotate", body)


@pytest.mark.parametrize("spec", HMACS)
def test_a_mac_is_whole_and_is_verified_by_its_own_key_alone(service: ServiceInProcess, spec: str) -> None:
    key = service.make_key(f"mac-{spec}", spec, "mac")["id"]
    made = use(service, key, MACS, MacBody(message=MESSAGE))
    (algorithm,) = algorithms_for(Purpose.MAC, spec)
    assert made["algorithm"] == algorithm
    assert len(made["mac"]) == hashlib.new(f"sha{spec[5:]}").digest_size
    assert use(service, key, CHECKED, MacVerification(message=MESSAGE, mac=made["mac"]))["valid"] is True
    wrong = [made["mac"][:-1], made["mac"] + b"\0", made["mac"][:16], b"\0", bytes(len(made["mac"]))]
    wrong.append(bytes([made["mac"][0] ^ 1]) + made["mac"][1:])
    for mac in wrong:
        assert refused(service, key, CHECKED, MacVerification(message=MESSAGE, mac=mac)).code == "invalid_mac"
    asked = MacVerification(message=MESSAGE + b"!", mac=made["mac"])
    assert refused(service, key, CHECKED, asked).code == "invalid_mac"
    entry = entry_of(service, made)
    assert (entry["digest"], entry["record"]["action"], "context" in entry["record"]) == (None, "GenerateMac", False)
    asked = MacVerification(message=MESSAGE, mac=made["mac"], algorithm=f"HMAC_SHA_{512 if '256' in spec else 256}")
    if asked.algorithm != algorithm:
        assert refused(service, key, CHECKED, asked).code == "unprocessable"


def test_an_older_version_verifies_where_it_is_named(service: ServiceInProcess) -> None:
    key = service.make_key("mac-turned", "HMAC_256", "mac")["id"]
    old = use(service, key, MACS, MacBody(message=MESSAGE))["mac"]
    turned(service, key)
    assert use(service, key, MACS, MacBody(message=MESSAGE))["mac"] != old
    assert refused(service, key, CHECKED, MacVerification(message=MESSAGE, mac=old)).code == "invalid_mac"
    asked = MacVerification(message=MESSAGE, mac=old, key_version=1)
    assert use(service, key, CHECKED, asked)["key_version"] == 1
    for number in (3, 100):
        absent = MacVerification(message=MESSAGE, mac=old, key_version=number)
        assert refused(service, key, CHECKED, absent).code == "unprocessable"
    turned(service, key, now=True, revoke="key_compromise")
    assert refused(service, key, CHECKED, asked).code == "wrong_state"


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519", "RSA_2048"])
def test_a_signature_is_verified_and_a_wrong_one_is_an_error(service: ServiceInProcess, spec: str) -> None:
    key = service.make_key(f"verified-{spec}", spec, "general")["id"]
    for name in algorithms_for(Purpose.GENERAL, spec):
        made = use(service, key, SIGNED, Signatures(message=MESSAGE, algorithm=name))["signature"]
        asked = SignatureVerification(signature=made, message=MESSAGE, algorithm=name)
        assert use(service, key, VERIFIED, asked)["valid"] is True
        hash_name = SIGNING_ALGORITHMS[name].hash_name
        if hash_name is not None:
            digest = hashlib.new(hash_name, MESSAGE).digest()
            digested = SignatureVerification(signature=made, digest=digest, algorithm=name)
            assert use(service, key, VERIFIED, digested)["valid"] is True
        changed = bytes([made[0], *made[1:-1], made[-1] ^ 1])
        for wrong in (changed, made[:-1], made + b"\0", b"\0", b"0" * 512):
            asked = SignatureVerification(signature=wrong, message=MESSAGE, algorithm=name)
            assert refused(service, key, VERIFIED, asked).code == "invalid_signature"
        asked = SignatureVerification(signature=made, message=MESSAGE + b"!", algorithm=name)
        assert refused(service, key, VERIFIED, asked).code == "invalid_signature"


def test_every_version_that_is_not_revoked_counts(service: ServiceInProcess) -> None:
    key = service.make_key("verified-turned", purpose="general")["id"]
    old = use(service, key, SIGNED, Signatures(message=MESSAGE))["signature"]
    turned(service, key)
    asked = SignatureVerification(signature=old, message=MESSAGE)
    assert use(service, key, VERIFIED, asked)["signed_by_version"] == 1
    turned(service, key, now=True, revoke="key_compromise")
    assert refused(service, key, VERIFIED, asked).code == "invalid_signature"
    new = use(service, key, SIGNED, Signatures(message=MESSAGE))["signature"]
    asked = SignatureVerification(signature=new, message=MESSAGE)
    assert use(service, key, VERIFIED, asked)["signed_by_version"] == 3


@pytest.mark.parametrize(
    ("key", "operation", "body", "code"),
    [
        ("refused-mac", MACS, MacBody(message=b""), "malformed_request"),
        ("refused-mac", MACS, MacBody(message=bytes(4097)), "malformed_request"),
        ("refused-mac", MACS, MacBody(message=b"m", algorithm="HMAC_SHA_512"), "unprocessable"),
        ("refused-signs", MACS, MacBody(message=b"m"), "wrong_purpose"),
        ("refused-mac", VERIFIED, SignatureVerification(signature=b"s", message=b"m"), "wrong_purpose"),
        ("refused-signs", VERIFIED, SignatureVerification(signature=b"s"), "unprocessable"),
        (
            "refused-signs",
            VERIFIED,
            SignatureVerification(signature=b"s", message=b"m", digest=bytes(32)),
            "unprocessable",
        ),
        ("refused-signs", VERIFIED, SignatureVerification(signature=b"s", digest=bytes(31)), "unprocessable"),
    ],
)
def test_what_cannot_be_is_refused_before_the_hsm(
    service: ServiceInProcess, refused_keys: None, key: str, operation: Any, body: msgspec.Struct, code: str
) -> None:
    assert refused(service, key, operation, body).code == code


@pytest.fixture(scope="module")
def refused_keys(service: ServiceInProcess) -> None:
    service.make_key("refused-mac", "HMAC_256", "mac")
    service.make_key("refused-signs", purpose="general")


def test_random_octets_are_the_hsms_and_are_not_written_down(service: ServiceInProcess) -> None:
    services = service.services
    call = call_of(service, CI, {"number_of_bytes": 24})
    made: Any = random_octets(services.pipeline, services.keystore, call).content
    again: Any = random_octets(services.pipeline, services.keystore, call_of(service, CI, {})).content
    assert (len(made["random"]), len(again["random"])) == (24, 32)
    (entry,) = service.outcomes(call.request_id)
    record = msgspec.json.decode(entry["record"])
    assert (record["action"], record["outcome"], record["detail"]) == (
        "GenerateRandom",
        "succeeded",
        {"number_of_bytes": 24},
    )
    for size in (0, 1025):
        with pytest.raises(Exception, match="Expected `int`"):
            random_octets(services.pipeline, services.keystore, call_of(service, CI, {"number_of_bytes": size}))
    with pytest.raises(DutyForbids):
        random_octets(services.pipeline, services.keystore, call_of(service, "user/admin", {}))
