"""SAML 2.0 metadata of an identity provider: its entity id and the certificates that its assertions are signed with.

Unsigned. Sealmark signs for an identity provider and has no login page: `sign_on_url` is where that provider sends
browsers; the schema demands one, and the entity id stands there when it is not known.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from lxml import etree

from signer.formats import assertion, xmltext

if TYPE_CHECKING:
    from collections.abc import Iterable

METADATA_NAMESPACE: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
CONTENT_TYPE: Final = "application/samlmetadata+xml"  # SAML 2.0 metadata appendix A
_POST: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_UNSPECIFIED_NAME: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"


def _metadata(name: str) -> str:
    return f"{{{METADATA_NAMESPACE}}}{name}"


def identity_provider(entity_id: str, certificates: Iterable[bytes], *, sign_on_url: str | None = None) -> bytes:
    """An EntityDescriptor with one IDPSSODescriptor (SAML 2.0 metadata 2.3.2, 2.4.3), UTF-8 with a declaration.

    `certificates` is one DER certificate for each key version that signs, will sign, or whose signatures still count.
    Raises: `Unprocessable` for an entity id that XML cannot carry.
    """
    entity = etree.Element(
        _metadata("EntityDescriptor"),
        {"entityID": xmltext.line(entity_id, "entity_id")},
        nsmap={"md": METADATA_NAMESPACE, "ds": assertion.SIGNATURE_NAMESPACE},
    )
    provider = etree.SubElement(
        entity,
        _metadata("IDPSSODescriptor"),
        {"WantAuthnRequestsSigned": "false", "protocolSupportEnumeration": assertion.PROTOCOL_NAMESPACE},
    )
    for certificate in dict.fromkeys(certificates):
        _key_descriptor(provider, certificate)
    etree.SubElement(provider, _metadata("NameIDFormat")).text = _UNSPECIFIED_NAME
    location = xmltext.line(sign_on_url or entity_id, "sign_on_url")
    etree.SubElement(provider, _metadata("SingleSignOnService"), {"Binding": _POST, "Location": location})
    return etree.tostring(entity, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _key_descriptor(provider: etree._Element, certificate: bytes) -> None:
    namespace = assertion.SIGNATURE_NAMESPACE
    descriptor = etree.SubElement(provider, _metadata("KeyDescriptor"), {"use": "signing"})
    key_info = etree.SubElement(descriptor, f"{{{namespace}}}KeyInfo")
    data = etree.SubElement(key_info, f"{{{namespace}}}X509Data")
    etree.SubElement(data, f"{{{namespace}}}X509Certificate").text = base64.b64encode(certificate).decode("ascii")
