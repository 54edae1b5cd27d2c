"""SAML responses: xmlsec1 accepts each signature by its node, and refuses it changed; the key decides what is said."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from keystore.algorithms import PURPOSES, Purpose
from keystore.api import AssertionSettings
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import saml
from signer.request import AssertionItem, Subject
from tests.signer.formats.support import NOW, Certified, accepts, certified, certify, write, write_pem
from tests.software_key import LyingKey, generate, information, new_key, software_key

if TYPE_CHECKING:
    from pathlib import Path

AUDIENCE = "https://sp.example"
RECIPIENT = "https://sp.example/acs?a=1&b=2"
SETTINGS = AssertionSettings("default", ("https://other.example", AUDIENCE), (RECIPIENT, "https://sp.example/acs2"))
NAMESPACES = {
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
NAME_FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:"
ASSERTION_SIGNATURE = "/*[local-name()='Response']/*[local-name()='Assertion']/*[local-name()='Signature']"
RESPONSE_SIGNATURE = "/*[local-name()='Response']/*[local-name()='Signature']"
SIGNATURES = {
    "assertion": (ASSERTION_SIGNATURE,),
    "response": (RESPONSE_SIGNATURE,),
    "both": (RESPONSE_SIGNATURE, ASSERTION_SIGNATURE),
}
SAML_KEYS = [
    (spec, algorithm)
    for spec, algorithms in PURPOSES[Purpose.SAML].items()
    for algorithm in algorithms
    if spec not in {"RSA_3072", "RSA_4096"}
]
ITEM = AssertionItem(
    subject="alice@example.org",
    audience=AUDIENCE,
    recipient=RECIPIENT,
    in_response_to="_request-1",
    attributes={"mail": "alice@example.org", "urn:oid:1.2.3": ["a & <b>", "ä\nz\t\u4e2d", ""]},
)
Sign = Literal["assertion", "response", "both"]


def signer(spec: str = "ECC_NIST_P256", algorithm: str | None = None) -> Certified:
    return certified(spec, Purpose.SAML, algorithm)


def respond(certified_key: Certified, /, **changes: object) -> bytes:
    return saml.respond(
        certified_key.key,
        certificate=certified_key.leaf,
        entity_id="https://idp.example/metadata",
        settings=SETTINGS,
        item=msgspec.structs.replace(ITEM, **changes),
        now=NOW,
    )


def xmlsec_accepts(folder: Path, certificate: bytes, document: bytes, signature: str) -> bool:
    """By the signature's node: xmlsec1 looks at the first one otherwise."""
    ids = ("--id-attr:ID", f"{NAMESPACES['saml']}:Assertion", "--id-attr:ID", f"{NAMESPACES['samlp']}:Response")
    key = ("--enabled-key-data", "raw-x509-cert", "--pubkey-cert-pem", write_pem(folder, "idp.crt", certificate))
    return accepts(
        "xmlsec1", "--verify", *ids, *key, "--node-xpath", signature, write(folder, "response.xml", document)
    )


def find(document: bytes, path: str) -> etree._Element:
    (element,) = etree.fromstring(document).findall(path, NAMESPACES)
    return element


@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
@pytest.mark.parametrize(("spec", "algorithm"), SAML_KEYS)
def test_xmlsec_accepts_each_signature_and_refuses_it_changed(
    tmp_path: Path, spec: str, algorithm: str, sign: Sign
) -> None:
    certified_key = signer(spec, algorithm)
    document = respond(certified_key, sign=sign)
    changed = document.replace(b">alice@example.org<", b">alicf@example.org<", 1)
    assert changed != document
    assert document.count(b"<ds:Signature ") == len(SIGNATURES[sign])
    for signature in SIGNATURES[sign]:
        assert xmlsec_accepts(tmp_path, certified_key.leaf, document, signature)
        assert not xmlsec_accepts(tmp_path, certified_key.leaf, changed, signature)


def test_xmlsec_refuses_another_keys_certificate(tmp_path: Path) -> None:
    other = certify(new_key("ECC_NIST_P256", Purpose.SAML))
    assert not xmlsec_accepts(tmp_path, other.leaf, respond(signer()), ASSERTION_SIGNATURE)


