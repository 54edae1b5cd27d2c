"""The elements of a SAML 2.0 response and its assertion, unsigned, from values that were checked.

Built from data alone: nothing that a caller sent is parsed as XML. Elements stand in the order of the schema, values
are plain text without `xsi:type` (a QName in content would break exclusive canonicalisation). Signing is `saml.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Mapping

ASSERTION_NAMESPACE: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL_NAMESPACE: Final = "urn:oasis:names:tc:SAML:2.0:protocol"

_BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
_NAME_IS_URI: Final = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
_NAME_IS_UNSPECIFIED: Final = "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"


@dataclass(frozen=True, slots=True)
class Statement:
    """All that one assertion says (SAML 2.0 core section 2), and whom the response around it answers."""

    entity_id: str
    name_id: str
    name_id_format: str
    audience: str
    recipient: str
    in_response_to: str | None
    attributes: Mapping[str, tuple[str, ...]]
    authentication_context: str
    session_index: str
    issued_at: datetime
    lifetime: timedelta


def instant(moment: datetime) -> str:
    """xs:dateTime in UTC, whole seconds (SAML 2.0 core section 1.3.3)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _saml(name: str) -> str:
    return f"{{{ASSERTION_NAMESPACE}}}{name}"


def _child(parent: etree._Element, name: str, attributes: Mapping[str, str], text: str | None = None) -> etree._Element:
    element = etree.SubElement(parent, _saml(name), dict(attributes))
    element.text = text
    return element


def assertion_element(statement: Statement, identifier: str) -> etree._Element:
    """The Assertion, as the root of a document of its own."""
    issued_at = instant(statement.issued_at)
    expires_at = instant(statement.issued_at + statement.lifetime)
    assertion = etree.Element(
        _saml("Assertion"),
        {"Version": "2.0", "ID": identifier, "IssueInstant": issued_at},
        nsmap={"saml": ASSERTION_NAMESPACE},
    )
    _child(assertion, "Issuer", {}, statement.entity_id)
    _subject(assertion, statement, expires_at)
    conditions = _child(assertion, "Conditions", {"NotBefore": issued_at, "NotOnOrAfter": expires_at})
    _child(_child(conditions, "AudienceRestriction", {}), "Audience", {}, statement.audience)
    authentication = _child(
        assertion, "AuthnStatement", {"AuthnInstant": issued_at, "SessionIndex": statement.session_index}
    )
    context = _child(authentication, "AuthnContext", {})
    _child(context, "AuthnContextClassRef", {}, statement.authentication_context)
    _attributes(assertion, statement)
    return assertion


def _subject(assertion: etree._Element, statement: Statement, expires_at: str) -> None:
    """Subject with one bearer confirmation (SAML 2.0 profiles section 4.1.4.2)."""
    subject = _child(assertion, "Subject", {})
    _child(subject, "NameID", {"Format": statement.name_id_format}, statement.name_id)
    confirmation = _child(subject, "SubjectConfirmation", {"Method": _BEARER})
    data = {"Recipient": statement.recipient, "NotOnOrAfter": expires_at}
    if statement.in_response_to is not None:
        data["InResponseTo"] = statement.in_response_to
    _child(confirmation, "SubjectConfirmationData", data)


def _attributes(assertion: etree._Element, statement: Statement) -> None:
    if not statement.attributes:  # an AttributeStatement has at least one Attribute
        return
    container = _child(assertion, "AttributeStatement", {})
    for name, values in statement.attributes.items():
        name_format = _NAME_IS_URI if name.startswith(("urn:", "http:", "https:")) else _NAME_IS_UNSPECIFIED
        attribute = _child(container, "Attribute", {"Name": name, "NameFormat": name_format})
        for value in values:
            _child(attribute, "AttributeValue", {}, value)


def response_element(statement: Statement, identifier: str, assertion: etree._Element) -> etree._Element:
    """The Response holding `assertion` (SAML 2.0 core section 3.3.3), status Success."""
    attributes = {
        "Version": "2.0",
        "ID": identifier,
        "IssueInstant": instant(statement.issued_at),
        "Destination": statement.recipient,
    }
    if statement.in_response_to is not None:
        attributes["InResponseTo"] = statement.in_response_to
    response = etree.Element(
        f"{{{PROTOCOL_NAMESPACE}}}Response",
        attributes,
        nsmap={"samlp": PROTOCOL_NAMESPACE, "saml": ASSERTION_NAMESPACE},
    )
    _child(response, "Issuer", {}, statement.entity_id)
    status = etree.SubElement(response, f"{{{PROTOCOL_NAMESPACE}}}Status")
    etree.SubElement(status, f"{{{PROTOCOL_NAMESPACE}}}StatusCode", {"Value": _SUCCESS})
    response.append(assertion)
    return response
