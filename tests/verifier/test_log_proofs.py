"""Proofs beside real signatures of every format: the log's entry must name this very signature, and nothing else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from signxml.algorithms import SignatureMethod

from tests.verifier import bundle_builder, cms_builder, jwt_builder, pki, proof_builder, saml_builder
from tests.verifier.log_builder import LogBuilder, canonical, decision_leaf, log_signer, rows_leaf
from tests.verifier.proof_builder import LOG, SEEN, WITNESSES, Logged, log_entry, logged, proof
from tests.verifier.trust_builder import bundle, key_entry
from verifier import (
    Indeterminate,
    LogPosition,
    Rejected,
    VerificationError,
    VerifiedFacts,
    parse_jwks,
    parse_trust,
    verify_artifact,
    verify_jwt,
    verify_saml,
)
from verifier.keys import load_public_key
from verifier.thumbprint import thumbprint

CONTENT = b"\x7fELF a release\n"


@dataclass(frozen=True)
class Case:
    """Something signed: how it is verified, by which key and algorithm, and its signatures as a leaf names them."""

    verify: Callable[..., VerifiedFacts]
    key: pki.PrivateKey
    algorithm: str
    signatures: tuple[Logged, ...]

    def leaf(self, *signatures: Logged, **changes: object) -> bytes:
        return proof_builder.leaf(self.key, self.algorithm, *(signatures or self.signatures), **changes)

    def answer(self, entry: bytes, **options: Any) -> str:
        """`verified`, or the code of the refusal."""
        options = {"logs": [proof_builder.trust()], "proof": proof(entry)} | options
        try:
            self.verify(**options)
        except VerificationError as error:
            return error.code
        return "verified"


def _artifact(signature: bytes, key: pki.PrivateKey, algorithm: str) -> Callable[..., VerifiedFacts]:
    trust = parse_trust(bundle([key_entry(key, algorithm)]))
    return lambda **options: verify_artifact(io.BytesIO(CONTENT), signature, trust, **options)


def _raw(kind: str, algorithm: str, hash_name: str = "sha256") -> Case:
    key = pki.key(kind)
    if isinstance(key, rsa.RSAPrivateKey) and "PSS" in algorithm:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signature = key.sign(CONTENT, pss, hashes.SHA256())
    else:
        signature = bundle_builder.sign(key, CONTENT, hash_name)
    return Case(_artifact(signature, key, algorithm), key, algorithm, (logged(CONTENT, signature, hash_name),))


def _cms(kind: str, algorithm: str, hash_name: str = "sha256") -> Case:
    signer = pki.leaf(kind)
    signature = cms_builder.sign(CONTENT, signer, cms_builder.Options(hash_name=hash_name))
    signed, value = proof_builder.cms_parts(signature)
    verify = _artifact(signature, signer.private_key, algorithm)
    return Case(verify, signer.private_key, algorithm, (logged(signed, value, hash_name),))


def _bundle() -> Case:
    key = pki.key("p256")
    message = bundle_builder.message_signature(key, CONTENT)
    signature = bundle_builder.encoded(bundle_builder.bundle(messageSignature=message))
    made = logged(CONTENT, base64.b64decode(message["signature"]))
    return Case(_artifact(signature, key, "ECDSA_SHA_256"), key, "ECDSA_SHA_256", (made,))


def _dsse(kind: str, algorithm: str, hash_name: str = "sha256", *, bundled: bool = False) -> Case:
    key = pki.key(kind)
    payload = bundle_builder.encoded(bundle_builder.statement(bundle_builder.subject(CONTENT)))
    envelope = bundle_builder.envelope(key, payload, hash_name=hash_name)
    document = bundle_builder.bundle(dsseEnvelope=envelope) if bundled else envelope
    value = base64.b64decode(envelope["signatures"][0]["sig"])
    made = logged(bundle_builder.pae(payload), value, hash_name)
    return Case(_artifact(bundle_builder.encoded(document), key, algorithm), key, algorithm, (made,))


def _jwt(jws: str, algorithm: str, hash_name: str = "sha256", *, trusted: bool = False) -> Case:
    key, token = jwt_builder.signing_key(jws), jwt_builder.token(jws)
    keys: Any = parse_jwks(jwt_builder.jwks())
    if trusted:
        # A trust file's keys go by their thumbprints.
        token = jwt_builder.token(jws, kid=thumbprint(load_public_key(pki.spki(key))))
        keys = parse_trust(bundle([key_entry(key, algorithm, purpose="jwt", issuer=jwt_builder.ISSUER)]))
    signed, value = proof_builder.jwt_parts(token)
    if jws == "EdDSA":
        value = base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
    return Case(
        lambda **options: verify_jwt(
            token, keys, issuer=jwt_builder.ISSUER, audience=jwt_builder.AUDIENCE, leeway=60, **options
        ),
        key,
        algorithm,
        (logged(signed, value, hash_name),),
    )


def _saml(sign: str, kind: str = "p256", *, trusted: bool = False) -> Case:
    method = SignatureMethod.ECDSA_SHA256 if kind == "p256" else SignatureMethod.RSA_SHA256
    algorithm = "ECDSA_SHA_256" if kind == "p256" else "RSASSA_PKCS1_V1_5_SHA_256"
    idp = saml_builder.identity(kind)
    message = saml_builder.build(sign=sign, signing=saml_builder.Signing(idp, method))
    by: dict[str, Any] = {"certificates": (idp.certificate,)}
    if trusted:
        entry = key_entry(idp.private_key, algorithm, purpose="saml", issuer=saml_builder.ISSUER)
        by = {"trust": parse_trust(bundle([entry])), "issuer": saml_builder.ISSUER}
    return Case(
        lambda **options: verify_saml(
            message, audience=saml_builder.AUDIENCE, recipient=saml_builder.RECIPIENT, leeway=60, **by, **options
        ),
        idp.private_key,
        algorithm,
        tuple(logged(*parts) for parts in proof_builder.saml_parts(message)),
    )


CASES: dict[str, Callable[[], Case]] = {
    "raw RSA": lambda: _raw("rsa2048", "RSASSA_PKCS1_V1_5_SHA_256"),
    "raw RSA-PSS": lambda: _raw("rsa2048", "RSASSA_PSS_SHA_256"),
    "raw P-256": lambda: _raw("p256", "ECDSA_SHA_256"),
    "raw P-384": lambda: _raw("p384", "ECDSA_SHA_384", "sha384"),
    "raw P-521": lambda: _raw("p521", "ECDSA_SHA_512", "sha512"),
    "raw Ed25519": lambda: _raw("ed25519", "ED25519_SHA_512", "sha512"),
    "CMS RSA": lambda: _cms("rsa2048", "RSASSA_PKCS1_V1_5_SHA_256"),
    "CMS P-256": lambda: _cms("p256", "ECDSA_SHA_256"),
    "CMS P-384": lambda: _cms("p384", "ECDSA_SHA_384", "sha384"),
    "CMS Ed25519": lambda: _cms("ed25519", "ED25519_SHA_512", "sha512"),
    "bundle": _bundle,
    "bundle with envelope": lambda: _dsse("p256", "ECDSA_SHA_256", bundled=True),
    "DSSE P-256": lambda: _dsse("p256", "ECDSA_SHA_256"),
    "DSSE Ed25519": lambda: _dsse("ed25519", "ED25519_SHA_512", "sha512"),
    "JWT RS256": lambda: _jwt("RS256", "RSASSA_PKCS1_V1_5_SHA_256"),
    "JWT PS256": lambda: _jwt("PS256", "RSASSA_PSS_SHA_256"),
    "JWT ES256": lambda: _jwt("ES256", "ECDSA_SHA_256"),
    "JWT ES512": lambda: _jwt("ES512", "ECDSA_SHA_512", "sha512"),
    "JWT EdDSA": lambda: _jwt("EdDSA", "ED25519_SHA_512", "sha512"),
    "JWT by trust": lambda: _jwt("ES256", "ECDSA_SHA_256", trusted=True),
    "SAML assertion": lambda: _saml("assertion"),
    "SAML response": lambda: _saml("response"),
    "SAML both": lambda: _saml("both"),
    "SAML RSA": lambda: _saml("assertion", "rsa2048"),
    "SAML by trust": lambda: _saml("both", trusted=True),
}


@cache
def case(name: str) -> Case:
    return CASES[name]()


every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_a_logged_signature_is_verified_with_its_place(name: str) -> None:
    it = case(name)
    facts = it.verify(proof=proof(it.leaf()), logs=[proof_builder.trust(2)])
    position = facts.log_position
    assert position is not None
    assert (position.origin, position.index, position.size) == (LOG.name, 5, 7)
    assert position.logged_at == SEEN - timedelta(milliseconds=1500)
    assert position.proven_at == SEEN + timedelta(seconds=1)
    assert [(each.witness, each.at - SEEN) for each in position.cosigned] == [
        (witness.name, timedelta(seconds=number)) for number, witness in enumerate(WITNESSES)
    ]
    assert "the full record behind the log's entry was not seen" in facts.not_covered
    assert json.loads(json.dumps(facts.as_json()["log_position"])) == position.as_json()


@every_case
def test_an_entry_about_anything_else_is_refused(name: str) -> None:
    it = case(name)
    first = it.signatures[0]
    other = {"digest": "ab" * (len(first["digest"]) // 2), "sha256": "cd" * 32}
    assert it.answer(it.leaf()) == "verified"
    for entry in (
        it.leaf({**first, "sha256": other["sha256"]}),
        it.leaf({**first, "digest": other["digest"]}),
        # The digest of one and the signature of another do not make up the pair.
        it.leaf({**first, "sha256": other["sha256"]}, {**other, "sha256": first["sha256"]}),
        it.leaf(key_sha256="00" * 32),
        it.leaf(algorithm="ECDSA_SHA_384" if it.algorithm != "ECDSA_SHA_384" else "ECDSA_SHA_256"),
        decision_leaf(),
        decision_leaf(algorithm=it.algorithm, key_version=1),
        rows_leaf(7),
    ):
        assert it.answer(entry) == "log_entry_mismatch"
    # What one item has several signatures for is in one entry (a bare one and a CMS, say).
    assert it.answer(it.leaf(other, *it.signatures)) == "verified"


@pytest.mark.parametrize("name", ["SAML both", "SAML by trust"])
def test_every_signature_of_an_assertion_must_be_named(name: str) -> None:
    it = case(name)
    assert len(it.signatures) == 2
    for each in it.signatures:
        assert it.answer(it.leaf(each)) == "log_entry_mismatch"


@every_case
def test_without_a_proof_nothing_is_said_of_a_log(name: str) -> None:
    facts = case(name).verify()
    assert facts.log_position is None
    assert facts.as_json()["log_position"] is None
    assert facts.time.basis == "now"
    assert not [limit for limit in facts.not_covered if "witness" in limit or "record" in limit]


@every_case
def test_a_proof_that_does_not_hold_is_a_rejection(name: str) -> None:
    it = case(name)
    good = proof(it.leaf())
    assert it.answer(b"", proof=b"") == "log_proof_invalid"
    assert it.answer(b"", proof=good.replace(b"index 5", b"index 4")) == "log_proof_invalid"
    assert it.answer(b"", proof=proof(it.leaf(), log=log_signer("another"))) == "untrusted_signer"
    assert it.answer(b"", proof=proof(it.leaf(), count=1), logs=[proof_builder.trust(2)]) == "too_few_cosignatures"
    with pytest.raises(Indeterminate) as caught:
        it.verify(proof=good)
    assert caught.value.code == "no_trust"
    with pytest.raises(ValueError, match="no proof"):
        it.verify(logs=[proof_builder.trust()])


@every_case
def test_a_wrong_message_is_refused_whatever_the_log_has(name: str) -> None:
    """The proof adds to what is asked; it takes nothing away."""
    it = case(name)
    at = {"now" if name.startswith(("JWT", "SAML")) else "at": pki.NOW - timedelta(days=4000)}
    assert it.answer(it.leaf(), **at) in (
        *("not_yet_valid", "key_not_yet_valid", "certificate_not_yet_valid", "signature_invalid"),
    )


def test_the_proof_may_be_text() -> None:
    it = case("raw P-256")
    text = proof(it.leaf()).decode()
    assert isinstance(it.verify(proof=text, logs=[proof_builder.trust()]).log_position, LogPosition)
    assert it.answer(b"", proof=text + "\ud800") == "log_proof_invalid"


def test_the_logs_of_a_trust_file_count_unless_others_are_named() -> None:
    key = pki.key("p256")
    signature = bundle_builder.sign(key, CONTENT)
    entry = proof_builder.leaf(key, "ECDSA_SHA_256", logged(CONTENT, signature))
    listed = parse_trust(bundle([key_entry(key, "ECDSA_SHA_256")], logs=[log_entry(2)]))

    def answer(made: bytes, **options: Any) -> str:
        try:
            verify_artifact(io.BytesIO(CONTENT), signature, listed, proof=made, **options)
        except VerificationError as error:
            return error.code
        return "verified"

    assert answer(proof(entry)) == "verified"
    assert answer(proof(entry, count=1)) == "too_few_cosignatures"
    assert answer(proof(entry, count=1), logs=[proof_builder.trust(1)]) == "verified"
    another = log_signer("another")
    assert answer(proof(entry, log=another)) == "untrusted_signer"
    assert answer(proof(entry, log=another), logs=[proof_builder.trust(log=another)]) == "verified"
    assert answer(proof(entry), logs=[proof_builder.trust(log=another)]) == "untrusted_signer"


def test_a_twin_of_an_ecdsa_signature_is_not_the_one_that_was_logged() -> None:
    """Anybody can turn r, s into r, n - s: it is a signature too, but not the one that the log has."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    key = pki.key("p256")
    signature = bundle_builder.sign(key, CONTENT)
    r, s = decode_dss_signature(signature)
    twin = encode_dss_signature(r, order - s)
    entry = proof_builder.leaf(key, "ECDSA_SHA_256", logged(CONTENT, signature))
    verify = _artifact(twin, key, "ECDSA_SHA_256")
    assert verify().log_position is None
    with pytest.raises(Rejected) as caught:
        verify(proof=proof(entry), logs=[proof_builder.trust()])
    assert caught.value.code == "log_entry_mismatch"


def test_a_proof_is_of_one_place_in_one_tree() -> None:
    """Two entries alike: each has its own proof, and one of another size does not do."""
    it = case("raw P-256")
    log = LogBuilder([it.leaf(), rows_leaf(1), it.leaf()])
    head = log.checkpoint(LOG)
    for index in (0, 2):
        assert it.answer(b"", proof=log.proof(index, head)) == "verified"
    moved = log.proof(0, head).replace(b"index 0", b"index 2")
    assert it.answer(b"", proof=moved) == "log_proof_invalid"
    assert it.answer(b"", proof=log.proof(0, head, extra=rows_leaf(1))) == "log_proof_invalid"
    assert it.answer(b"", proof=log.proof(0, log.checkpoint(LOG, 1))) == "verified"


def test_an_entry_that_is_not_canonical_is_refused_even_if_the_log_has_it() -> None:
    it = case("raw P-256")
    members = json.loads(it.leaf())
    assert canonical(members) == it.leaf()
    assert it.answer(json.dumps(members).encode()) == "log_proof_invalid"
    assert it.answer(canonical({**members, "more": 1})) == "log_proof_invalid"