def test_a_response_alone_signed_covers_the_assertion_and_a_status_changed_breaks_it(tmp_path: Path) -> None:
    certified_key = signer()
    document = respond(certified_key, sign="response")
    changed = document.replace(b"status:Success", b"status:Failure")
    assert changed != document
    assert not xmlsec_accepts(tmp_path, certified_key.leaf, changed, RESPONSE_SIGNATURE)


@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
def test_each_signature_stands_second_and_names_its_parent(sign: Sign) -> None:
    root = etree.fromstring(respond(signer(), sign=sign))
    signatures = root.findall(".//ds:Signature", NAMESPACES)
    assert len(signatures) == len(SIGNATURES[sign])
    for signature in signatures:
        parent = signature.getparent()
        assert parent is not None
        assert parent.index(signature) == 1
        assert etree.QName(parent[0]).localname == "Issuer"
        (reference,) = signature.findall("ds:SignedInfo/ds:Reference", NAMESPACES)
        assert reference.get("URI") == f"#{parent.get('ID')}"
        transforms = [t.get("Algorithm") for t in reference.findall("ds:Transforms/ds:Transform", NAMESPACES)]
        assert transforms == [
            "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
            "http://www.w3.org/2001/10/xml-exc-c14n#",
        ]
        assert not signature.findall(".//ds:Object", NAMESPACES)
        assert not signature.attrib


def test_ids_are_unique_and_long() -> None:
    documents = [respond(signer(), sign="both") for _ in range(3)]
    identifiers = [
        found for document in documents for found in re.findall(rb' (?:ID|SessionIndex)="([^"]*)"', document)
    ]
    assert len(set(identifiers)) == len(identifiers) == 9
    assert all(re.fullmatch(rb"_[0-9a-f]{40}", identifier) for identifier in identifiers)


def test_says_what_was_asked_and_nothing_else() -> None:
    document = respond(signer(), ttl=60, session_index="session 7", authentication_context="urn:x:password")
    begin = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    end = (NOW + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    response = find(document, ".")
    assert (
        dict(response.attrib).items()
        >= {
            "Version": "2.0",
            "IssueInstant": begin,
            "Destination": RECIPIENT,
            "InResponseTo": "_request-1",
        }.items()
    )
    assert [element.text for element in response.iter("{*}Issuer")] == ["https://idp.example/metadata"] * 2
    data = find(document, "saml:Assertion/saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData")
    assert dict(data.attrib) == {"Recipient": RECIPIENT, "NotOnOrAfter": end, "InResponseTo": "_request-1"}
    name = find(document, "saml:Assertion/saml:Subject/saml:NameID")
    assert (name.text, name.get("Format")) == ("alice@example.org", f"{NAME_FORMAT}unspecified")
    conditions = find(document, "saml:Assertion/saml:Conditions")
    assert dict(conditions.attrib) == {"NotBefore": begin, "NotOnOrAfter": end}
    assert [element.text for element in conditions.iter("{*}Audience")] == [AUDIENCE]
    statement = find(document, "saml:Assertion/saml:AuthnStatement")
    assert dict(statement.attrib) == {"AuthnInstant": begin, "SessionIndex": "session 7"}
    assert [element.text for element in statement.iter("{*}AuthnContextClassRef")] == ["urn:x:password"]
    attributes = {
        element.get("Name"): [value.text or "" for value in element]
        for element in find(document, "saml:Assertion/saml:AttributeStatement")
    }
    assert attributes == {"mail": ["alice@example.org"], "urn:oid:1.2.3": ["a & <b>", "ä\nz\t\u4e2d", ""]}
    assert b"xsi:" not in document


def test_without_request_or_attributes_their_elements_are_left_out() -> None:
    document = respond(signer(), in_response_to=None, attributes=None)
    assert b"InResponseTo" not in document
    assert b"AttributeStatement" not in document


def test_a_subject_may_name_its_format() -> None:
    document = respond(signer(), subject=Subject(name_id="a@b", format=f"{NAME_FORMAT}emailAddress"))
    assert b'Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">a@b<' in document


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"audience": "https://evil.example"}, "audience"),
        ({"audience": "https://sp.example/"}, "audience"),
        ({"recipient": "https://evil.example/acs"}, "recipient"),
        ({"subject": "alice\x00"}, "subject"),
        ({"subject": "alice\n"}, "subject"),
        ({"subject": " alice"}, "subject"),
        ({"subject": "alice\u00a0"}, "subject"),
        ({"subject": "a\ufffe"}, "subject"),
        ({"subject": "a\ud800"}, "subject"),
        ({"subject": "a\x85b"}, "subject"),
        ({"subject": Subject(name_id="a\x1b")}, "subject.name_id"),
        ({"subject": Subject(name_id="a", format="no uri")}, "subject.format"),
        ({"subject": Subject(name_id="a", format="nouri")}, "subject.format"),
        ({"in_response_to": "1abc"}, "in_response_to"),
        ({"in_response_to": 'a" ID="b'}, "in_response_to"),
        ({"in_response_to": "a\n"}, "in_response_to"),
        ({"session_index": "\x0c"}, "session_index"),
        ({"authentication_context": "password"}, "authentication_context"),
        ({"attributes": {"a\x00": "b"}}, "attributes"),
        ({"attributes": {"a": "\x00"}}, "attributes.a"),
        ({"attributes": {"a": ["b", "c\r"]}}, "attributes.a"),
        ({"attributes": {str(n): "a" * 1024 for n in range(65)}}, "attributes"),
    ],
)
def test_what_the_key_or_xml_does_not_allow_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    certified_key = signer()
    before = len(certified_key.key.messages)
    with pytest.raises(Unprocessable) as refusal:
        respond(certified_key, **changes)
    assert refusal.value.field == field
    assert len(certified_key.key.messages) == before


