"""Metadata of an identity provider: what they say, in the schema's order, and the signature that stock tools judge."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from keystore.algorithms import Purpose
from keystore.errors import HsmFault
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import metadata, xmlsignature
from tests.signer.formats.support import NOW, Certified, accepts, certified, flipped, write, write_pem
from tests.software_key import LyingKey, new_key

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACES = {
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
ENTITY_ID = "https://idp.example/a&b"


def signer() -> Certified:
    return certified("ECC_NIST_P256", Purpose.SAML)


def signed(by: Certified, *certificates: bytes, entity_id: str = ENTITY_ID, sign_on_url: str | None = None) -> bytes:
    provider = metadata.IdentityProvider(entity_id, certificates or (by.leaf,), sign_on_url)
    return metadata.signed(
        by.key,
        by.leaf,
        provider,
        identifier="_made",
        valid_until=NOW.replace(microsecond=0) + timedelta(days=7),
        cache_seconds=300,
    )


def test_lists_each_certificate_once_and_says_how_long_it_is_good() -> None:
    first, second = (certified(spec, Purpose.SAML).leaf for spec in ("RSA_2048", "ECC_NIST_P256"))
    root = etree.fromstring(signed(signer(), first, second, first))
    assert etree.QName(root).localname == "EntityDescriptor"
    assert dict(root.attrib) == {
        "entityID": ENTITY_ID,
        "ID": "_made",
        "validUntil": (NOW + timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cacheDuration": "PT300S",
    }
    signature, provider = root  # the schema has the signature first
    assert signature.tag == "{http://www.w3.org/2000/09/xmldsig#}Signature"
    assert provider.get("protocolSupportEnumeration") == "urn:oasis:names:tc:SAML:2.0:protocol"
    order = [etree.QName(element).localname for element in provider]
    assert order == ["KeyDescriptor", "KeyDescriptor", "NameIDFormat", "SingleSignOnService"]
    shown = provider.iterfind(".//ds:X509Certificate", NAMESPACES)
    assert [base64.b64decode(element.text or "") for element in shown] == [first, second]
    assert {element.get("use") for element in provider.findall("md:KeyDescriptor", NAMESPACES)} == {"signing"}


def test_the_signature_is_of_the_kind_that_assertions_have() -> None:
    root = etree.fromstring(signed(signer()))
    info = root.find("ds:Signature/ds:SignedInfo", NAMESPACES)
    assert info is not None
    exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
    assert info.find("ds:CanonicalizationMethod", NAMESPACES).get("Algorithm") == exclusive  # type: ignore[union-attr]
    (reference,) = info.findall("ds:Reference", NAMESPACES)
    assert reference.get("URI") == "#_made"
    transforms = [step.get("Algorithm") for step in reference.iterfind("ds:Transforms/ds:Transform", NAMESPACES)]
    assert transforms == ["http://www.w3.org/2000/09/xmldsig#enveloped-signature", exclusive]


LOGIN = "https://login.example"


@pytest.mark.parametrize(("given", "shown"), [(None, ENTITY_ID), (LOGIN, LOGIN)])
def test_names_where_browsers_go(given: str | None, shown: str) -> None:
    root = etree.fromstring(signed(signer(), sign_on_url=given))
    (service,) = root.findall(".//md:SingleSignOnService", NAMESPACES)
    assert service.get("Location") == shown


def xmlsec1_accepts(document: Path, certificate: Path) -> bool:
    ids = ("--id-attr:ID", f"{NAMESPACES['md']}:EntityDescriptor")
    keys = ("--enabled-key-data", "raw-x509-cert", "--pubkey-cert-pem", certificate)
    return accepts("xmlsec1", "--verify", *ids, *keys, document)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384"])
def test_xmlsec1_accepts_them_and_refuses_them_changed(tmp_path: Path, spec: str) -> None:
    by = certified(spec, Purpose.SAML)
    document = signed(by)
    certificate = write_pem(tmp_path, "idp.crt", by.leaf)
    assert xmlsec1_accepts(write(tmp_path, "metadata.xml", document), certificate)
    for covered in (b"a&amp;b", b"validUntil", b"PT300S", b"signing"):
        changed = flipped(document, document.rindex(covered) + len(covered) - 1)
        assert not xmlsec1_accepts(write(tmp_path, "changed.xml", changed), certificate)
    stranger = write_pem(tmp_path, "other.crt", certified("ECC_NIST_P384", Purpose.SAML, None).leaf)
    assert xmlsec1_accepts(tmp_path / "metadata.xml", stranger) == (spec == "ECC_NIST_P384")


def test_what_was_made_is_read_back_before_it_is_given_out() -> None:
    by = signer()
    document = signed(by)
    xmlsignature.require_signed(document, by.leaf, by.key)
    for covered in (b"a&amp;b", b"PT300S"):
        changed = flipped(document, document.rindex(covered) + len(covered) - 1)
        with pytest.raises(HsmFault):
            xmlsignature.require_signed(changed, by.leaf, by.key)
    with pytest.raises(HsmFault):
        xmlsignature.require_signed(document, certified("ECC_NIST_P384", Purpose.SAML).leaf, by.key)


def test_an_entity_id_that_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(Unprocessable) as refusal:
        signed(signer(), entity_id="https://idp\x00")
    assert refusal.value.field == "entity_id"


def test_a_signature_that_does_not_verify_is_never_given_out() -> None:
    honest = certified("ECC_NIST_P256", Purpose.SAML)
    other = new_key("ECC_NIST_P256", Purpose.SAML)
    for lie in (lambda signature: flipped(signature, len(signature) - 1), lambda _: other.sign(b"something else")):
        liar = LyingKey(honest.key.private_key, honest.key.info, lie)
        with pytest.raises(HsmFault):
            signed(Certified(liar, honest.chain))


def test_a_certificate_of_another_key_is_refused() -> None:
    by, other = signer(), certified("ECC_NIST_P384", Purpose.SAML)
    with pytest.raises(ServiceUnavailable):
        signed(Certified(by.key, other.chain))
