"""Whose request it seems to be: nobody is taken for another by what everybody can write."""

from __future__ import annotations

import pytest

from signer.admission import Caller
from signer.call import Call
from signer.callers import KnownCallers

ADA, HERE, THERE = "role/ada", "192.0.2.1", "198.51.100.7"
TOKEN = {"authorization": "Bearer smk_ada"}
ACCESS_KEY = {"authorization": "AWS4-HMAC-SHA256 Credential=SMKA0001/20261126/us-east-1/kms/aws4_request, Signature=0"}
SIGNED = {"signature-input": 'sig1=("@method");created=1;keyid="0f0e"'}


def call(headers: dict[str, str], source: str = HERE) -> Call:
    return Call("0" * 32, None, source, headers.get("authorization"), None, b"", headers=headers)


@pytest.fixture
def callers() -> KnownCallers:
    return KnownCallers()


def seen(callers: KnownCallers, headers: dict[str, str], source: str = HERE) -> Caller:
    return callers.caller_of("POST", "/v1/keys/k/signatures", source, headers)


@pytest.mark.parametrize("headers", [TOKEN, ACCESS_KEY, SIGNED])
def test_a_credential_that_was_right_is_known_again(callers: KnownCallers, headers: dict[str, str]) -> None:
    assert seen(callers, headers) == Caller(HERE)
    callers.learnt(call(headers), ADA)
    assert seen(callers, headers) == Caller(ADA, known=True)
    callers.forgotten(call(headers))
    assert seen(callers, headers) == Caller(HERE)


def test_a_token_is_its_holders_from_wherever_it_comes(callers: KnownCallers) -> None:
    callers.learnt(call(TOKEN), ADA)
    assert seen(callers, TOKEN, THERE).name == ADA


@pytest.mark.parametrize("headers", [ACCESS_KEY, SIGNED])
def test_a_public_key_id_is_taken_for_its_holders_from_its_own_address_alone(
    callers: KnownCallers, headers: dict[str, str]
) -> None:
    callers.learnt(call(headers), ADA)
    assert seen(callers, headers, THERE) == Caller(THERE)


def test_each_signature_of_one_access_key_is_the_same_caller(callers: KnownCallers) -> None:
    callers.learnt(call(ACCESS_KEY), ADA)
    another = {"authorization": ACCESS_KEY["authorization"].replace("Signature=0", "Signature=1")}
    assert seen(callers, another).name == ADA


def test_who_makes_credentials_up_is_one_stranger(callers: KnownCallers) -> None:
    varied = {seen(callers, {"authorization": f"Bearer smk_{at}"}, f"2001:db8::{at:x}") for at in range(100)}
    assert varied == {Caller("2001:db8::/64")}


def test_reads_and_health_are_flows_of_their_own(callers: KnownCallers) -> None:
    callers.learnt(call(TOKEN), ADA)
    assert callers.caller_of("GET", "/v1/keys", HERE, TOKEN) == Caller(ADA, known=True, reads=True)
    assert callers.caller_of("GET", "/readyz", HERE, {}).health
    assert not callers.caller_of("GET", "/readyz", HERE, {"authorization": "Bearer made-up"}).health
    assert not callers.caller_of("GET", "/v1/trust", HERE, {}).health


def test_what_is_remembered_is_bounded(callers: KnownCallers) -> None:
    for at in range(10_000):
        callers.learnt(call({"authorization": f"Bearer smk_{at}"}), f"role/r{at}")
    assert len(callers._names) <= 4_096
