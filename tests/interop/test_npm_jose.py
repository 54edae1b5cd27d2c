"""npm's jose judges tokens of every algorithm by the key set that the service publishes."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose, algorithms_for
from tests.hsm_support import founded, token
from tests.interop.loopback import NPM, node
from tests.signer.service import ISSUER_URL, ServiceInProcess, running_service
from tools.demo.exhibits import tamper_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

__all__ = ["founded", "token"]

AUDIENCE: Final = "https://api.example"
SUBJECT: Final = "alice@example.com"
SPECS: Final = ("RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519")
ALGORITHMS: Final = {
    SIGNING_ALGORITHMS[name].jws: (spec, name) for spec in SPECS for name in algorithms_for(Purpose.JWT, spec)
}


@dataclass(frozen=True)
class Issued:
    """A key set as it is served, one token of each algorithm by its JWS name, and a set of another issuer's."""

    keys: dict[str, Any]
    tokens: dict[str | None, str]
    stranger: dict[str, Any]


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("jose")) as running:
        yield running


@pytest.fixture(scope="module")
def issued(service: ServiceInProcess) -> Issued:
    settings = {"max_ttl": 600, "audiences": [AUDIENCE]}
    tokens: dict[str | None, str] = {}
    for number, (jws, (spec, algorithm)) in enumerate(ALGORITHMS.items()):
        key = service.make_key(f"jose-{number}", spec, "jwt", algorithm=algorithm, **settings)
        body = {"claims": {"sub": SUBJECT}}
        tokens[jws] = service.made("role/ci", "POST", f"/v1/keys/{key['id']}/jwts", body)["results"][0]["token"]
    service.made("user/key-admin", "POST", "/v1/issuers", {"name": "other", "url": "https://other.example"})
    service.make_key("jose-other", "ECC_NIST_P256", "jwt", issuer="other", **settings)
    served = [service.made(None, "GET", f"/issuers/{issuer}/jwks.json") for issuer in ("default", "other")]
    return Issued(served[0], tokens, served[1])


def jose(keys: dict[str, Any], tokens: list[str], issuer: str = ISSUER_URL, audience: str = AUDIENCE) -> list[Any]:
    """The verdicts of npm's jose."""
    done = subprocess.run(
        [node(), NPM / "verify_jwt.mjs", issuer, audience],
        cwd=NPM,
        input=json.dumps({"keys": keys, "tokens": tokens}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdicts: list[Any] = json.loads(done.stdout)
    return verdicts


def test_every_algorithm_that_jwt_keys_have_is_tried() -> None:
    assert set(ALGORITHMS) == {f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)} | {"EdDSA"}


def test_jose_verifies_a_token_of_each_algorithm(issued: Issued) -> None:
    verdicts = jose(issued.keys, list(issued.tokens.values()))
    for jws, verdict in zip(issued.tokens, verdicts, strict=True):
        assert (verdict["verified"], verdict.get("alg")) == (True, jws), (jws, verdict)
        claims = verdict["claims"]
        assert (claims["sub"], claims["iss"], claims["aud"]) == (SUBJECT, ISSUER_URL, AUDIENCE)


def test_jose_refuses_each_with_one_byte_changed(issued: Issued) -> None:
    verdicts = jose(issued.keys, [tamper_token(genuine, SUBJECT.encode()) for genuine in issued.tokens.values()])
    assert len(verdicts) == len(ALGORITHMS)
    assert {verdict.get("code") for verdict in verdicts} == {"ERR_JWS_SIGNATURE_VERIFICATION_FAILED"}


def test_jose_refuses_each_with_a_signature_changed(issued: Issued) -> None:
    changed = []
    for genuine in issued.tokens.values():
        signed, _, signature = genuine.rpartition(".")
        octets = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
        octets[-1] ^= 1
        changed.append(f"{signed}.{base64.urlsafe_b64encode(octets).rstrip(b'=').decode()}")
    verdicts = jose(issued.keys, changed)
    assert {verdict.get("code") for verdict in verdicts} == {"ERR_JWS_SIGNATURE_VERIFICATION_FAILED"}


def test_jose_finds_no_key_in_another_issuers_set(issued: Issued) -> None:
    verdicts = jose(issued.stranger, list(issued.tokens.values()))
    assert {verdict.get("code") for verdict in verdicts} == {"ERR_JWKS_NO_MATCHING_KEY"}


@pytest.mark.parametrize("wrong", [{"issuer": "https://other.example"}, {"audience": "https://other.example"}])
def test_jose_holds_them_to_issuer_and_audience(issued: Issued, wrong: dict[str, str]) -> None:
    verdicts = jose(issued.keys, list(issued.tokens.values()), **wrong)
    assert {verdict.get("code") for verdict in verdicts} == {"ERR_JWT_CLAIM_VALIDATION_FAILED"}
