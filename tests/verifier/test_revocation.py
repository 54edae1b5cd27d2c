"""Revocation lists: which one counts, for whom, until when, and what is said where none does."""

from __future__ import annotations

import base64
import contextlib
import io
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifier import pki
from tests.verifier.cms_builder import Options, sign
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier import (
    Indeterminate,
    Rejected,
    VerificationError,
    VerifiedArtifact,
    load_revocation_lists,
    parse_trust,
    verify_artifact,
)
from verifier.report import describe

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"content"
NOW, DAY, CrlProfile = pki.NOW, pki.DAY, pki.CrlProfile
ROOT = pki.root("Revoking Root")
MIDDLE = pki.issue("Revoking Issuer", pki.key("p256", "revoking issuer"), ROOT, pki.AUTHORITY)
LEAF = pki.issue("revocable", pki.key("p256", "revocable"), ROOT)
DEEP = pki.issue("deep", pki.key("p256", "revocable"), MIDDLE)
DEEP_SIGNATURE = sign(CONTENT, DEEP, Options(certificates=(DEEP.certificate, MIDDLE.certificate)))
SIGNATURE = sign(CONTENT, LEAF)
LISTED = pki.crl(ROOT, LEAF.certificate)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def verify(
    *lists: x509.CertificateRevocationList,
    required: bool = True,
    at: datetime | None = None,
    signature: bytes = SIGNATURE,
    trust: bytes = pki.pem(ROOT.certificate),
) -> VerifiedArtifact:
    crls = [each for crl in lists for each in load_revocation_lists(pki.crl_der(crl))]
    return verify_artifact(io.BytesIO(CONTENT), signature, parse_trust(trust), at=at, crls=crls, require_crl=required)


def reason(*lists: x509.CertificateRevocationList, at: datetime | None = None, signature: bytes = SIGNATURE) -> str:
    """Why the certificate was not checked: the same words where a list is demanded and where it is not."""
    facts = verify(*lists, required=False, at=at, signature=signature)
    state = facts.certificates[0].revocation
    assert state is not None
    assert (state.status, state.checked_until) == ("not-checked", None)
    assert f"revocation was not checked: {state.reason}" in facts.not_covered
    with pytest.raises(Indeterminate) as caught:
        verify(*lists, at=at, signature=signature)
    assert caught.value.code == "revocation_unknown"
    assert str(state.reason) in caught.value.message
    return str(state.reason)


def test_a_current_list_clears_until_the_next() -> None:
    other = pki.issue("other", pki.key("p256", "revocable"), ROOT).certificate
    facts = verify(pki.crl(ROOT, other))
    state = facts.certificates[0].revocation
    assert state is not None
    assert (state.status, state.checked_until, state.reason) == ("not-revoked", NOW + 7 * DAY, None)
    assert facts.certificates[1].revocation is None  # the root is trusted as it is
    until = f"{(NOW + 7 * DAY).isoformat()[:19]}Z"
    told = [each.as_json()["revocation"] for each in facts.certificates]
    assert told == [{"status": "not-revoked", "checked_until": until, "reason": None}, None]
    assert not [limit for limit in facts.not_covered if "revocation" in limit]
    assert "not revoked (list until" in describe(facts)


def test_a_revoked_certificate_is_rejected_with_time_and_reason() -> None:
    for required in (True, False):
        with pytest.raises(Rejected) as caught:
            verify(pki.crl(ROOT, LEAF.certificate), required=required)
        assert caught.value.code == "certificate_revoked"
        assert f"{(NOW - DAY).isoformat()[:19]}Z (keyCompromise)" in caught.value.message


@pytest.mark.parametrize("why", [*x509.ReasonFlags, None])
def test_every_reason_revokes(why: x509.ReasonFlags | None) -> None:
    with pytest.raises(Rejected, match=f"certificate_revoked.*{'unspecified' if why is None else why.value}"):
        verify(pki.crl(ROOT, LEAF.certificate, reason=why))


def test_what_is_revoked_by_now_is_refused_at_an_earlier_time_too() -> None:
    """Nothing proves when a signature was made: a time that is merely claimed does not undo a revocation."""
    crl = pki.crl(ROOT, LEAF.certificate, at=NOW - timedelta(hours=1))
    with pytest.raises(Rejected, match="certificate_revoked"):
        verify(crl, at=NOW - timedelta(hours=2))


def test_a_revocation_that_is_still_to_come_does_not_count_yet() -> None:
    crl = pki.crl(ROOT, LEAF.certificate, at=NOW + 2 * DAY)
    assert verify(crl)
    with pytest.raises(Rejected, match="certificate_revoked"):
        verify(crl, at=NOW + 3 * DAY)


