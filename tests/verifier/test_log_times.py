"""What a log's witnesses prove of time: when they count, what is judged by them, and what a revocation does to that."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509 import ReasonFlags
from signxml.algorithms import SignatureMethod

from tests.verifier import bundle_builder, cms_builder, jwt_builder, pki, proof_builder, saml_builder
from tests.verifier.log_builder import LogBuilder, cosign, decision_leaf, leaf_time, witness_signer
from tests.verifier.pki import DAY, NOW
from tests.verifier.proof_builder import LOG, SEEN, WITNESSES, log_entry, logged, proof
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier import (
    MaximumAge,
    Rejected,
    VerificationError,
    VerifiedArtifact,
    VerifiedAssertion,
    VerifiedToken,
    load_certificates,
    load_revocation_lists,
    parse_trust,
    trusted_log,
    verify_artifact,
    verify_jwt,
    verify_log_proof,
    verify_saml,
)
from verifier.keys import load_public_key
from verifier.report import describe
from verifier.thumbprint import thumbprint

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = b"a release\n"
THEN = NOW - 40 * DAY  # when the witnesses saw it: the certificate still held
OVER = pki.Profile(not_before=NOW - 60 * DAY, not_after=NOW - 10 * DAY)
PROFILES = {"over": OVER, "good": pki.Profile(not_before=NOW - 60 * DAY), "new": pki.Profile()}
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def code(call: Callable[[], object]) -> str:
    try:
        call()
    except VerificationError as error:
        return error.code
    return "verified"


@cache
def root() -> pki.Identity:
    """An authority that is older than everything here."""
    return pki.issue("Old Root", pki.key("p256", "old root"), None, replace(pki.AUTHORITY, not_before=NOW - 400 * DAY))


@cache
def signed(profile: str) -> tuple[pki.Identity, bytes]:
    """A signer by its certificate's profile, and its signature."""
    signer = pki.issue("release", pki.key("p256", "release"), root(), PROFILES[profile])
    return signer, cms_builder.sign(CONTENT, signer, cms_builder.Options(signing_time=None))


def entry_of(signature: bytes, at: datetime) -> bytes:
    parts = proof_builder.cms_parts(signature)
    return proof_builder.leaf(pki.key("p256", "release"), "ECDSA_SHA_256", logged(*parts), time=leaf_time(at))


def verify(cosignatures: int = 1, *, seen: datetime = THEN, profile: str = "over", **options: Any) -> VerifiedArtifact:
    """The signature of a certificate that is over by now, seen by the witnesses at a time."""
    signature = signed(profile)[1]
    options.setdefault("proof", proof(entry_of(signature, seen - SECOND), first=seen))
    trust = parse_trust(bundle([], [authority_entry(root().certificate)], logs=[log_entry(cosignatures)]))
    return verify_artifact(io.BytesIO(CONTENT), signature, trust, **options)


def test_a_certificate_is_judged_when_the_witnesses_saw_its_signature() -> None:
    facts = verify(2)
    assert (facts.time.basis, facts.time.judged_at) == ("log", THEN + SECOND)
    assert abs(facts.time.as_of - datetime.now(UTC)) < MINUTE
    assert facts.as_json()["when"] == {**facts.time.as_json(), "claimed_signing_time": None}
    assert facts.log_position is not None
    assert facts.log_position.proven_at == THEN + SECOND
    moment = (THEN + SECOND).isoformat().replace("+00:00", "Z")
    assert f"how long before {moment} the signature was made is not proven" in facts.not_covered
    report = describe(facts)
    for line in (
        f"at {moment} (when the log's witnesses had seen it); ages and expiry at ",
        f"entry 5 of 7 in {LOG.name}, made at ",
        f"by {WITNESSES[2].name} at ",
        f"it existed by {moment}: 2 witnesses had seen it",
    ):
        assert line in report


def test_nothing_but_a_quorum_moves_the_time() -> None:
    """The log's own time is its word, and so is that of witnesses that nobody asked for."""
    assert code(lambda: verify(0)) == "certificate_expired"
    assert code(lambda: verify(1, proof=None)) == "certificate_expired"
    facts = verify(0, seen=SEEN, profile="new")
    assert facts.time.basis == "now"
    assert facts.log_position is not None
    assert facts.log_position.proven_at is None
    assert len(facts.log_position.cosigned) == 3
    assert [limit for limit in facts.not_covered if limit.startswith("no witness of the log was asked")]
    assert "when the signature was made is not proven" in facts.not_covered


def test_a_time_given_goes_before() -> None:
    assert code(lambda: verify(1, at=NOW)) == "certificate_expired"
    facts = verify(1, at=NOW - 20 * DAY)
    assert (facts.time.basis, facts.time.judged_at, facts.time.as_of) == ("given", NOW - 20 * DAY, NOW - 20 * DAY)


