"""SAML 2.0 metadata of an identity provider: its entity id and the certificates that its assertions are signed with.

Signed with a key of the provider itself, and good until a time that it names. Sealmark signs for an identity provider
and has no login page: `sign_on_url` is where that provider sends browsers; the schema demands one, and the entity id
stands there when it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lxml import etree

from signer.formats import assertion, publickey, xmlsignature, xmltext

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import SigningKey

METADATA_NAMESPACE: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
CONTENT_TYPE: Final = "application/samlmetadata+xml"  # SAML 2.0 metadata appendix A
_POST: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_UNSPECIFIED_NAME: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
_FIRST: Final = 0  # the schema has the signature before everything else (SAML 2.0 metadata section 2.3.2)


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """What the metadata say. `certificates` is one DER certificate for each key version that signs, will sign, or whose
    signatures still count."""

    entity_id: str
    certificates: tuple[bytes, ...]
    sign_on_url: str | None = None


def signed(
    key: SigningKey,
    certificate: bytes,
    provider: IdentityProvider,
    *,
    identifier: str,
    valid_until: datetime,
    cache_seconds: int,
) -> bytes:
    """A signed EntityDescriptor with one IDPSSODescriptor (SAML 2.0 metadata 2.3.2, 2.4.3), UTF-8 with a declaration.

    `certificate` is the signing key's own, DER; `identifier` an XML id; `valid_until` is when the document ends, and
    `cache_seconds` how long a reader may go without fetching it again.
    Raises: `Unprocessable` for what XML cannot carry; `ServiceUnavailable` for a certificate that is not the key's;
    `HsmFault` if what was made does not verify; and what `SigningKey.sign` raises.
    """
    publickey.require_certified(key, certificate)
    entity = _entity(provider)
    entity.set("validUntil", assertion.instant(valid_until))
    entity.set("cacheDuration", f"PT{cache_seconds}S")
    entity.set("ID", identifier)
    element = xmlsignature.signed(key, certificate, entity, position=_FIRST)
    document: bytes = etree.tostring(element, xml_declaration=True, encoding="UTF-8")
    xmlsignature.require_signed(document, certificate, key)
    return document


def _entity(provider: IdentityProvider) -> etree._Element:
    entity = etree.Element(
        _metadata("EntityDescriptor"),
        {"entityID": xmltext.line(provider.entity_id, "entity_id")},
        nsmap={"md": METADATA_NAMESPACE, "ds": xmlsignature.SIGNATURE_NAMESPACE},
    )
    role = etree.SubElement(
        entity,
        _metadata("IDPSSODescriptor"),
        {"WantAuthnRequestsSigned": "false", "protocolSupportEnumeration": assertion.PROTOCOL_NAMESPACE},
    )
    for certificate in dict.fromkeys(provider.certificates):
        descriptor = etree.SubElement(role, _metadata("KeyDescriptor"), {"use": "signing"})
        descriptor.append(xmlsignature.key_info(certificate))
    etree.SubElement(role, _metadata("NameIDFormat")).text = _UNSPECIFIED_NAME
    location = xmltext.line(provider.sign_on_url or provider.entity_id, "sign_on_url")
    etree.SubElement(role, _metadata("SingleSignOnService"), {"Binding": _POST, "Location": location})
    return entity


def _metadata(name: str) -> str:
    return f"{{{METADATA_NAMESPACE}}}{name}"
