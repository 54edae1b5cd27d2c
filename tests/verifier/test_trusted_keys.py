"""Tokens and assertions held against a trust file: purpose, issuer, window and revocation decide which keys count."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from joserfc.jwk import import_key

from tests.verifier import jwt_builder, pki, saml_builder
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier import VerificationError, VerifiedAssertion, VerifiedToken, parse_trust, verify_jwt, verify_saml
from verifier.keys import load_public_key
from verifier.thumbprint import thumbprint

NOW, DAY = pki.NOW, pki.DAY
ALGORITHMS = {
    "RS256": "RSASSA_PKCS1_V1_5_SHA_256",
    "PS384": "RSASSA_PSS_SHA_384",
    "ES256": "ECDSA_SHA_256",
    "ES384": "ECDSA_SHA_384",
    "ES512": "ECDSA_SHA_512",
    "EdDSA": "ED25519_SHA_512",
}


def kid(name: str) -> str:
    return thumbprint(load_public_key(pki.spki(jwt_builder.signing_key(name))))


def token_entry(name: str = "ES256", **changes: object) -> dict[str, object]:
    members: dict[str, object] = {"purpose": "jwt", "issuer": jwt_builder.ISSUER, "key_version": 2}
    return key_entry(jwt_builder.signing_key(name), ALGORITHMS[name], **(members | changes))


def token_facts(*entries: dict[str, object], name: str = "ES256", now: datetime | None = None) -> VerifiedToken:
    trust = parse_trust(bundle(list(entries), [authority_entry(pki.root().certificate, "jwt")]))
    token = jwt_builder.token(name, kid=kid(name))
    return verify_jwt(token, trust, issuer=jwt_builder.ISSUER, audience=jwt_builder.AUDIENCE, now=now)


def token_code(*entries: dict[str, object], name: str = "ES256", now: datetime | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        token_facts(*entries, name=name, now=now)
    return caught.value.code


@pytest.mark.parametrize("name", ALGORITHMS)
def test_tokens(name: str) -> None:
    facts = token_facts(token_entry(name), name=name)
    assert (facts.key.trusted_by, facts.key.key_version, facts.key.name) == ("key", 2, "release")
    (entry,) = facts.key.entries
    assert (entry.kind, entry.purposes, entry.issuer) == ("key", ("jwt",), jwt_builder.ISSUER)


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521", "secp256k1", "ed25519"])
def test_thumbprint_is_that_of_another_library(kind: str) -> None:
    expected = import_key(
        pki.public_pem(pki.key(kind)), "RSA" if kind == "rsa2048" else "OKP" if kind == "ed25519" else "EC"
    )
    assert thumbprint(load_public_key(pki.spki(pki.key(kind)))) == expected.thumbprint()


def test_which_token_keys_count() -> None:
    other = token_entry("ES384", key_version=1)
    assert token_code(token_entry(issuer="https://other.example")) == "no_trust"
    assert token_code(token_entry(purpose="saml")) == "no_trust"
    assert token_code(token_entry(purpose="artifact", issuer=None)) == "no_trust"
    assert token_code(other) == "unknown_key"
    assert token_code(token_entry(issuer="https://other.example"), other) == "unknown_key"
    assert token_code(token_entry(algorithms=["ECDSA_SHA_384"])) == "unsupported_key"
    assert token_code(token_entry(algorithms=["ECDSA_SHA_256", "ECDSA_SHA_384"])) == "unsupported_key"
    past, future = (f"{moment.isoformat()[:19]}Z" for moment in (NOW - timedelta(minutes=5), NOW + DAY))
    assert token_code(token_entry(not_after=past)) == "key_expired"
    assert token_code(token_entry(not_before=future)) == "key_not_yet_valid"
    assert token_code(token_entry(revoked_at=past)) == "key_revoked"
    assert token_code(token_entry(revoked_at=past), now=NOW - timedelta(hours=1)) == "key_revoked"
    assert token_facts(token_entry(revoked_at=future))


def test_a_bare_key_or_an_authority_names_no_issuer() -> None:
    for data in (pki.public_pem(pki.key("p256")), pki.pem(pki.root().certificate)):
        with pytest.raises(VerificationError, match="no_trust"):
            verify_jwt(
                jwt_builder.token(kid=kid("ES256")),
                parse_trust(data),
                issuer=jwt_builder.ISSUER,
                audience=jwt_builder.AUDIENCE,
            )


def saml_entry(**changes: object) -> dict[str, object]:
    members: dict[str, object] = {"purpose": "saml", "issuer": saml_builder.ISSUER}
    return key_entry(saml_builder.identity().private_key, "RSASSA_PKCS1_V1_5_SHA_256", **(members | changes))


def assertion_facts(
    *entries: dict[str, object], data: bytes | None = None, now: datetime | None = None
) -> VerifiedAssertion:
    return verify_saml(
        data or saml_builder.build(),
        trust=parse_trust(bundle(list(entries))),
        audience=saml_builder.AUDIENCE,
        recipient=saml_builder.RECIPIENT,
        issuer=saml_builder.ISSUER,
        now=now,
    )


def assertion_code(*entries: dict[str, object], data: bytes | None = None, now: datetime | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        assertion_facts(*entries, data=data, now=now)
    return caught.value.code


def test_assertions() -> None:
    other = key_entry(pki.key("p256"), "ECDSA_SHA_256", purpose="saml", issuer=saml_builder.ISSUER, key_version=9)
    facts = assertion_facts(other, saml_entry(key_version=4))
    assert (facts.key.trusted_by, facts.key.key_version, facts.certificates) == ("key", 4, ())
    assert [entry.issuer for entry in facts.key.entries] == [saml_builder.ISSUER]
    assert "2026-01-01" in facts.not_covered[-1]  # revoked since the trust file was made?
    assert "carrier" not in json.dumps(facts.as_json())
    tampered = saml_builder.build().replace(b"u@example", b"v@example")
    assert assertion_code(saml_entry(), data=tampered) == "signature_invalid"


def test_which_assertion_keys_count() -> None:
    assert assertion_code(saml_entry(issuer="https://other.example")) == "no_trust"
    assert assertion_code(saml_entry(purpose="jwt")) == "no_trust"
    assert assertion_code(saml_entry(algorithms=["RSASSA_PKCS1_V1_5_SHA_512"])) == "algorithm_mismatch"
    past, future = (f"{moment.isoformat()[:19]}Z" for moment in (NOW - timedelta(minutes=5), NOW + DAY))
    assert assertion_code(saml_entry(not_after=past)) == "key_expired"
    assert assertion_code(saml_entry(not_before=future)) == "key_not_yet_valid"
    assert assertion_code(saml_entry(revoked_at=past)) == "key_revoked"
    assert assertion_code(saml_entry(revoked_at=past), now=NOW - timedelta(hours=1)) == "key_revoked"
    stranger = key_entry(pki.key("rsa2048", "stranger"), "RSASSA_PKCS1_V1_5_SHA_256", purpose="saml")
    assert assertion_code(stranger | {"issuer": saml_builder.ISSUER}) == "signer_mismatch"


def test_trust_or_certificates_and_an_issuer() -> None:
    trust = parse_trust(bundle([saml_entry()]))
    certificates = (saml_builder.identity().certificate,)
    for given, issuer in (((), None), (certificates, saml_builder.ISSUER)):
        with pytest.raises(ValueError, match="needed"):
            verify_saml(
                saml_builder.build(),
                certificates=given,
                trust=trust,
                audience=saml_builder.AUDIENCE,
                recipient=saml_builder.RECIPIENT,
                issuer=issuer,
            )