def test_a_list_out_of_its_time_still_revokes_but_does_not_clear() -> None:
    stale = CrlProfile(this_update=NOW - 9 * DAY, next_update=NOW - DAY)
    assert "was to be replaced by" in reason(pki.crl(ROOT, profile=stale))
    with pytest.raises(Rejected, match="certificate_revoked"):
        verify(pki.crl(ROOT, LEAF.certificate, at=NOW - 10 * DAY, profile=stale), required=False)
    fresh = CrlProfile(this_update=NOW + DAY)
    assert "is from" in reason(pki.crl(ROOT, profile=fresh))
    assert "is from" in reason(pki.crl(ROOT, profile=CrlProfile(this_update=NOW)), at=NOW - timedelta(seconds=1))
    assert verify(pki.crl(ROOT, profile=stale), pki.crl(ROOT))  # one current list is enough


def test_both_ends_of_a_list_count() -> None:
    for moment in (NOW - timedelta(hours=1), NOW + timedelta(hours=1)):
        ends = CrlProfile(this_update=moment, next_update=moment + DAY)
        assert verify(pki.crl(ROOT, profile=ends), at=moment)
        assert verify(pki.crl(ROOT, profile=ends), at=moment + DAY)
        assert reason(pki.crl(ROOT, profile=ends), at=moment - timedelta(seconds=1))
        assert reason(pki.crl(ROOT, profile=ends), at=moment + DAY + timedelta(seconds=1))


def test_no_list_and_another_authoritys() -> None:
    assert reason() == "no revocation list of CN=Revoking Root was given"
    assert reason(pki.crl(pki.root(), LEAF.certificate)) == reason()


def test_a_list_by_another_key_under_the_same_name_counts_for_nothing() -> None:
    namesake = pki.issue("Revoking Root", pki.key("p256", "namesake"), None, pki.AUTHORITY)
    assert "not signed by its key" in reason(pki.crl(namesake, LEAF.certificate))
    impostor = pki.Identity(ROOT.certificate, pki.key("p384", "impostor"))
    assert "not signed by its key" in reason(pki.crl(impostor))
    weak = CrlProfile(digest=hashes.SHA224())
    assert "not signed by its key" in reason(pki.crl(ROOT, profile=weak))


def test_an_authority_that_may_not_sign_lists() -> None:
    mute = pki.issue("Mute", pki.key("p256", "mute"), None, replace(pki.AUTHORITY, crl_sign=False))
    leaf = pki.issue("under mute", pki.key("p256", "revocable"), mute)
    with pytest.raises(Indeterminate, match="may not sign one"):
        verify(pki.crl(mute), signature=sign(CONTENT, leaf), trust=pki.pem(mute.certificate))


def test_every_certificate_below_the_authority_is_looked_up() -> None:
    def state(*lists: x509.CertificateRevocationList) -> str:
        try:
            facts = verify(*lists, signature=DEEP_SIGNATURE)
        except VerificationError as error:
            return error.code
        return " ".join("-" if each.revocation is None else each.revocation.status for each in facts.certificates)

    assert state(pki.crl(ROOT), pki.crl(MIDDLE)) == "not-revoked not-revoked -"
    assert state(pki.crl(ROOT)) == state(pki.crl(MIDDLE)) == "revocation_unknown"
    assert state(pki.crl(ROOT, MIDDLE.certificate), pki.crl(MIDDLE)) == "certificate_revoked"
    assert state(pki.crl(ROOT), pki.crl(MIDDLE, DEEP.certificate)) == "certificate_revoked"
    # One authority's list says nothing of what another issued under the same serial number.
    assert state(pki.crl(ROOT, DEEP.certificate), pki.crl(MIDDLE, MIDDLE.certificate)) == "not-revoked not-revoked -"


def test_a_revoked_intermediate_leaves_another_chain() -> None:
    """Two roots certified one issuer; one of them withdrew its word."""
    second = pki.root("Second Revoking Root")
    crossed = pki.issue("Revoking Issuer", pki.key("p256", "revoking issuer"), second, pki.AUTHORITY)
    certificates = (DEEP.certificate, MIDDLE.certificate, crossed.certificate)
    signature = sign(CONTENT, DEEP, Options(certificates=certificates))
    lists = (pki.crl(ROOT, MIDDLE.certificate), pki.crl(second), pki.crl(MIDDLE))
    both = pki.pem(ROOT.certificate, second.certificate)
    facts = verify(*lists, signature=signature, trust=both)
    assert facts.certificates[-1].subject == "CN=Second Revoking Root"
    with pytest.raises(Rejected, match="certificate_revoked"):
        verify(*lists, signature=signature)
    with pytest.raises(Indeterminate, match="revocation_unknown"):  # with the second root's list it might still hold
        verify(lists[0], lists[2], signature=signature, trust=both)