def test_a_certificate_that_began_later_did_not_make_it() -> None:
    assert code(lambda: verify(1, seen=NOW - 61 * DAY)) == "certificate_not_yet_valid"
    assert code(lambda: verify(1, seen=NOW - 9 * DAY)) == "certificate_expired"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_n_cosignatures_the_nth_in_time_counts(count: int) -> None:
    """Fewer than N witnesses that lie about the time move nothing."""
    entry = entry_of(signed("over")[1], THEN)
    log = LogBuilder([entry])
    note = log.checkpoint(LOG)
    for witness, hours in zip(WITNESSES, (5, 1, 3), strict=True):
        note = cosign(note, witness, THEN + timedelta(hours=hours))
    facts = verify(count, proof=log.proof(0, note))
    assert facts.time.judged_at == THEN + timedelta(hours=sorted((5, 1, 3))[count - 1])


def test_cosignatures_of_others_are_left_aside() -> None:
    entry = entry_of(signed("over")[1], THEN)
    log = LogBuilder([entry])
    stranger = witness_signer("witness.example/stranger")
    note = cosign(cosign(log.checkpoint(LOG), stranger, THEN - DAY), WITNESSES[0], THEN)
    facts = verify(1, proof=log.proof(0, note))
    assert facts.time.judged_at == THEN
    assert facts.log_position is not None
    assert [each.witness for each in facts.log_position.cosigned] == [WITNESSES[0].name]
    assert code(lambda: verify(2, proof=log.proof(0, note))) == "too_few_cosignatures"


def test_a_known_witness_must_have_cosigned_rightly_and_once() -> None:
    log = LogBuilder([entry_of(signed("over")[1], THEN)])
    head = log.checkpoint(LOG)
    twice = cosign(cosign(head, WITNESSES[0], THEN), WITNESSES[0], THEN - DAY)
    of_another = cosign(LogBuilder([b"x"]).checkpoint(LOG), WITNESSES[0], THEN)
    wrong = head + of_another.splitlines(keepends=True)[-1]
    never = cosign(head, WITNESSES[0], 0)
    beyond = cosign(head, WITNESSES[0], 2**63)
    for note in (twice, wrong, never, beyond):
        assert code(lambda note=note: verify(1, proof=log.proof(0, note))) == "log_proof_invalid"  # type: ignore[misc]


def _times(seen: timedelta, entry: timedelta, cosignatures: int = 1) -> str:
    """An entry and a cosignature so long after now."""
    now = datetime.now(UTC)
    made = proof(decision_leaf(time=leaf_time(now + entry)), first=now + seen)
    return code(lambda: verify_log_proof(made, [proof_builder.trust(cosignatures)], clock=now))


def test_clocks_may_differ_by_minutes() -> None:
    assert _times(timedelta(minutes=4), timedelta(0)) == "verified"
    assert _times(timedelta(minutes=6), timedelta(0)) == "log_proof_invalid"
    assert _times(-DAY, -DAY + timedelta(minutes=4)) == "verified"
    assert _times(-DAY, -DAY + timedelta(minutes=6)) == "log_proof_invalid"
    # Where no witness is asked, the entry's time is held against this machine's alone.
    assert _times(-DAY, timedelta(minutes=4), 0) == "verified"
    assert _times(-DAY, timedelta(minutes=6), 0) == "log_proof_invalid"


def test_a_witness_ahead_of_this_machine_proves_nothing_of_the_future() -> None:
    now = datetime.now(UTC)
    made = proof(decision_leaf(), first=now + 2 * MINUTE)
    entry = verify_log_proof(made, [proof_builder.trust(1)], clock=now)
    assert entry.proven_at == now


def test_where_the_logs_clock_is_ahead_its_time_counts() -> None:
    """A witness tells whole seconds: nothing may be judged before it was made, by a key that is a second old, say."""
    for ahead in (timedelta(microseconds=1), SECOND / 2, 4 * MINUTE):
        made = proof(decision_leaf(time=leaf_time(THEN + ahead)), first=THEN)
        assert verify_log_proof(made, [proof_builder.trust(1)]).proven_at == THEN + ahead
    behind = proof(decision_leaf(time=leaf_time(THEN - MINUTE)), first=THEN)
    assert verify_log_proof(behind, [proof_builder.trust(1)]).proven_at == THEN


# Tokens and assertions: the log's time is for the key, the message's own times are for now.


