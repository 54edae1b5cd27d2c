"""Policies over verified facts of every kind: what holds, what does not, how they compose, and what is no policy."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.verifier import cms_builder, jwt_builder, pki, saml_builder
from tests.verifier.trust_builder import KEY_ID, bundle, key_entry
from verifier import (
    Algorithm,
    AllOf,
    AnyOf,
    Audience,
    CertificateIdentity,
    Cosigned,
    Format,
    Identity,
    Indeterminate,
    Issuer,
    KeyId,
    Logged,
    LogPosition,
    MaximumAge,
    Policy,
    Rejected,
    VerificationError,
    VerifiedFacts,
    parse_jwks,
    parse_trust,
    verify_artifact,
    verify_jwt,
    verify_saml,
)

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"a release"


@cache
def facts_of(kind: str) -> VerifiedFacts:
    """Really verified: a file by certificate, a file by key, a token, an assertion."""
    if kind == "cms":
        signer = pki.leaf()
        chain = (signer.certificate, pki.root().certificate)
        signature = cms_builder.sign(CONTENT, signer, cms_builder.Options(certificates=chain))
        return verify_artifact(io.BytesIO(CONTENT), signature, parse_trust(pki.pem(pki.root().certificate)), at=pki.NOW)
    if kind == "raw":
        key = pki.key("p256")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        trust = parse_trust(bundle([key_entry(key, "ECDSA_SHA_256")]))
        return verify_artifact(io.BytesIO(CONTENT), key.sign(CONTENT, ec.ECDSA(hashes.SHA256())), trust)
    if kind == "jwt":
        keys = parse_jwks(jwt_builder.jwks())
        return verify_jwt(
            jwt_builder.token(), keys, issuer=jwt_builder.ISSUER, audience=jwt_builder.AUDIENCE, now=pki.NOW
        )
    idp = saml_builder.identity()
    return verify_saml(
        saml_builder.build(signing=saml_builder.Signing(idp)),
        certificates=(idp.certificate,),
        audience=saml_builder.AUDIENCE,
        recipient=saml_builder.RECIPIENT,
        now=pki.NOW,
    )


def changed(facts: VerifiedFacts, **changes: Any) -> VerifiedFacts:
    """The facts, some of them otherwise."""
    return replace(facts, **changes)


def answer(policy: Policy, facts: VerifiedFacts) -> str:
    try:
        policy.verify(facts)
    except VerificationError as error:
        return error.code
    return "holds"


def answers(policy: Policy) -> tuple[str, ...]:
    """Over all four: file with certificate, file with key, token, assertion."""
    return tuple(answer(policy, facts_of(kind)) for kind in ("cms", "raw", "jwt", "saml"))


def subject_of(kind: str) -> str:
    facts = facts_of(kind)
    found = getattr(facts, "subject", None) or getattr(facts, "signer", None)
    assert isinstance(found, str)
    return found


def test_issuer() -> None:
    mismatch = "issuer_mismatch"
    root = pki.root().certificate.subject.rfc4514_string()
    assert answers(Issuer(jwt_builder.ISSUER)) == (mismatch, mismatch, "holds", mismatch)
    assert answers(Issuer(saml_builder.ISSUER)) == (mismatch, mismatch, mismatch, "holds")
    assert answers(Issuer(root)) == ("holds", mismatch, mismatch, mismatch)
    assert answers(Issuer(root, jwt_builder.ISSUER, saml_builder.ISSUER)) == ("holds", mismatch, "holds", "holds")
    assert answers(Issuer(jwt_builder.ISSUER + "/"))[2] == mismatch


def test_audience() -> None:
    mismatch = "audience_mismatch"
    assert answers(Audience(jwt_builder.AUDIENCE)) == (mismatch, mismatch, "holds", mismatch)
    assert answers(Audience(saml_builder.AUDIENCE, alone=True)) == (mismatch, mismatch, mismatch, "holds")
    several = changed(facts_of("jwt"), audiences=("a", "b"))
    assert answer(Audience("a"), several) == "holds"
    assert answer(Audience("a", alone=True), several) == mismatch
    assert answer(Audience("c"), several) == mismatch


@pytest.mark.parametrize(("position", "kind"), list(enumerate(("cms", "raw", "jwt", "saml"))))
def test_identity(position: int, kind: str) -> None:
    expected = ["policy_mismatch"] * 4
    expected[position] = "holds"
    assert answers(Identity(subject_of(kind), "somebody else")) == tuple(expected)


def test_identity_of_a_token_without_a_subject() -> None:
    assert answer(Identity("user-1"), changed(facts_of("jwt"), subject=None)) == "policy_mismatch"


def test_certificate_identity() -> None:
    """A key that the trust calls by the certificate's name has no certificate."""
    mismatch = "policy_mismatch"
    leaf = pki.leaf().certificate.subject.rfc4514_string()
    idp = saml_builder.identity().certificate.subject.rfc4514_string()
    assert answers(CertificateIdentity(leaf)) == ("holds", mismatch, mismatch, mismatch)
    assert answers(CertificateIdentity(idp)) == (mismatch, mismatch, mismatch, "holds")
    posing = changed(facts_of("raw"), signer=leaf)
    assert (answer(Identity(leaf), posing), answer(CertificateIdentity(leaf), posing)) == ("holds", mismatch)