def narrow(**changes: object) -> x509.IssuingDistributionPoint:
    members: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(members | changes))  # type: ignore[arg-type]


def usable(crl: x509.CertificateRevocationList) -> str:
    try:
        load_revocation_lists(pki.crl_der(crl))
    except Indeterminate as error:
        return str(error)
    return "usable"


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    "extension",
    [
        narrow(only_contains_ca_certs=True),
        narrow(indirect_crl=True),
        narrow(full_name=[x509.UniformResourceIdentifier("http://ca.example/crl")]),
        x509.DeltaCRLIndicator(1),
    ],
)
def test_parts_of_lists_are_refused(extension: x509.ExtensionType, critical: bool) -> None:
    part = pki.crl(ROOT, profile=CrlProfile(extra=((extension, critical),)))
    assert "for some certificates only and delta lists are not read" in usable(part)


def test_critical_extensions() -> None:
    assert "critical extension 1.2.3.4" in usable(pki.crl(ROOT, profile=CrlProfile(extra=((UNKNOWN, True),))))
    assert usable(pki.crl(ROOT, profile=CrlProfile(extra=((UNKNOWN, False),)))) == "usable"
    entries = CrlProfile(entry_extra=((UNKNOWN, True),))
    assert "an entry has a critical extension 1.2.3.4" in usable(pki.crl(ROOT, LEAF.certificate, profile=entries))
    for_others = x509.CertificateIssuer([x509.DirectoryName(pki.name("Somebody"))])
    for critical in (True, False):
        entries = CrlProfile(entry_extra=((for_others, critical),))
        assert "other authorities" in usable(pki.crl(ROOT, LEAF.certificate, profile=entries))
    dated = CrlProfile(entry_extra=((x509.InvalidityDate(NOW.replace(tzinfo=None)), True),))
    assert usable(pki.crl(ROOT, LEAF.certificate, profile=dated)) == "usable"
    assert "twice" in usable(pki.crl(ROOT, LEAF.certificate, LEAF.certificate))


