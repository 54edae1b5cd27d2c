"""SAML messages: what is accepted, what each check refuses, and the wrapping attacks."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, SignatureMethod

from tests.verifier import pki
from tests.verifier.saml_builder import (
    ASSERTION,
    AUDIENCE,
    DSIG,
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
from verifier import VerificationError, VerifiedAssertion, verify_saml

IDP = identity()
SIGNING = Signing(IDP)
GOOD = {part: build(sign=part, signing=SIGNING) for part in ("assertion", "response", "both", "bare")}


def verify(data: bytes, **options: object) -> VerifiedAssertion:
    expected: dict[str, object] = {
        "certificates": (IDP.certificate,),
        "audience": AUDIENCE,
        "recipient": RECIPIENT,
        "issuer": ISSUER,
        "in_response_to": REQUEST,
        "now": pki.NOW,
    }
    return verify_saml(data, **(expected | options))  # type: ignore[arg-type]


def code(data: bytes, **options: object) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(data, **options)
    return caught.value.code


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
    assert facts.response_id == (None if sign == "bare" else "_r1")
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
    assert code(build(signing=Signing(attacker))) == "signature_invalid"
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
            {"response_head": f'ID="_r1" Version="2.0" IssueInstant="{when()}" InResponseTo="_x"'},
            "in_response_to_mismatch",
        ),
        ({"response_head": f'ID="_r1" Version="2.0" IssueInstant="{when()}"'}, "in_response_to_mismatch"),
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
    "change",
    [
        lambda data: b'<!DOCTYPE Response [<!ENTITY a "b">]>' + data,
        lambda data: b"<!-- hello -->" + data,
        lambda data: data.replace(b"u@example", b"u@example<!-- -->"),
        lambda data: data.replace(b"u@example", b"<![CDATA[u@example]]>"),
        lambda data: data.replace(b"u@example", b"u@example<?x?>"),
        lambda data: data + b"<?x y?>",
        lambda data: data.replace(b"u@example", b"&x;"),
        lambda data: data.decode().encode("utf-16"),
        lambda data: b'<?xml version="1.0" encoding="ISO-8859-1"?>' + data,
        lambda data: b"\xef\xbb\xbf<?xml version='1.1'?>" + data,
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: b"<a/>",
        lambda data: data.replace(b"u@example", b"\xff"),
        lambda data: data.replace(b"u@example", b"\x00"),
        lambda data: data.replace(b'ID="_r1"', b'ID="_a1"'),
        lambda data: data.replace(b"<samlp:Status>", b'<samlp:Status id="_a1">'),
        lambda data: data.replace(b"<samlp:Status>", b'<samlp:Status xml:id="_a1">'),
        lambda data: data.replace(b"<samlp:Status>", b'<samlp:Status xmlns:x="urn:x" x:iD="_a1">'),
        lambda data: data.replace(b'ID="_r1"', b'ID="#r1"'),
    ],
    ids=range(21),
)
def test_form(change: object) -> None:
    assert callable(change)
    assert code(change(GOOD["assertion"])) == "malformed"


def test_bounds() -> None:
    assert code(b"<a>" + b"x" * 1024 * 1024 + b"</a>") == "too_large"
    assert code(b"<a>" * 40 + b"</a>" * 40) == "too_large"
    assert code(b"<a>" * 5000 + b"</a>" * 5000) in {"too_large", "malformed"}
    assert code(b"<a>" + b"<b/>" * 10_001 + b"</a>") == "too_large"


def test_utf8_declaration_is_fine() -> None:
    assert verify(b'<?xml version="1.0" encoding="UTF-8"?>\n' + GOOD["both"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<ds:Transforms>", b'<ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#base64"/>'),
        (b'<ds:Reference URI="#_a1">', b'<ds:Reference URI="">'),
        (b'<ds:Reference URI="#_a1">', b'<ds:Reference URI="##_a1">'),
        (b'<ds:Reference URI="#_a1">', b'<ds:Reference URI="#_r1">'),
        (b'<ds:Reference URI="#_a1">', b"<ds:Reference>"),
        (b'<ds:Reference URI="#_a1">', b'<ds:Reference Type="x" URI="#_a1">'),
        (b"</ds:Reference>", b'</ds:Reference><ds:Reference URI="#_a1"/>'),
        (b"</ds:Signature>", b"<ds:Object/></ds:Signature>"),
        (b"</ds:Signature>", b"</ds:Signature><ds:Signature/>"),
        (b"<ds:SignatureValue>", b"<ds:SignatureValue>="),
        (b"<ds:DigestValue>", b"<ds:DigestValue>!"),
        (b"<saml:Issuer>", b"<saml:Issuer>x</saml:Issuer><saml:Issuer>"),
    ],
)
def test_signature_form(old: bytes, new: bytes) -> None:
    assert old in GOOD["bare"]
    assert code(GOOD["bare"].replace(old, new, 1)) == "malformed"


@pytest.mark.parametrize(
    "stray", [f'<ds:Signature xmlns:ds="{DSIG}"/>', '<x:Signature xmlns:x="urn:x"/>', "<samlp:Response/>"]
)
def test_strays_in_the_unsigned_envelope_are_refused(stray: str) -> None:
    changed = GOOD["assertion"].replace(b"</samlp:Status>", f"{stray}</samlp:Status>".encode())
    assert changed != GOOD["assertion"]
    assert code(changed) == "malformed"


def test_canonicalization_of_the_signature_itself() -> None:
    method = b'<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#'
    assert method in GOOD["bare"]
    assert code(GOOD["bare"].replace(method, method + b"WithComments")) == "algorithm_not_allowed"


def test_inclusive_namespaces_are_refused() -> None:
    text = GOOD["bare"].decode()
    c14n = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
    assert c14n in text
    inclusive = c14n.replace(
        "/>",
        '><ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="x"/></ds:Transform>',
    )
    assert code(text.replace(c14n, inclusive).encode()) == "malformed"


def evil(original: etree._Element) -> etree._Element:
    """The assertion as an attacker would have it, unsigned, with an id of its own."""
    copy = etree.fromstring(etree.tostring(original))
    copy.set("ID", "_evil")
    signature = copy.find(f"{{{DSIG}}}Signature")
    assert signature is not None
    copy.remove(signature)
    name_id = copy.find(f".//{{{ASSERTION}}}NameID")
    assert name_id is not None
    name_id.text = "root@example"
    return copy


def wrap_before(root: etree._Element, signed: etree._Element) -> None:
    """XSW: the attacker's assertion in front of the signed one."""
    signed.addprevious(evil(signed))