def _token(now: datetime, **claims: object) -> tuple[str, bytes]:
    key = jwt_builder.signing_key("ES256")
    kid = thumbprint(load_public_key(pki.spki(key)))
    token = jwt_builder.token(payload=jwt_builder.claims(**claims), kid=kid)
    entry = proof_builder.leaf(
        key, "ECDSA_SHA_256", logged(*proof_builder.jwt_parts(token)), time=leaf_time(now - SECOND)
    )
    return token, proof(entry, first=now)


def _jwt_trust(**changes: object) -> bytes:
    key = key_entry(
        jwt_builder.signing_key("ES256"), "ECDSA_SHA_256", purpose="jwt", issuer=jwt_builder.ISSUER, **changes
    )
    return bundle([key], logs=[log_entry(1)])


def test_a_token_expires_whenever_it_was_logged() -> None:
    seconds = jwt_builder.SECONDS

    def answer(trust: bytes, seen: datetime, *, made: bool = True, **claims: int) -> VerifiedToken | str:
        token, text = _token(seen, **claims)
        try:
            return verify_jwt(
                token,
                parse_trust(trust),
                issuer=jwt_builder.ISSUER,
                audience=jwt_builder.AUDIENCE,
                leeway=60,
                proof=text if made else None,
            )
        except VerificationError as error:
            return error.code

    hour = timedelta(hours=1)
    old: dict[str, Any] = {"iat": seconds - 7200, "nbf": seconds - 7200}
    assert answer(_jwt_trust(), NOW - 2 * hour, **old, exp=seconds - 3600) == "expired"
    # The key's window was over half an hour ago; the token was made before.
    ended = _jwt_trust(not_after=(NOW - hour / 2).isoformat().replace("+00:00", "Z"))
    facts = answer(ended, NOW - hour, **old)
    assert isinstance(facts, VerifiedToken)
    assert (facts.time.basis, facts.time.judged_at) == ("log", NOW - hour)
    assert answer(ended, NOW - hour, made=False, **old) == "key_expired"
    MaximumAge(7200 + 3600).verify(facts)  # whatever time the tests before this one took
    with pytest.raises(Rejected):
        MaximumAge(3600).verify(facts)


def test_an_assertion_ends_whenever_it_was_logged() -> None:
    idp = pki.issue("idp", pki.key("p256", "idp"), root(), OVER)
    signing = saml_builder.Signing(idp, SignatureMethod.ECDSA_SHA256)

    def answer(message: saml_builder.Message, seen: datetime = THEN, cosignatures: int = 1) -> VerifiedAssertion | str:
        text = saml_builder.build(message, signing=signing)
        entry = proof_builder.leaf(
            idp.private_key,
            "ECDSA_SHA_256",
            *(logged(*parts) for parts in proof_builder.saml_parts(text)),
            time=leaf_time(seen),
        )
        try:
            return verify_saml(
                text,
                certificates=load_certificates(pki.pem(idp.certificate)),
                audience=saml_builder.AUDIENCE,
                recipient=saml_builder.RECIPIENT,
                leeway=60,
                proof=proof(entry, first=seen),
                logs=[proof_builder.trust(cosignatures)],
            )
        except VerificationError as error:
            return error.code

    facts = answer(saml_builder.Message())
    assert isinstance(facts, VerifiedAssertion)
    assert facts.time.basis == "log"
    assert answer(saml_builder.Message(), cosignatures=0) == "certificate_expired"
    assert answer(saml_builder.Message(), seen=NOW) == "certificate_expired"
    ended = f'NotBefore="{saml_builder.when(-7200)}" NotOnOrAfter="{saml_builder.when(-3600)}"'
    assert answer(saml_builder.Message(conditions_head=ended), seen=NOW - 11 * DAY) == "expired"


def test_an_old_file_is_not_made_younger_by_its_proof() -> None:
    signer = pki.issue("release", pki.key("p256", "release"), root(), OVER)
    signature = cms_builder.sign(CONTENT, signer, cms_builder.Options(signing_time=THEN - SECOND))
    trust = parse_trust(bundle([], [authority_entry(root().certificate)], logs=[log_entry(1)]))
    made = proof(entry_of(signature, THEN - SECOND), first=THEN)
    facts = verify_artifact(io.BytesIO(CONTENT), signature, trust, proof=made)
    assert facts.time.judged_at == THEN
    with pytest.raises(Rejected) as caught:
        MaximumAge(3600).verify(facts)
    assert caught.value.code == "expired"


# Revocation


def _revoked(
    reason: ReasonFlags | None,
    revoked_at: datetime,
    *,
    cosignatures: int = 1,
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    **options: Any,
) -> VerifiedArtifact | str:
    """The signature, seen by witnesses at THEN, whose certificate was revoked."""
    list_ = pki.crl(
        root(),
        signed("good")[0].certificate,
        at=revoked_at,
        reason=reason,
        profile=pki.CrlProfile(entry_extra=extra),
    )
    lists = load_revocation_lists(pki.crl_der(list_))
    try:
        return verify(cosignatures, profile="good", crls=lists, **options)
    except VerificationError as error:
        return error.code