def test_files() -> None:
    one, two = pki.crl(ROOT), pki.crl(MIDDLE)
    assert len(load_revocation_lists(one.public_bytes(Encoding.PEM) + two.public_bytes(Encoding.PEM))) == 2
    encoded = pki.crl_der(one)
    broken = (b"", b"hello", encoded[:-1], encoded + b"\x00", pki.pem(ROOT.certificate), b"-----BEGIN X509 CRL-----\n")
    for data in (*broken, one.public_bytes(Encoding.PEM) + pki.pem(ROOT.certificate)):
        with pytest.raises(Indeterminate, match="invalid_crl"):
            load_revocation_lists(data)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_it_fail_otherwise(data: st.DataObject) -> None:
    """Whatever is cut out, put in or changed: a list, or `Indeterminate`."""
    encoded = bytearray(pki.crl_der(LISTED))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(encoded) - 1))
        encoded[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(Indeterminate):
        assert load_revocation_lists(bytes(encoded))


def test_flipped_bytes_never_clear() -> None:
    """A list that was tampered with is malformed or not its authority's: the certificate stays unchecked."""
    encoded = pki.crl_der(pki.crl(ROOT))
    trust = parse_trust(pki.pem(ROOT.certificate))

    def judge(data: bytes) -> None:
        crls = load_revocation_lists(data)
        verify_artifact(io.BytesIO(CONTENT), SIGNATURE, trust, crls=crls, require_crl=True)

    judge(encoded)
    for position in range(0, len(encoded), 3):
        changed = bytearray(encoded)
        changed[position] ^= 0x01
        with pytest.raises(Indeterminate):
            judge(bytes(changed))


def trust_with(crl: x509.CertificateRevocationList) -> bytes:
    encoded = base64.b64encode(pki.crl_der(crl)).decode()
    return bundle([], [authority_entry(ROOT.certificate, crl=encoded)])


def test_the_list_in_the_trust_file() -> None:
    facts = verify(trust=trust_with(pki.crl(ROOT)))
    assert facts.certificates[0].revocation is not None
    assert facts.certificates[0].revocation.status == "not-revoked"
    with pytest.raises(Rejected, match="certificate_revoked"):
        verify(trust=trust_with(pki.crl(ROOT, LEAF.certificate)), required=False)
    with pytest.raises(Rejected, match="certificate_revoked"):  # the newer file beside it adds to it
        verify(pki.crl(ROOT, LEAF.certificate), trust=trust_with(pki.crl(ROOT)))
    for wrong in (pki.crl(MIDDLE), pki.crl(pki.Identity(ROOT.certificate, pki.key("p384", "impostor")))):
        with pytest.raises(Indeterminate, match=r"invalid_trust.*not signed by it"):
            verify(trust=trust_with(wrong))


def test_a_bare_key_has_no_list() -> None:
    key = pki.public_pem(LEAF.private_key)
    assert verify(trust=key, required=False).key.trusted_by == "key"
    with pytest.raises(Indeterminate, match="revocation_unknown"):
        verify(trust=key)


def test_a_revoked_key_is_refused_at_whatever_time() -> None:
    def code(revoked_at: datetime, at: datetime | None = None, **changes: object) -> str:
        entry = key_entry(LEAF.private_key, "ECDSA_SHA_256", revoked_at=f"{revoked_at.isoformat()[:19]}Z", **changes)
        try:
            verify(trust=bundle([entry], [authority_entry(ROOT.certificate)]), required=False, at=at)
        except Rejected as error:
            return error.code
        return "verified"

    assert code(NOW - DAY) == "key_revoked"
    assert code(NOW - timedelta(hours=1), at=NOW - timedelta(hours=2)) == "key_revoked"
    assert code(NOW + 2 * DAY) == "verified"
    assert code(NOW + 2 * DAY, at=NOW + 2 * DAY) == "key_revoked"
    # Also where its algorithms are ones that this verifier does not know: the entry is not overlooked.
    assert code(NOW + 2 * DAY, algorithms=["LATER_ALGORITHM"]) == "algorithm_mismatch"


def test_a_list_that_openssl_made(tmp_path: Path) -> None:
    """`openssl ca -gencrl`, as small authorities run it."""
    serial = f"{LEAF.certificate.serial_number:X}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    (tmp_path / "index.txt").write_text(
        f"R\t360101000000Z\t260101000000Z,keyCompromise\t{serial}\tunknown\t/CN=revocable\n"
    )
    (tmp_path / "number").write_text("01\n")
    (tmp_path / "ca.cnf").write_text(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha384\n"
        "default_crl_days = 7\ncrl_extensions = list\n[list]\nauthorityKeyIdentifier = keyid\n"
    )
    (tmp_path / "root.pem").write_bytes(pki.pem(ROOT.certificate))
    (tmp_path / "key.pem").write_bytes(pki.private_pem(ROOT.private_key))
    subprocess.run(
        [
            "openssl",
            "ca",
            "-config",
            "ca.cnf",
            "-gencrl",
            "-cert",
            "root.pem",
            "-keyfile",
            "key.pem",
            "-out",
            "crl.pem",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=60,
    )
    crls = load_revocation_lists((tmp_path / "crl.pem").read_bytes())
    trust = parse_trust(pki.pem(ROOT.certificate))
    with pytest.raises(Rejected, match=r"certificate_revoked.*2026-01-01T00:00:00Z \(keyCompromise\)"):
        verify_artifact(io.BytesIO(CONTENT), SIGNATURE, trust, crls=crls)


def test_openssl_refuses_it_at_an_earlier_time_too(tmp_path: Path) -> None:
    earlier = NOW - timedelta(hours=2)
    crl = pki.crl(ROOT, LEAF.certificate, at=NOW - timedelta(hours=1))
    (tmp_path / "root.pem").write_bytes(pki.pem(ROOT.certificate))
    (tmp_path / "leaf.pem").write_bytes(pki.pem(LEAF.certificate))
    (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    at = str(int(earlier.timestamp()))
    done = subprocess.run(
        ["openssl", "verify", "-crl_check", "-attime", at, "-CAfile", "root.pem", "-CRLfile", "crl.pem", "leaf.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "certificate revoked" in done.stderr
    with pytest.raises(Rejected, match="certificate_revoked"):
        verify(crl, at=earlier)


def test_openssl_agrees(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(pki.pem(ROOT.certificate))
    (tmp_path / "leaf.pem").write_bytes(pki.pem(LEAF.certificate))
    stale = CrlProfile(this_update=NOW - 9 * DAY, next_update=NOW - DAY)
    for crl, expected in (
        (pki.crl(ROOT), "OK"),
        (pki.crl(ROOT, LEAF.certificate), "certificate revoked"),
        (pki.crl(ROOT, profile=stale), "CRL has expired"),
        (pki.crl(pki.Identity(ROOT.certificate, pki.key("p384", "impostor"))), "CRL signature failure"),
    ):
        (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
        done = subprocess.run(
            ["openssl", "verify", "-crl_check", "-CAfile", "root.pem", "-CRLfile", "crl.pem", "leaf.pem"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert expected in done.stdout + done.stderr
        try:
            ours = verify(crl) is not None
        except VerificationError:
            ours = False
        assert ours is (done.returncode == 0)
