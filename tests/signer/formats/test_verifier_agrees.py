"""What the service makes, Sealmark's own verifier accepts: every format, every algorithm; not changed ones."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import timedelta
from typing import Literal

import pytest

from keystore.algorithms import PURPOSES, Purpose
from keystore.api import AssertionSettings, TokenSettings
from signer.certificates import chain
from signer.formats import bundle, cms, dsse, jwks, jwt, raw, saml
from signer.formats.publickey import pem
from signer.request import AssertionItem
from tests.signer.formats.support import NOW, certified, flipped, issuing_authority
from verifier import (
    Rejected,
    Trust,
    load_certificates,
    parse_jwks,
    parse_trust,
    verify_artifact,
    verify_jwt,
    verify_saml,
)

CONTENT = b"a release" * 4096


def rows(purpose: Purpose) -> list[tuple[str, str]]:
    return [
        (spec, algorithm)
        for spec, algorithms in PURPOSES[purpose].items()
        for algorithm in algorithms
        if spec not in {"RSA_3072", "RSA_4096"}
    ]


@pytest.mark.parametrize(("spec", "algorithm"), rows(Purpose.ARTIFACT))
def test_artifacts(spec: str, algorithm: str) -> None:
    signer = certified(spec, Purpose.ARTIFACT, algorithm)
    authority = parse_trust(chain.pem([issuing_authority()[1]]).encode())
    public_key = parse_trust(pem(signer.key.public_key_der).encode())
    kid = jwks.thumbprint(signer.key.public_key_der)
    digests = {"sha256": hashlib.sha256(CONTENT).hexdigest()}
    envelope = dsse.envelope(signer.key, dsse.statement([("app", digests)], "https://x.example/v1", {}), kid=kid)
    hinted, certified_by = bundle.public_key_material(kid), bundle.certificate_material(signer.leaf)
    made: list[tuple[bytes, Trust]] = [
        (json.dumps(envelope).encode(), public_key),
        (json.dumps(bundle.around(envelope, hinted)).encode(), public_key),
        (json.dumps(bundle.around(envelope, certified_by)).encode(), authority),
    ]
    hash_name = signer.key.info.algorithm.hash_name
    if hash_name is not None:  # Ed25519 makes statements alone
        digest = hashlib.new(hash_name, CONTENT).digest()
        made += [
            (cms.detached(signer.key, digest, signer.chain, NOW), authority),
            (raw.sign_digest(signer.key, digest), public_key),
            (json.dumps(bundle.over_digest(signer.key, digest, hinted)).encode(), public_key),
            (json.dumps(bundle.over_digest(signer.key, digest, certified_by)).encode(), authority),
        ]
    at = NOW + timedelta(seconds=1)
    for signature, trust in made:
        # A bare signature by an RSA key does not say its padding; the caller does.
        facts = verify_artifact(io.BytesIO(CONTENT), signature, trust, at=at, algorithm=algorithm)
        assert facts.key.algorithm == algorithm
        with pytest.raises(Rejected):
            verify_artifact(io.BytesIO(flipped(CONTENT, 9)), signature, trust, at=at, algorithm=algorithm)


@pytest.mark.parametrize(("spec", "algorithm"), rows(Purpose.JWT))
def test_tokens(spec: str, algorithm: str) -> None:
    signer = certified(spec, Purpose.JWT, algorithm)
    token = jwt.issue(
        signer.key,
        kid=jwks.thumbprint(signer.key.public_key_der),
        settings=TokenSettings("default", ("https://api.example",), 600, ("at+jwt",)),
        issuer_url="https://issuer.example",
        claims={"sub": "alice"},
        ttl=None,
        typ=None,
        now=NOW,
        jti="1",
    )
    published = jwks.key_set([jwks.jwk(signer.key.public_key_der, algorithm=algorithm, chain=signer.chain)])
    keys = parse_jwks(json.dumps(published).encode())

    def claims_for(audience: str) -> object:
        verified = verify_jwt(
            token, keys, issuer="https://issuer.example", audience=audience, now=NOW, types=("at+jwt",)
        )
        return verified.claims["sub"]

    assert claims_for("https://api.example") == "alice"
    with pytest.raises(Rejected):
        claims_for("https://other.example")


@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
@pytest.mark.parametrize(("spec", "algorithm"), rows(Purpose.SAML))
def test_assertions(spec: str, algorithm: str, sign: Literal["assertion", "response", "both"]) -> None:
    signer = certified(spec, Purpose.SAML, algorithm)
    item = AssertionItem(
        subject="alice",
        audience="https://sp.example",
        recipient="https://sp.example/acs",
        attributes={"groups": ["a", "b & c\n"], "none": []},
        in_response_to="_q",
        sign=sign,
    )
    document = saml.respond(
        signer.key,
        certificate=signer.leaf,
        entity_id="https://idp.example",
        settings=AssertionSettings("default", ("https://sp.example",), ("https://sp.example/acs",)),
        item=item,
        now=NOW,
    )
    trusted = load_certificates(chain.pem([signer.leaf]).encode())

    def attributes_of(response: bytes) -> object:
        return verify_saml(
            response,
            certificates=trusted,
            audience="https://sp.example",
            recipient="https://sp.example/acs",
            issuer="https://idp.example",
            in_response_to="_q",
            now=NOW,
        ).attributes

    assert attributes_of(document) == {"groups": ("a", "b & c\n"), "none": ()}
    with pytest.raises(Rejected):
        attributes_of(document.replace(b">alice<", b">malory<"))
