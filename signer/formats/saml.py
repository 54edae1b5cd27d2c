"""SAML 2.0 responses holding one assertion: the assertion is signed, or the response, or both.

The Issuer is the key's entity id; audience and recipient are picked out of the key's lists. Signatures are enveloped,
right after Issuer, with exclusive canonicalisation 1.0 always named, by signxml with the key in the HSM's shape. It
makes no login pages, no requests, no logout and no encrypted assertions.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from lxml import etree

from signer.errors import Unprocessable
from signer.formats import assertion as elements
from signer.formats import publickey, xmlsignature, xmltext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from keystore.api import AssertionSettings, SigningKey
    from signer.request import AssertionItem

_UNSPECIFIED_NAME: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
_UNSPECIFIED_CONTEXT: Final = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
_AFTER_ISSUER: Final = 1  # where the schema has the signature
MAXIMUM_ATTRIBUTE_CHARACTERS: Final = 64 * 1024


def new_identifier() -> str:
    """An XML id with 160 random bits (SAML 2.0 core section 1.3.4 asks for 128 or more)."""
    return f"_{secrets.token_hex(20)}"


def respond(
    key: SigningKey,
    *,
    certificate: bytes,
    entity_id: str,
    settings: AssertionSettings,
    item: AssertionItem,
    now: datetime,
    id_factory: Callable[[], str] = new_identifier,
) -> bytes:
    """A Response in UTF-8 with an XML declaration. `certificate` is the key's own, DER; it goes into KeyInfo.

    Raises: `Unprocessable` naming the member for what the key's settings do not allow or XML cannot carry;
    `ServiceUnavailable` for a certificate that is not the key's; and what `SigningKey.sign` raises.
    """
    publickey.require_certified(key, certificate)
    statement = _statement(entity_id, settings, item, now, id_factory)
    assertion = elements.assertion_element(statement, id_factory())
    if item.sign in {"assertion", "both"}:
        assertion = xmlsignature.signed(key, certificate, assertion, position=_AFTER_ISSUER)
    response = elements.response_element(statement, id_factory(), assertion)
    if item.sign in {"response", "both"}:
        response = xmlsignature.signed(key, certificate, response, position=_AFTER_ISSUER)
    return etree.tostring(response, xml_declaration=True, encoding="UTF-8")


def _statement(
    entity_id: str,
    settings: AssertionSettings,
    item: AssertionItem,
    now: datetime,
    id_factory: Callable[[], str],
) -> elements.Statement:
    """What the request asks for, within what the key may say."""
    if isinstance(item.subject, str):
        name_id, name_id_format = xmltext.line(item.subject, "subject"), _UNSPECIFIED_NAME
    else:
        name_id = xmltext.line(item.subject.name_id, "subject.name_id")
        name_id_format = xmltext.uri(item.subject.format or _UNSPECIFIED_NAME, "subject.format")
    answered = item.in_response_to
    session = item.session_index
    context = item.authentication_context or _UNSPECIFIED_CONTEXT
    return elements.Statement(
        entity_id=xmltext.line(entity_id, "issuer"),
        name_id=name_id,
        name_id_format=name_id_format,
        audience=_listed(item.audience, settings.audiences, "audience"),
        recipient=_listed(item.recipient, settings.recipients, "recipient"),
        in_response_to=None if answered is None else xmltext.identifier(answered, "in_response_to"),
        attributes=_attributes(item.attributes or {}),
        authentication_context=xmltext.uri(context, "authentication_context"),
        session_index=id_factory() if session is None else xmltext.line(session, "session_index"),
        issued_at=now,
        lifetime=timedelta(seconds=item.ttl),
    )


def _listed(asked: str, allowed: tuple[str, ...], field: str) -> str:
    if asked not in allowed:
        message = f"`{field}` is not among the key's {field}s"
        raise Unprocessable(message, field=field)
    return xmltext.line(asked, field)


def _attributes(asked: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    attributes: dict[str, tuple[str, ...]] = {}
    for name, given in asked.items():
        field = f"attributes.{name}"
        values = (given,) if isinstance(given, str) else tuple(given)
        attributes[xmltext.line(name, "attributes")] = tuple(xmltext.paragraph(value, field) for value in values)
    if sum(len(value) for values in attributes.values() for value in values) > MAXIMUM_ATTRIBUTE_CHARACTERS:
        message = f"the attributes' values hold more than {MAXIMUM_ATTRIBUTE_CHARACTERS} characters"
        raise Unprocessable(message, field="attributes")
    return attributes