@pytest.mark.parametrize("reason", [None, *ReasonFlags])
def test_a_later_revocation_is_excused_where_the_key_was_good(reason: ReasonFlags | None) -> None:
    if reason is ReasonFlags.remove_from_crl:
        return  # of delta lists only, which are not read
    excused = {ReasonFlags.superseded, ReasonFlags.cessation_of_operation, ReasonFlags.affiliation_changed}
    answer = _revoked(reason, NOW - DAY)
    if reason not in excused:
        assert answer == "certificate_revoked"
        return
    assert isinstance(answer, VerifiedArtifact)
    facts = answer.certificates[0].revocation
    assert facts is not None
    assert facts.status == "revoked-later"
    assert facts.reason in answer.not_covered
    assert "after the log's witnesses had seen the signature" in (facts.reason or "")
    assert "revoked later" in describe(answer)
    assert isinstance(_revoked(reason, NOW - DAY, require_crl=True), VerifiedArtifact)


def test_what_does_not_excuse_a_revocation() -> None:
    superseded = ReasonFlags.superseded
    # before the witnesses saw the signature, or so near that their clocks could be wrong
    assert _revoked(superseded, THEN - SECOND) == "certificate_revoked"
    assert _revoked(superseded, THEN + 4 * MINUTE) == "certificate_revoked"
    assert isinstance(_revoked(superseded, THEN + 6 * MINUTE), VerifiedArtifact)
    # no witness was asked; or a time was given, which ADR 0015 is about
    assert _revoked(superseded, NOW - DAY, cosignatures=0) == "certificate_revoked"
    assert _revoked(superseded, NOW - DAY, at=THEN) == "certificate_revoked"
    assert _revoked(superseded, NOW - DAY, proof=None) == "certificate_revoked"
    # the list says that the certificate was no good before it was revoked (RFC 5280 section 5.3.2)
    invalid_since = ((x509.InvalidityDate((THEN - DAY).replace(tzinfo=None)), False),)
    assert _revoked(superseded, NOW - DAY, extra=invalid_since) == "certificate_revoked"


def test_a_list_of_today_clears_a_signature_of_then() -> None:
    lists = load_revocation_lists(pki.crl_der(pki.crl(root())))
    facts = verify(1, profile="good", crls=lists, require_crl=True)
    revocation = facts.certificates[0].revocation
    assert revocation is not None
    assert (revocation.status, revocation.checked_until) == ("not-revoked", NOW + 7 * DAY)
    # Authorities take expired certificates off their lists: this list would not name it in any case.
    assert code(lambda: verify(1, crls=lists, require_crl=True)) == "revocation_unknown"
    of_then = pki.CrlProfile(this_update=THEN - DAY, next_update=THEN + DAY)
    old = load_revocation_lists(pki.crl_der(pki.crl(root(), profile=of_then)))
    assert code(lambda: verify(1, crls=old, require_crl=True)) == "verified"


def test_a_revoked_key_is_refused_whatever_is_proven() -> None:
    """A key of a trust file is revoked because somebody else may have it, and since when is not known."""
    key = pki.key("p256")
    signature = bundle_builder.sign(key, CONTENT)
    entry = proof_builder.leaf(key, "ECDSA_SHA_256", logged(CONTENT, signature), time=leaf_time(THEN))

    def answer(**changes: object) -> str:
        listed = key_entry(key, "ECDSA_SHA_256", **changes)
        trust = parse_trust(bundle([listed], logs=[log_entry(1)]))
        return code(
            lambda: verify_artifact(io.BytesIO(CONTENT), signature, trust, proof=proof(entry, first=THEN + SECOND))
        )

    def text(moment: datetime) -> str:
        return moment.isoformat().replace("+00:00", "Z")

    assert answer() == "verified"
    assert answer(not_after=text(NOW - 10 * DAY)) == "verified"
    assert answer(not_after=text(NOW - 50 * DAY)) == "key_expired"
    assert answer(not_before=text(NOW - 10 * DAY)) == "key_not_yet_valid"
    assert answer(revoked_at=text(NOW - DAY)) == "key_revoked"


def test_the_witnesses_of_one_log_say_nothing_of_another() -> None:
    other = witness_signer("other.example/w")
    log = trusted_log(LOG.text, [other.text], 1)
    made = proof(entry_of(signed("over")[1], THEN), first=THEN)
    assert code(lambda: verify(1, proof=made, logs=[log])) == "too_few_cosignatures"