@pytest.mark.parametrize(
    "text",
    [
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>',
        "admin<!---->x",
        "]]>",
        "&amp;&#10;&lol;",
        "<?php ?>",
        "</saml:NameID><saml:NameID>root",
    ],
)
@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
def test_markup_in_values_stays_text(tmp_path: Path, text: str, sign: Sign) -> None:
    certified_key = signer()
    document = respond(certified_key, subject=text, attributes={text: text}, session_index=text, sign=sign)
    assert find(document, "saml:Assertion/saml:Subject/saml:NameID").text == text
    attribute = find(document, "saml:Assertion/saml:AttributeStatement/saml:Attribute")
    assert (attribute.get("Name"), attribute[0].text) == (text, text)
    for signature in SIGNATURES[sign]:
        assert xmlsec_accepts(tmp_path, certified_key.leaf, document, signature)


@settings(deadline=None, max_examples=50)
@given(value=st.text(max_size=40), name=st.text(max_size=20))
def test_every_text_is_refused_or_arrives_as_it_was_sent(value: str, name: str) -> None:
    try:
        document = respond(signer(), subject=name, attributes={"a": value})
    except Unprocessable:
        return
    assert (find(document, ".//saml:AttributeValue").text or "") == value
    assert find(document, ".//saml:NameID").text == name


def test_a_certificate_of_another_key_is_refused() -> None:
    other = certify(new_key("ECC_NIST_P256", Purpose.SAML))
    with pytest.raises(ServiceUnavailable, match="nothing was signed"):
        respond(Certified(signer().key, other.chain))


@pytest.mark.parametrize("spec", ["ECC_NIST_EDWARDS25519", "RSA_2048"])
def test_algorithms_that_do_not_sign_xml_are_refused(spec: str) -> None:
    algorithm = "RSASSA_PSS_SHA_256" if spec == "RSA_2048" else None
    with pytest.raises(Unprocessable, match="does not sign SAML") as refusal:
        respond(certify(software_key(spec, Purpose.JWT, algorithm)))
    assert refusal.value.field == "algorithm"


def test_the_key_info_holds_the_certificate_given() -> None:
    certified_key = signer()
    document = respond(certified_key)
    assert base64.b64decode(find(document, ".//ds:X509Certificate").text or "") == certified_key.leaf


def test_the_signature_value_is_of_fixed_width() -> None:
    """RFC 4050 and XML Signature 1.1 section 6.4.3: r and s in the octets of the curve, zeros in front."""
    key = LyingKey(
        generate("ECC_NIST_P256"), information("ECC_NIST_P256", Purpose.SAML), lambda _: encode_dss_signature(1, 2)
    )
    value = base64.b64decode(find(respond(certify(key)), ".//ds:SignatureValue").text or "")
    assert value == (1).to_bytes(32, "big") + (2).to_bytes(32, "big")
