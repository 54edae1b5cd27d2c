"""SAML messages: what is accepted, what each check refuses, and the wrapping attacks."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signxml.algorithms import CanonicalizationMethod, SignatureMethod

from tests.verifier import pki
from tests.verifier.saml_builder import (
    AUDIENCE,
    ISSUER,
    RECIPIENT,
    REQUEST,
    Message,
    Signing,
    build,
    identity,
    sign_element,
    when,
)
from tests.verifier.saml_checks import GOOD, IDP, SIGNING, code, verify
from tests.verifier.saml_forge import forge
from verifier import VerificationError


def code_of(sign: str = "assertion", **parts: str) -> str:
    return code(build(Message(**parts), sign, SIGNING))


@pytest.mark.parametrize(
    ("sign", "signed"),
    [
        ("assertion", ("assertion",)),
        ("response", ("response",)),
        ("both", ("response", "assertion")),
        ("bare", ("assertion",)),
    ],
)
def test_accepts(sign: str, signed: tuple[str, ...]) -> None:
    facts = verify(GOOD[sign])
    assert facts.signed == signed
    assert (facts.issuer, facts.subject, facts.audiences) == (ISSUER, "u@example", (AUDIENCE,))
    assert facts.attributes == {"role": ("admin", "dev")}
    assert (facts.assertion_id, facts.in_response_to, facts.session_index) == ("_a1", REQUEST, "_s1")
    assert facts.response_id == ("_r1" if sign in {"response", "both"} else None)
    assert any("response around" in limit for limit in facts.not_covered) == (sign == "assertion")


@pytest.mark.parametrize(
    ("kind", "method", "digest", "name"),
    [
        ("rsa2048", SignatureMethod.RSA_SHA256, "sha256", "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa2048", SignatureMethod.RSA_SHA512, "sha512", "RSASSA_PKCS1_V1_5_SHA_512"),
        ("p256", SignatureMethod.ECDSA_SHA256, "sha256", "ECDSA_SHA_256"),
        ("p384", SignatureMethod.ECDSA_SHA384, "sha384", "ECDSA_SHA_384"),
        ("p521", SignatureMethod.ECDSA_SHA512, "sha512", "ECDSA_SHA_512"),
    ],
)
def test_algorithms(kind: str, method: SignatureMethod, digest: str, name: str) -> None:
    signer = identity(kind)
    data = build(sign="both", signing=Signing(signer, method, digest))
    assert verify(data, certificates=(signer.certificate,)).key.algorithm == name


@pytest.mark.parametrize(
    ("kind", "method", "digest"),
    [
        ("rsa2048", SignatureMethod.RSA_SHA384, "sha256"),
        ("rsa2048", SignatureMethod.RSA_SHA224, "sha256"),
        ("rsa2048", SignatureMethod.SHA256_RSA_MGF1, "sha256"),
        ("rsa2048", SignatureMethod.RSA_SHA256, "sha224"),
        ("rsa2048", SignatureMethod.RSA_SHA256, "sha3-256"),
        ("p256", SignatureMethod.ECDSA_SHA224, "sha256"),
    ],
)
def test_algorithms_outside_the_list(kind: str, method: SignatureMethod, digest: str) -> None:
    signer = identity(kind)
    data = build(signing=Signing(signer, method, digest))
    assert code(data, certificates=(signer.certificate,)) == "algorithm_not_allowed"


@pytest.mark.parametrize("method", [each for each in CanonicalizationMethod if "exc-c14n#" not in each.value])
def test_other_canonicalizations(method: CanonicalizationMethod) -> None:
    assert code(build(signing=replace(SIGNING, canonicalization=method))) == "algorithm_not_allowed"


@pytest.mark.parametrize("sign", GOOD)
def test_tampered(sign: str) -> None:
    assert code(GOOD[sign].replace(b"u@example", b"root@example")) == "signature_invalid"
    assert code(GOOD[sign].replace(b">admin<", b">owner<")) == "signature_invalid"


def test_tampered_envelope_of_a_signed_response() -> None:
    changed = GOOD["response"].replace(b'ID="_r1"', b'Consent="x" ID="_r1"')
    assert code(changed) == "signature_invalid"


def test_both_signatures_must_hold() -> None:
    values = re.findall(rb"<ds:SignatureValue>(.{20})", GOOD["both"])
    assert len(values) == 2
    for value in values:
        assert code(GOOD["both"].replace(value, value[::-1])) == "signature_invalid"


def test_unsigned() -> None:
    assert code(build(sign="nothing")) == "signature_invalid"


def test_key_in_the_message_is_never_trusted() -> None:
    attacker = identity("rsa2048", "attacker")
    assert code(build(signing=Signing(attacker))) == "signer_mismatch"
    dressed = Signing(attacker, certificates=(IDP.certificate,))
    assert code(build(signing=dressed)) == "signature_invalid"


def test_one_of_several_certificates() -> None:
    old = identity("rsa2048", "old").certificate
    assert verify(GOOD["both"], certificates=(old, IDP.certificate))
    assert verify(GOOD["assertion"], certificates=(IDP.certificate, pki.root().certificate))
    assert code(GOOD["assertion"], certificates=(pki.root().certificate,)) == "no_trust"


def test_certificate_validity_and_strength() -> None:
    late = timedelta(days=91)
    data = build(signing=SIGNING)
    assert code(data, now=pki.NOW + late) == "certificate_expired"
    assert code(data, now=pki.NOW - late) == "certificate_not_yet_valid"
    weak = pki.issue("weak", pki.key("rsa1024", "idp"), None, pki.Profile(purposes=None))
    assert code(data, certificates=(weak.certificate,)) == "weak_key"


@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"assertion_head": f'ID="_a1" Version="1.1" IssueInstant="{when()}"'}, "malformed"),
        ({"assertion_head": 'ID="_a1" Version="2.0" IssueInstant="yesterday"'}, "malformed"),
        ({"assertion_head": 'ID="_a1" Version="2.0"'}, "malformed"),
        ({"assertion_head": f'ID="_a1" Version="2.0" IssueInstant="{when(90)}"'}, "not_yet_valid"),
        ({"response_head": f'ID="_r1" Version="1.1" IssueInstant="{when()}" InResponseTo="{REQUEST}"'}, "malformed"),
        (
            {"response_head": Message().response_head.replace(REQUEST, "_x")},
            "in_response_to_mismatch",
        ),
        (
            {"response_head": f'ID="_r1" Version="2.0" IssueInstant="{when()}" Destination="{RECIPIENT}"'},
            "in_response_to_mismatch",
        ),
        (
            {
                "response_head": f'ID="_r1" Version="2.0" IssueInstant="{when()}" InResponseTo="{REQUEST}" '
                'Destination="https://evil.example"'
            },
            "recipient_mismatch",
        ),
        ({"status": ""}, "malformed"),
        (
            {
                "status": '<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/>'
                "</samlp:Status>"
            },
            "status_not_success",
        ),
        ({"issuer": "<saml:Issuer>https://evil.example</saml:Issuer>"}, "issuer_mismatch"),
        ({"response_issuer": "<saml:Issuer>https://evil.example</saml:Issuer>"}, "issuer_mismatch"),
        ({"issuer": f'<saml:Issuer Format="x">{ISSUER}</saml:Issuer>'}, "malformed"),
        ({"name_id": ""}, "malformed"),
        ({"name_id": "<saml:NameID/>"}, "malformed"),
        ({"name_id": "<saml:NameID>u<saml:b/>@example</saml:NameID>"}, "malformed"),
        ({"name_id": "<saml:NameID>a</saml:NameID><saml:NameID>b</saml:NameID>"}, "malformed"),
        ({"name_id": "<saml:EncryptedID/>"}, "unsupported_format"),
        ({"method": "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"}, "malformed"),
        ({"confirmation": f'NotOnOrAfter="{when(3600)}" InResponseTo="{REQUEST}"'}, "malformed"),
        (
            {"confirmation": f'Recipient="https://x" NotOnOrAfter="{when(3600)}" InResponseTo="{REQUEST}"'},
            "recipient_mismatch",
        ),
        ({"confirmation": f'Recipient="{RECIPIENT}" InResponseTo="{REQUEST}"'}, "malformed"),
        ({"confirmation": f'Recipient="{RECIPIENT}" NotOnOrAfter="{when()}" InResponseTo="{REQUEST}"'}, "expired"),
        (
            {
                "confirmation": f'Recipient="{RECIPIENT}" NotBefore="{when(-9)}" NotOnOrAfter="{when(3600)}" '
                f'InResponseTo="{REQUEST}"'
            },
            "malformed",
        ),
        (
            {"confirmation": f'Recipient="{RECIPIENT}" NotOnOrAfter="{when(3600)}" InResponseTo="_x"'},
            "in_response_to_mismatch",
        ),
        ({"confirmation": f'Recipient="{RECIPIENT}" NotOnOrAfter="{when(3600)}"'}, "in_response_to_mismatch"),
        ({"conditions_head": f'NotOnOrAfter="{when()}"'}, "expired"),
        ({"conditions_head": f'NotBefore="{when(1)}"'}, "not_yet_valid"),
        ({"conditions_head": 'NotOnOrAfter="2999-01-01T00:00:00+01:00"'}, "malformed"),
        ({"conditions": ""}, "missing_claim"),
        ({"conditions": "<saml:AudienceRestriction/>"}, "audience_mismatch"),
        (
            {
                "conditions": "<saml:AudienceRestriction><saml:Audience>https://x</saml:Audience>"
                "</saml:AudienceRestriction>"
            },
            "audience_mismatch",
        ),
        ({"conditions": Message().conditions + "<saml:AudienceRestriction/>"}, "audience_mismatch"),
        ({"conditions": Message().conditions + "<saml:Condition/>"}, "unknown_condition"),
        ({"conditions": Message().conditions + '<x:Moon xmlns:x="urn:x"/>'}, "unknown_condition"),
        ({"authentication": f'<saml:AuthnStatement SessionNotOnOrAfter="{when()}"/>'}, "expired"),
        ({"authentication": "<saml:AuthnStatement/><saml:AuthnStatement/>"}, "malformed"),
        ({"authentication": "<saml:Advice/>"}, "malformed"),
        ({"authentication": '<saml:Statement xmlns:x="urn:x"/>'}, "malformed"),
        ({"attributes": Message().attributes * 2}, "malformed"),
        (
            {
                "attributes": '<saml:AttributeStatement><saml:Attribute Name="a"><saml:AttributeValue><saml:b/>'
                "</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"
            },
            "malformed",
        ),
        ({"attributes": "<saml:AttributeStatement><saml:Attribute/></saml:AttributeStatement>"}, "malformed"),
    ],
)
def test_what_it_says(sign: str, parts: dict[str, str], expected: str) -> None:
    assert code_of(sign, **parts) == expected


def test_expectations_that_are_not_given_are_named() -> None:
    facts = verify(GOOD["both"], issuer=None, in_response_to=None)
    assert "the issuer was not compared with an expected one" in facts.not_covered
    assert "InResponseTo was not compared with a request" in facts.not_covered
    assert code(GOOD["both"], issuer="https://other.example") == "issuer_mismatch"
    assert code(GOOD["both"], audience="https://other.example") == "audience_mismatch"
    assert code(GOOD["both"], recipient="https://other.example") == "recipient_mismatch"


def test_leeway_and_one_time_use() -> None:
    once = Message(conditions=Message().conditions + "<saml:OneTimeUse/>")
    assert verify(build(once, signing=SIGNING)).one_time_use
    late = pki.NOW + timedelta(seconds=3610)
    assert code(GOOD["assertion"], now=late) == "expired"
    assert verify(GOOD["assertion"], now=late, leeway=20)


def test_senseless_arguments() -> None:
    for options in ({"audience": ""}, {"recipient": ""}, {"certificates": ()}, {"leeway": 61}, {"leeway": -1}):
        with pytest.raises(ValueError, match=r"needed|must"):
            verify(GOOD["both"], **options)
    with pytest.raises(ValueError, match="time zone"):
        verify(GOOD["both"], now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_replay() -> None:
    class Cache:
        def __init__(self) -> None:
            self.seen: dict[tuple[str, str], datetime] = {}

        def remember(self, issuer: str, assertion_id: str, until: datetime) -> bool:
            return self.seen.setdefault((issuer, assertion_id), until) is until

    cache = Cache()
    facts = verify(GOOD["both"], replay_cache=cache)
    assert "whether the assertion was used before" not in facts.not_covered
    assert cache.seen == {(ISSUER, "_a1"): pki.NOW + timedelta(seconds=3600)}
    assert code(GOOD["both"], replay_cache=cache) == "replayed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<samlp:Status>", "<samlp:Extensions/><samlp:Status>"),
        ("<samlp:Status>", "text<samlp:Status>"),
        ("<samlp:Status>", '<samlp:Status x="y">'),
        ("<samlp:Status>", "<samlp:Status/><samlp:Status>"),
        ("<samlp:Status>", '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="x"/><samlp:Status>'),
        ("</samlp:Status>", "<samlp:StatusMessage>x</samlp:StatusMessage></samlp:Status>"),
        ("</samlp:Status>", "<samlp:StatusDetail/></samlp:Status>"),
        ('status:Success"/>', 'status:Success"><samlp:StatusCode/></samlp:StatusCode>'),
        ("Destination=", "Destinotion="),
        ("Destination=", 'xmlns:x="urn:x" x:Destination='),
        ("<samlp:Response ", "<samlp:Response Extra='x' "),
        ("</samlp:Response>", "<samlp:Extensions/></samlp:Response>"),
        ("</samlp:Response>", "<saml:Issuer>https://idp.example</saml:Issuer></samlp:Response>"),
    ],
)
def test_the_unsigned_response_holds_nothing_else(old: str, new: str) -> None:
    changed = GOOD["assertion"].replace(old.encode(), new.encode(), 1)
    assert changed != GOOD["assertion"]
    assert code(changed) == "malformed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<saml:Subject>", '<x:Subject xmlns:x="urn:x"/><saml:Subject>'),
        ("</saml:Conditions>", "</saml:Conditions>text"),
        ("<saml:Subject>", "<saml:Subject/><saml:Subject>"),
        ("</saml:Subject>", "<saml:BaseID/></saml:Subject>"),
        ("</saml:Subject>", '<saml:SubjectConfirmation Method="urn:x"/></saml:Subject>'),
        ("</saml:SubjectConfirmation>", "<saml:NameID>root@example</saml:NameID></saml:SubjectConfirmation>"),
        ("/></saml:SubjectConfirmation>", "><x/></saml:SubjectConfirmationData></saml:SubjectConfirmation>"),
        ("</saml:NameID>", "<saml:x/></saml:NameID>"),
        ("u@example", " "),
        ("</saml:Issuer>", "<saml:x/></saml:Issuer>"),
        ("</saml:Conditions>", "</saml:Conditions><saml:Conditions/>"),
        ("</saml:Assertion>", "<saml:Advice/></saml:Assertion>"),
        ("</saml:Assertion>", '<saml:AuthzDecisionStatement Resource="x"/></saml:Assertion>'),
        (' Version="2.0"', ' Version="2.0" Extra="x"'),
        (' Version="2.0"', ' Version="2.0" Id="_x"'),
        ("</saml:AudienceRestriction>", "<saml:NotAudience/></saml:AudienceRestriction>"),
        ("<saml:Subject>", '<saml:Subject ID="_x">'),
        ("<saml:Attribute ", '<saml:Attribute xml:id="_x" '),
    ],
)
def test_a_signed_assertion_of_the_wrong_form(old: str, new: str) -> None:
    """Rightly signed: what this package does not read, it does not skip."""
    text = Message().assertion()
    assert old in text
    assert code(forge(text.replace(old, new, 1))) == "malformed"


def test_a_signed_response_must_say_where_it_goes() -> None:
    head = f'ID="_r1" Version="2.0" IssueInstant="{when()}" InResponseTo="_request-1"'
    message = Message(response_head=head)
    assert code(build(message, "response", SIGNING)) == "recipient_mismatch"
    assert verify(build(message, "assertion", SIGNING))


def test_signature_of_another_message_is_refused() -> None:
    """An assertion that was signed for somebody else, put into a response of the attacker's making, stays theirs."""
    theirs = Message(conditions=Message().conditions.replace(AUDIENCE, "https://other.example"))
    assert code(build(theirs, signing=SIGNING)) == "audience_mismatch"


def test_signed_response_alone_speaks_for_its_assertion() -> None:
    message = Message()
    text = message.response(message.assertion())
    signed = sign_element(text, SIGNING)
    assert verify(signed.encode()).signed == ("response",)
    assert code(signed.replace("u@example", "v@example").encode()) == "signature_invalid"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_makes_it_fail_otherwise(data: st.DataObject) -> None:
    sample = GOOD["both"]
    position = data.draw(st.integers(0, len(sample) - 1))
    piece = data.draw(st.binary(max_size=3))
    damaged = sample[:position] + piece + sample[position + data.draw(st.integers(0, 3)) :]
    try:
        facts = verify(damaged)
    except VerificationError:
        return
    assert facts.as_json() == verify(sample).as_json()