def wrap_after(root: etree._Element, signed: etree._Element) -> None:
    """XSW: behind it."""
    signed.addnext(evil(signed))


def wrap_around(root: etree._Element, signed: etree._Element) -> None:
    """XSW: around it, the signed one as its child."""
    outer = evil(signed)
    root.replace(signed, outer)
    outer.append(signed)


def wrap_in_object(root: etree._Element, signed: etree._Element) -> None:
    """XSW: the signed one hidden in the signature's object."""
    outer = evil(signed)
    signature = signed.find(f"{{{DSIG}}}Signature")
    assert signature is not None
    root.replace(signed, outer)
    outer.insert(1, signature)
    etree.SubElement(signature, f"{{{DSIG}}}Object").append(signed)


def wrap_in_extensions(root: etree._Element, signed: etree._Element) -> None:
    """XSW: the signed one moved into an extension of the response."""
    root.replace(signed, evil(signed))
    etree.SubElement(root, "{urn:oasis:names:tc:SAML:2.0:protocol}Extensions").append(signed)


def wrap_renamed(root: etree._Element, signed: etree._Element) -> None:
    """XSW: the attacker's under another namespace, should only local names be compared."""
    outer = evil(signed)
    outer.tag = "{urn:x}Assertion"
    signed.addprevious(outer)


@pytest.mark.parametrize(
    "attack", [wrap_before, wrap_after, wrap_around, wrap_in_object, wrap_in_extensions, wrap_renamed]
)
@pytest.mark.parametrize("sign", ["assertion", "both"])
def test_signature_wrapping(attack: object, sign: str) -> None:
    root = etree.fromstring(GOOD[sign])
    signed = root.find(f"{{{ASSERTION}}}Assertion")
    assert signed is not None
    assert callable(attack)
    attack(root, signed)
    assert code(etree.tostring(root)) == "malformed"


def test_response_around_a_response_is_refused() -> None:
    outer = Message(response_head=f'ID="_r2" Version="2.0" IssueInstant="{when()}"')
    assert code(outer.response(GOOD["response"].decode()).encode()) == "malformed"


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