def test_age() -> None:
    assert answers(MaximumAge(10**9)) == ("holds", "missing_claim", "holds", "holds")
    token = facts_of("jwt")

    def at(seconds: float, maximum: float, leeway: float = 0) -> str:
        moment = replace(token.time, as_of=pki.NOW + timedelta(seconds=seconds))
        return answer(MaximumAge(maximum, leeway), changed(token, time=moment))

    assert [at(10, 10), at(10.1, 10), at(0, 0), at(11, 10, 1), at(11.1, 10, 1)] == [
        *("holds", "expired", "holds", "holds", "expired")
    ]
    assert [at(-1, 10), at(-1, 10, 1), at(-1.1, 10, 1)] == ["not_yet_valid", "holds", "not_yet_valid"]


def test_logged() -> None:
    """No proof was given for any of the four; and a proof is asked for what it is."""
    assert set(answers(Logged())) == {"policy_mismatch"}
    seen = tuple(Cosigned(name, pki.NOW) for name in ("w1", "w2"))
    position = LogPosition("log", 1, 2, "00" * 32, pki.NOW, "00" * 32, 1, 0, seen, None)
    for kind in ("cms", "raw", "jwt", "saml"):
        facts = changed(facts_of(kind), log_position=position)
        assert [answer(Logged(count), facts) for count in range(4)] == [*["holds"] * 3, "too_few_cosignatures"]
        assert answer(Logged(1, witnesses=("w2", "w3")), facts) == "holds"
        assert answer(Logged(2, witnesses=("w2", "w3")), facts) == "too_few_cosignatures"
        assert answer(Logged(origins=("other", "log")), facts) == "holds"
        assert answer(Logged(origins=("other",)), facts) == "policy_mismatch"


