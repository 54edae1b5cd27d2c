"""What may be trusted: bundles, public keys and authorities, read strictly."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier import pki, proof_builder
from tests.verifier.log_builder import NoteSigner, witness_signer
from tests.verifier.trust_builder import KEY_ID, authority_entry, bundle, key_entry
from verifier import Indeterminate, load_certificates, parse_trust, trusted_log
from verifier.times import parse_time

GOOD = key_entry(pki.key("p256"), "ECDSA_SHA_256")


def refused(data: bytes) -> str:
    with pytest.raises(Indeterminate) as caught:
        parse_trust(data)
    assert caught.value.code == "invalid_trust"
    return caught.value.message


def test_bundle() -> None:
    trust = parse_trust(bundle([GOOD], [authority_entry(pki.root().certificate, "artifact", "jwt")]))
    (key,) = trust.keys_for("artifact")
    assert (key.key_id, key.name, [each.name for each in key.algorithms]) == (KEY_ID, "release", ["ECDSA_SHA_256"])
    assert [each.certificate for each in trust.authorities_for("jwt")] == [pki.root().certificate]
    assert not trust.keys_for("jwt")
    assert not trust.authorities_for("saml")


def test_public_key_and_authorities() -> None:
    assert parse_trust(pki.public_pem(pki.key("ed25519"))).keys_for("artifact")[0].algorithms[0].jws == "EdDSA"
    two = pki.pem(pki.root().certificate, pki.root("Second Root").certificate)
    assert len(parse_trust(two).authorities_for("artifact")) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key_id": "release"}, "badly formed"),
        ({"key_id": KEY_ID.upper().replace("7", "F")}, "UUID"),
        ({"key_version": True}, "key_version"),
        ({"key_version": 0}, "key_version"),
        ({"key_version": "1"}, "key_version"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"purpose": "ca"}, "purpose"),
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": ["ECDSA_SHA_256", "ECDSA_SHA_256"]}, "algorithms"),
        ({"algorithms": ["RSASSA_PSS_SHA_256"]}, "cannot make"),
        ({"public_key": "AAAA"}, ""),
        ({"public_key": GOOD["public_key"] + "\n"}, "base64"),  # type: ignore[operator]
        ({"not_before": None}, "not_before"),
        ({"not_before": "2020-01-01"}, "not_before"),
        ({"not_before": "2020-01-01T00:00:00+01:00"}, "not_before"),
        ({"not_after": "soon"}, "not_after"),
        ({"not_after": "2019-12-31T23:59:59Z"}, "not_after is before not_before"),
        ({"revoked_at": "yesterday"}, "revoked_at"),
        ({"revoked_at": False}, "revoked_at"),
        ({"issuer": "https://issuer.example"}, "only the purposes jwt and saml have"),
        ({"issuer": "", "purpose": "jwt"}, "issuer"),
        ({"purpose": "jwt"}, "must name its issuer"),
        ({"purpose": "saml"}, "must name its issuer"),
        ({"comment": "hello"}, "unknown member 'comment'"),
    ],
)
def test_bad_keys(changes: dict[str, object], reason: str) -> None:
    assert reason in refused(bundle([GOOD | changes]))


@pytest.mark.parametrize("member", sorted(GOOD))
def test_missing_members(member: str) -> None:
    assert repr(member) in refused(bundle([{key: value for key, value in GOOD.items() if key != member}]))


AUTHORITY = authority_entry(pki.root().certificate)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purposes": []}, "purposes"),
        ({"purposes": ["artifact", "artifact"]}, "purposes"),
        ({"purposes": ["ca"]}, "purpose"),
        ({"certificate": None}, "certificate"),
        ({"identities": []}, "identities"),
        ({"identities": ["a", "a"]}, "identities"),
        ({"identities": "urn:uuid:0"}, "identities"),
        ({"identities": [""]}, "identities"),
        ({"issuer": "https://issuer.example"}, "only the purposes jwt and saml have"),
        ({"issuer": 1, "purposes": ["jwt"]}, "issuer"),
        ({"not_before": "2026-01-02T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}, "not_after is before"),
        ({"not_before": 0}, "not_before"),
        ({"crl": "AAAA"}, ""),
        ({"crl": ""}, "crl"),
        ({"crl": []}, "crl"),
        ({"comment": "hello"}, "unknown member 'comment'"),
    ],
)
def test_bad_authorities(changes: dict[str, object], reason: str) -> None:
    assert reason in refused(bundle([], [AUTHORITY | changes]))


@pytest.mark.parametrize("member", sorted(AUTHORITY))
def test_missing_members_of_authorities(member: str) -> None:
    entry = {key: value for key, value in AUTHORITY.items() if key != member}
    assert repr(member) in refused(bundle([], [entry]))


def test_all_members_are_read() -> None:
    crl = base64.b64encode(pki.crl_der(pki.crl(pki.root()))).decode()
    times = {"not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z"}
    revoked = "2026-02-01T00:00:00Z"
    token_key = GOOD | times | {"purpose": "jwt", "issuer": "https://issuer.example", "revoked_at": revoked}
    entry = AUTHORITY | times | {"identities": ["urn:uuid:0", "a@b.example"], "crl": crl}
    trust = parse_trust(bundle([token_key], [entry]))
    (key,), (authority,) = trust.keys, trust.authorities
    assert (key.issuer, key.revoked_at, key.not_after) == (
        "https://issuer.example",
        parse_time(revoked),
        parse_time(times["not_after"]),
    )
    assert authority.identities == frozenset({"urn:uuid:0", "a@b.example"})
    assert authority.not_before == parse_time(times["not_before"])
    assert authority.crl is not None
    assert authority.crl.issuer == pki.root().certificate.subject
    assert trust.generated_at == parse_time("2026-01-01T00:00:00Z")


def test_one_authority_may_speak_for_several_issuers() -> None:
    entries = [
        AUTHORITY | {"purposes": ["jwt"], "issuer": issuer} for issuer in ("https://a.example", "https://b.example")
    ]
    assert len(parse_trust(bundle([], entries)).authorities_for("jwt")) == 2
    assert "twice" in refused(bundle([], [entries[0], entries[0] | {"purposes": ["saml"]}]))


def test_the_example_in_the_readme_is_a_trust_file() -> None:
    """Hand-made trust: what the page shows is read by the strict parser."""
    text = (Path(__file__).resolve().parents[2] / "verifier" / "README.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    trust = parse_trust(example.encode())
    assert {key.purpose for key in trust.keys} == {"artifact", "jwt"}
    assert any(key.revoked_at for key in trust.keys)
    assert any(authority.identities for authority in trust.authorities)
    assert [(len(log.witnesses), log.cosignatures) for log in trust.logs] == [(2, 1)]


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"version": True}, {"keys": {}}, {"extra": 1}, {"generated_at": 0}]
)
def test_bad_bundles(changes: dict[str, object]) -> None:
    refused(json.dumps(json.loads(bundle([GOOD])) | changes).encode())


def test_duplicates_are_refused() -> None:
    assert "twice" in refused(bundle([GOOD, GOOD]))
    assert "two names" in refused(bundle([GOOD, GOOD | {"key_version": 2}]))
    entry = authority_entry(pki.root().certificate)
    assert "twice" in refused(bundle([GOOD], [entry, entry]))
    text = bundle([GOOD]).decode().replace('"version": 1', '"version": 1, "version": 1')
    assert "twice" in refused(text.encode())


def test_unknown_algorithms_are_never_used_and_do_no_harm() -> None:
    later = key_entry(pki.key("p384"), "SLH_DSA_SHA2_128F", key_version=2, public_key="AAAA")
    assert len(parse_trust(bundle([GOOD, later])).keys) == 1
    # A key that can be read stays, with nothing that it may make: a signature by it is refused, not overlooked.
    readable = parse_trust(bundle([key_entry(pki.key("p384"), "ECDSA_LATER")])).keys
    assert [key.algorithms for key in readable] == [()]


def test_weak_keys_are_refused() -> None:
    assert "2048" in refused(pki.public_pem(pki.key("rsa1024")))
    assert "secp224r1" in refused(pki.public_pem(pki.key("p224")))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"[]",
        b"\xff\xfe{}",
        pki.private_pem(pki.key("p256")),
        pki.public_pem(pki.key("p256")) * 2,
        pki.public_pem(pki.key("p256")) + pki.pem(pki.root().certificate),
        pki.pem(pki.leaf().certificate),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_other_contents_are_refused(data: bytes) -> None:
    message = refused(data)
    assert "-----" not in message


def test_authority_must_be_one() -> None:
    assert "not that of an authority" in refused(bundle([], [authority_entry(pki.leaf().certificate)]))


def test_certificates_for_saml() -> None:
    assert load_certificates(pki.pem(pki.leaf().certificate)) == (pki.leaf().certificate,)
    for data in (b"", pki.public_pem(pki.key("p256")), pki.pem(pki.leaf().certificate)[:200]):
        with pytest.raises(Indeterminate):
            load_certificates(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_makes_it_fail_otherwise(value: object) -> None:
    for document in (value, {"version": 1, "generated_at": "2026-01-01T00:00:00Z", "keys": [value], "authorities": []}):
        with pytest.raises(Indeterminate):
            parse_trust(json.dumps(document).encode())


LOG = proof_builder.log_entry(2)


def test_logs() -> None:
    trust = parse_trust(bundle([], logs=[LOG]))
    (log,) = trust.logs
    assert (log.origin, log.cosignatures, len(log.witnesses)) == (proof_builder.LOG.name, 2, 3)
    assert log == trusted_log(proof_builder.LOG.text, [each.text for each in proof_builder.WITNESSES], 2)
    assert parse_trust(bundle([], logs=[])).logs == parse_trust(bundle([])).logs == ()
    assert parse_trust(bundle([], logs=[LOG | {"witnesses": [], "cosignatures": 0}])).logs[0].witnesses == ()


@pytest.mark.parametrize("member", sorted(LOG))
def test_a_log_has_every_member(member: str) -> None:
    assert member in refused(bundle([], logs=[{name: value for name, value in LOG.items() if name != member}]))
    assert "more" in refused(bundle([], logs=[LOG | {"more": 1}]))


FIRST = proof_builder.WITNESSES[0]
RENAMED = NoteSigner("witness.example/renamed", FIRST.private_key, 4)
SAME_NAME = NoteSigner(FIRST.name, proof_builder.WITNESSES[1].private_key, 4)
ITSELF = NoteSigner("witness.example/itself", proof_builder.LOG.private_key, 4)


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        (None, "logs is not a list"),
        ({}, "logs is not a list"),
        ([LOG["key"]], "not an object"),
        ([LOG, LOG], "listed twice"),
        ([LOG, LOG | {"cosignatures": 0}], "listed twice"),
        ([LOG] * 1001, "at most 1000"),
        ([LOG | {"key": None}], "key is not a text"),
        ([LOG | {"key": "x"}], "not a verifier key"),
        ([LOG | {"key": FIRST.text}], "key of a witness, not of a log"),
        ([LOG | {"witnesses": None}], "witnesses are not a list"),
        ([LOG | {"witnesses": [1, 2]}], "witnesses are not texts"),
        ([LOG | {"witnesses": [FIRST.text, "x"]}], "not a verifier key"),
        ([LOG | {"witnesses": [FIRST.text, proof_builder.LOG.text]}], "key of a log, not of a witness"),
        ([LOG | {"witnesses": [FIRST.text, FIRST.text]}], "distinct names and keys"),
        ([LOG | {"witnesses": [FIRST.text, RENAMED.text]}], "distinct names and keys"),
        ([LOG | {"witnesses": [FIRST.text, SAME_NAME.text]}], "distinct names and keys"),
        ([LOG | {"witnesses": [FIRST.text, ITSELF.text]}], "none the log's own"),
        ([LOG | {"witnesses": [witness_signer(str(each)).text for each in range(33)]}], "more than 32"),
        ([LOG | {"cosignatures": 4}], "cosignatures must be 0 to 3"),
        ([LOG | {"cosignatures": -1}], "cosignatures must be 0 to 3"),
        ([LOG | {"cosignatures": True}], "not a number"),
        ([LOG | {"cosignatures": 1.0}], "not a number"),
        ([LOG | {"cosignatures": "1"}], "not a number"),
        ([LOG | {"witnesses": []}], "cosignatures must be 0 to 0"),
    ],
)
def test_logs_that_cannot_be_used(logs: object, reason: str) -> None:
    assert reason in refused(bundle([], logs=logs))
