"""Metadata of an identity provider: entity id, one descriptor for each certificate, elements in the schema's order."""

from __future__ import annotations

import base64

import pytest
from lxml import etree

from keystore.algorithms import Purpose
from signer.errors import Unprocessable
from signer.formats import metadata
from tests.signer.formats.support import certified

NAMESPACES = {
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}


def test_lists_each_certificate_once() -> None:
    first, second = (certified(spec, Purpose.SAML).leaf for spec in ("RSA_2048", "ECC_NIST_P256"))
    root = etree.fromstring(metadata.identity_provider("https://idp.example/a&b", [first, second, first]))
    assert etree.QName(root).localname == "EntityDescriptor"
    assert root.get("entityID") == "https://idp.example/a&b"
    (provider,) = root
    assert provider.get("protocolSupportEnumeration") == "urn:oasis:names:tc:SAML:2.0:protocol"
    order = [etree.QName(element).localname for element in provider]
    assert order == ["KeyDescriptor", "KeyDescriptor", "NameIDFormat", "SingleSignOnService"]
    shown = provider.iterfind(".//ds:X509Certificate", NAMESPACES)
    certificates = [base64.b64decode(element.text or "") for element in shown]
    assert certificates == [first, second]
    assert {element.get("use") for element in provider.findall("md:KeyDescriptor", NAMESPACES)} == {"signing"}


LOGIN = "https://login.example"


@pytest.mark.parametrize(("given", "shown"), [(None, "https://idp.example"), (LOGIN, LOGIN)])
def test_names_where_browsers_go(given: str | None, shown: str) -> None:
    root = etree.fromstring(metadata.identity_provider("https://idp.example", [], sign_on_url=given))
    (service,) = root.findall(".//md:SingleSignOnService", NAMESPACES)
    assert service.get("Location") == shown


def test_an_entity_id_that_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(Unprocessable) as refusal:
        metadata.identity_provider("https://idp\x00", [])
    assert refusal.value.field == "entity_id"