@pytest.mark.parametrize(
    "options",
    [
        {"cosignatures": -1},
        {"cosignatures": 3, "witnesses": ("a", "b")},
        {"witnesses": ("a",)},
        {"cosignatures": 1, "witnesses": ("a", "a")},
        {"cosignatures": 1, "witnesses": ("",)},
        {"origins": ("a", "a")},
    ],
)
def test_senseless_demands_of_logs(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|named"):
        Logged(**options)


def test_format_algorithm_and_key() -> None:
    mismatch = "policy_mismatch"
    assert answers(Format("cms", "jwt")) == ("holds", mismatch, "holds", mismatch)
    assert answers(Format("raw", "saml")) == (mismatch, "holds", mismatch, "holds")
    assert answers(Algorithm("ECDSA_SHA_256"))[:3] == ("holds", "holds", "holds")
    assert set(answers(Algorithm("ED25519_SHA_512"))) == {"algorithm_mismatch"}
    assert answers(KeyId(KEY_ID)) == (mismatch, "holds", mismatch, mismatch)
    assert answers(KeyId("ES256")) == (mismatch, mismatch, "holds", mismatch)
    assert answers(KeyId(facts_of("saml").key.sha256))[3] == "holds"


@pytest.mark.parametrize("kind", ["cms", "raw", "jwt", "saml"])
def test_composition(kind: str) -> None:
    facts = facts_of(kind)
    yes, no = Format(kind), Format("something else")
    expired = MaximumAge(0)
    assert answer(AllOf(yes, yes), facts) == "holds"
    assert answer(AllOf(yes, no, expired), facts) == "policy_mismatch"
    assert answer(AnyOf(no, yes), facts) == "holds"
    assert answer(AnyOf(no, Algorithm("RSASSA_PSS_SHA_512")), facts) == "policy_mismatch"
    assert answer(AllOf(AnyOf(no, AllOf(yes))), facts) == "holds"
    assert answer(AnyOf(AllOf(yes, no), no), facts) == "policy_mismatch"


def test_reasons_are_told() -> None:
    with pytest.raises(Rejected) as caught:
        AnyOf(Identity("a"), Algorithm("RSASSA_PSS_SHA_512")).verify(facts_of("jwt"))
    assert caught.value.message == (
        "None of 2 policies holds: The subject is 'user-1', not 'a'. "
        "The algorithm is 'ECDSA_SHA_256', not 'RSASSA_PSS_SHA_512'."
    )


class Undecided:
    """A caller's own policy that cannot tell."""

    def verify(self, facts: VerifiedFacts) -> None:
        raise Indeterminate("unreadable_file", f"The list of {type(facts).__name__} cannot be read.")


class Boolean:
    """What somebody writes who expects that False refuses."""

    def verify(self, facts: VerifiedFacts) -> bool:
        return facts is None


def test_policies_of_callers() -> None:
    facts = facts_of("jwt")
    assert answer(AllOf(Format("jwt"), Undecided()), facts) == "unreadable_file"
    assert answer(AnyOf(Undecided(), Format("jwt")), facts) == "holds"
    # One that could not tell is no reason to say that it is wrong.
    assert answer(AnyOf(Undecided(), Format("cms")), facts) == "unreadable_file"
    for made in (AllOf, AnyOf):
        with pytest.raises(ValueError, match="must raise Rejected or return nothing, and it returned False"):
            made(Boolean()).verify(facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [AllOf, AnyOf])
def test_nothing_is_no_policy(made: type[AllOf | AnyOf]) -> None:
    for wrong in ((), (None,), ([Format("jwt")],), (Format,), ("jwt",), (Format("jwt"), lambda facts: None)):
        with pytest.raises(ValueError, match="policy"):
            made(*wrong)


@pytest.mark.parametrize("made", [Issuer, Identity, CertificateIdentity, Format, Algorithm, KeyId])
def test_names_must_be_texts(made: type[Issuer]) -> None:
    for wrong in ((), ("",), (None,), (["ECDSA_SHA_256"],), ("ECDSA_SHA_256", ""), ("ECDSA_SHA_256", "ECDSA_SHA_256")):
        with pytest.raises(ValueError, match="must be one"):
            made(*wrong)


def test_other_senseless_arguments() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        Algorithm("ES256")
    with pytest.raises(ValueError, match="audience must"):
        Audience("")
    for seconds, leeway in ((-1, 0), (float("nan"), 0), (float("inf"), 0), (1, -1), (1, 61), (1, float("nan"))):
        with pytest.raises(ValueError, match="must"):
            MaximumAge(seconds, leeway)


def test_policies_are_values() -> None:
    assert AllOf(Issuer("a", "b"), MaximumAge(3)) == AllOf(Issuer("b", "a"), MaximumAge(3))
    assert len({Issuer("a"), Identity("a"), Issuer("a")}) == 2
    assert repr(AnyOf(Format("jwt"))) == "AnyOf(policies=(Format(names=frozenset({'jwt'})),))"
    with pytest.raises(AttributeError):
        Issuer("a").names = frozenset({"b"})  # type: ignore[misc]


def test_the_readmes_example_runs(tmp_path: Path) -> None:
    text = (ROOT / "verifier" / "README.md").read_text()
    (example,) = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "AllOf" in each]
    (tmp_path / "jwks.json").write_bytes(jwt_builder.jwks())

    def run(**changes: object) -> tuple[int, str]:
        fresh = {"iat": int(time.time())}  # the builder's own is as old as the run of the tests
        token = jwt_builder.token(payload=jwt_builder.claims(**(fresh | changes)))
        done = subprocess.run(
            [sys.executable, "-c", example, token, "jwks.json", jwt_builder.ISSUER, jwt_builder.AUDIENCE],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert run(sub="ci@example.org") == (0, "deploy for ci@example.org\n")
    for changes, code in (
        ({"sub": "eve@example.org"}, "policy_mismatch"),
        ({"sub": "ci@example.org", "iat": jwt_builder.SECONDS - 4000}, "expired"),
        ({"sub": "ci@example.org", "aud": [jwt_builder.AUDIENCE, "other"]}, "audience_mismatch"),
    ):
        status, said = run(**changes)
        assert status == 1
        assert code in said
