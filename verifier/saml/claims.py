"""What a signed assertion says, and whether it says it to this recipient, now (SAML core 2.5, SAML profiles 4.1.4).

Reads verified elements and nothing else. Every required element must be there exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from verifier.errors import Indeterminate, Rejected
from verifier.saml.form import DSIG
from verifier.saml.signatures import ASSERTION, PROTOCOL
from verifier.saml.xml import WHITE_SPACE
from verifier.times import format_time, parse_time

if TYPE_CHECKING:
    from verifier.saml.xml import Node

BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
ENTITY: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"

_ASSERTION_CHILDREN: Final = frozenset({"Issuer", "Subject", "Conditions", "AuthnStatement", "AttributeStatement"})
_ASSERTION_ATTRIBUTES: Final = frozenset({"ID", "Version", "IssueInstant"})
_RESPONSE_ATTRIBUTES: Final = _ASSERTION_ATTRIBUTES | {"Destination", "InResponseTo", "Consent"}


@dataclass(frozen=True, slots=True)
class Expectations:
    """What the caller expects. `issuer` and `in_response_to` None: not compared."""

    audience: str
    recipient: str
    issuer: str | None
    in_response_to: str | None
    now: datetime
    leeway: timedelta


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when something holds; None where it does not say."""

    not_before: datetime | None
    not_on_or_after: datetime | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The bearer confirmation that was accepted."""

    in_response_to: str | None
    not_on_or_after: datetime


@dataclass(frozen=True, slots=True)
class Authentication:
    """The authentication statement, if there is one."""

    authenticated_at: datetime | None
    session_index: str | None


def only(parent: Node, namespace: str, name: str) -> Node:
    """The one child with this name."""
    found = parent.all(namespace, name)
    if len(found) != 1:
        raise Rejected("malformed", f"The {parent.name} must hold exactly one {name}.")
    return found[0]


def leaf_text(node: Node) -> str:
    """The text of an element without children. It must not be empty."""
    if node.children or not node.text.strip():
        raise Rejected("malformed", f"The {node.name} must hold a text and nothing else.")
    return node.text


def attribute(node: Node, name: str) -> str:
    """A required attribute."""
    if not node.attributes.get(name):
        raise Rejected("malformed", f"The {node.name} lacks its attribute {name}.")
    return node.attributes[name]


def moment(node: Node, name: str) -> datetime | None:
    """An optional time (SAML core section 1.3.3: UTC)."""
    if name not in node.attributes:
        return None
    try:
        return parse_time(node.attributes[name])
    except ValueError as error:
        raise Rejected("malformed", f"The {node.name}'s {name} is not a time in UTC.") from error


def check_envelope(element: Node, expected: Expectations) -> datetime:
    """Version, and a time of issue that is not in the future. Returns that time."""
    attribute(element, "ID")
    if element.attributes.get("Version") != "2.0":
        raise Rejected("malformed", f"The {element.name} is not of SAML version 2.0.")
    issued_at = moment(element, "IssueInstant")
    if issued_at is None:
        raise Rejected("malformed", f"The {element.name} does not say when it was issued.")
    _check_window(element.name, Validity(issued_at, None), expected)
    return issued_at


def check_issuer(element: Node, expected: str | None) -> str:
    """The issuer, which must be the expected one."""
    issuer = only(element, ASSERTION, "Issuer")
    if issuer.attributes.get("Format", ENTITY) != ENTITY:
        raise Rejected("malformed", "The issuer is not named by an entity id.")
    found = leaf_text(issuer)
    if expected is not None and found != expected:
        raise Rejected("issuer_mismatch", f"The {element.name} is from {found!r}, not from {expected!r}.")
    return found


def check_response(response: Node, assertion_issuer: str, expected: Expectations, *, signed: bool) -> None:
    """Form, status, issuer, destination and the request answered. SAML core section 3.2.2.

    An unsigned response may say nothing that is not read here: it is where wrapped elements hide.
    """
    check_envelope(response, expected)
    _check_response_form(response)
    if response.all(ASSERTION, "Issuer"):
        check_issuer(response, assertion_issuer)
    code = only(only(response, PROTOCOL, "Status"), PROTOCOL, "StatusCode")
    if code.attributes.get("Value") != SUCCESS:
        raise Rejected("status_not_success", "The response does not report success.")
    # SAML bindings section 3.5.5.2: a signed message must say where it is to go.
    if response.attributes.get("Destination", None if signed else expected.recipient) != expected.recipient:
        raise Rejected("recipient_mismatch", "The response is addressed to another recipient.")
    _check_in_response_to(response, expected)


def _check_response_form(response: Node) -> None:
    """Issuer, Signature, Status and Assertion in this order, the first two optional, and no Extensions."""
    found = [(child.namespace, child.name) for child in response.children]
    wanted = [(ASSERTION, "Issuer"), (DSIG, "Signature"), (PROTOCOL, "Status"), (ASSERTION, "Assertion")]
    status = only(response, PROTOCOL, "Status")
    code = only(status, PROTOCOL, "StatusCode")
    if found != [each for each in wanted if each in found] or not response.attributes.keys() <= _RESPONSE_ATTRIBUTES:
        raise Rejected("malformed", "The response holds something besides its issuer, signature, status and assertion.")
    if code.children or status.attributes or len(status.children) != 1 or code.attributes.keys() != {"Value"}:
        raise Rejected("malformed", "The response's status holds something besides its code.")
    if any(node.text.strip(WHITE_SPACE) for node in (response, status, code)):
        raise Rejected("malformed", "The response holds text between its elements.")


def check_children(assertion: Node) -> None:
    """Nothing in the assertion that this package does not read: what is not understood must not be skipped."""
    if not assertion.attributes.keys() <= _ASSERTION_ATTRIBUTES or assertion.text.strip(WHITE_SPACE):
        raise Rejected("malformed", "The assertion has text between its elements, or attributes that are not read.")
    for child in assertion.children:
        known = child.is_a(DSIG, "Signature") or (child.namespace == ASSERTION and child.name in _ASSERTION_CHILDREN)
        if not known:
            raise Rejected("malformed", f"The assertion holds a {child.name}, which is not read.")


def check_conditions(assertion: Node, expected: Expectations) -> tuple[Validity, tuple[str, ...], bool]:
    """Times, audiences, and whether the assertion is for one use. SAML core section 2.5.1."""
    conditions = only(assertion, ASSERTION, "Conditions")
    for condition in conditions.children:
        if condition.namespace != ASSERTION or condition.name not in (
            "AudienceRestriction",
            "OneTimeUse",
            "ProxyRestriction",
        ):
            # Section 2.5.1.1: an assertion with a condition that is not understood is neither valid nor invalid.
            raise Indeterminate("unknown_condition", f"The assertion has an unknown condition {condition.name}.")
    validity = Validity(moment(conditions, "NotBefore"), moment(conditions, "NotOnOrAfter"))
    _check_window("assertion", validity, expected)
    restrictions = conditions.all(ASSERTION, "AudienceRestriction")
    if not restrictions:
        raise Rejected("missing_claim", "The assertion does not say whom it is for.")
    if any(not each.is_a(ASSERTION, "Audience") for restriction in restrictions for each in restriction.children):
        raise Rejected("malformed", "An audience restriction holds something besides audiences.")
    audiences = [
        tuple(leaf_text(audience) for audience in restriction.all(ASSERTION, "Audience"))
        for restriction in restrictions
    ]
    if not all(expected.audience in each for each in audiences):
        raise Rejected("audience_mismatch", f"The assertion is not for {expected.audience!r}.")
    return validity, tuple(dict.fromkeys(sum(audiences, ()))), bool(conditions.all(ASSERTION, "OneTimeUse"))


def check_subject(assertion: Node, expected: Expectations) -> tuple[Node, Confirmation]:
    """The NameID, confirmed for a bearer who came to this recipient in time. SAML profiles section 4.1.4.2."""
    subject = only(assertion, ASSERTION, "Subject")
    name_id = only(subject, ASSERTION, "NameID")
    confirmation = only(subject, ASSERTION, "SubjectConfirmation")
    if len(subject.children) != 2 or len(confirmation.children) != 1:
        raise Rejected("malformed", "The subject holds something besides its NameID and one bearer confirmation.")
    if confirmation.attributes.get("Method") != BEARER:
        raise Rejected("malformed", "The subject is not confirmed by bearer.")
    data = only(confirmation, ASSERTION, "SubjectConfirmationData")
    if attribute(data, "Recipient") != expected.recipient:
        raise Rejected("recipient_mismatch", "The assertion is for another recipient.")
    if data.children or data.text.strip(WHITE_SPACE):
        raise Rejected("malformed", "The bearer confirmation holds something, such as a key, that is not read.")
    not_on_or_after = moment(data, "NotOnOrAfter")
    if not_on_or_after is None or "NotBefore" in data.attributes:
        raise Rejected("malformed", "The bearer confirmation must say until when it holds, and not from when.")
    _check_window("bearer confirmation", Validity(None, not_on_or_after), expected)
    _check_in_response_to(data, expected)
    leaf_text(name_id)
    return name_id, Confirmation(data.attributes.get("InResponseTo"), not_on_or_after)


def read_authentication(assertion: Node, expected: Expectations) -> Authentication:
    """The time and session of at most one authentication statement, whose session must not have ended."""
    statements = assertion.all(ASSERTION, "AuthnStatement")
    if not statements:
        return Authentication(None, None)
    statement = only(assertion, ASSERTION, "AuthnStatement")
    _check_window("session", Validity(None, moment(statement, "SessionNotOnOrAfter")), expected)
    return Authentication(moment(statement, "AuthnInstant"), statement.attributes.get("SessionIndex"))


def read_attributes(assertion: Node) -> dict[str, tuple[str, ...]]:
    """Attribute values by name. A name that stands twice, or a value that is not a text, is refused."""
    attributes: dict[str, tuple[str, ...]] = {}
    for statement in assertion.all(ASSERTION, "AttributeStatement"):
        for entry in statement.children:
            name = attribute(entry, "Name")
            if not entry.is_a(ASSERTION, "Attribute") or name in attributes:
                raise Rejected("malformed", "The assertion's attributes are not distinct plain attributes.")
            if any(not value.is_a(ASSERTION, "AttributeValue") or value.children for value in entry.children):
                raise Rejected("malformed", "An attribute of the assertion has a value that is not a text.")
            attributes[name] = tuple(value.text for value in entry.children)
    return attributes


def _check_window(what: str, validity: Validity, expected: Expectations) -> None:
    if validity.not_before is not None and expected.now < validity.not_before - expected.leeway:
        raise Rejected("not_yet_valid", f"The {what} is valid from {format_time(validity.not_before)} only.")
    if validity.not_on_or_after is not None and expected.now >= validity.not_on_or_after + expected.leeway:
        raise Rejected("expired", f"The {what} expired at {format_time(validity.not_on_or_after)}.")


def _check_in_response_to(element: Node, expected: Expectations) -> None:
    if expected.in_response_to is not None and element.attributes.get("InResponseTo") != expected.in_response_to:
        raise Rejected("in_response_to_mismatch", f"The {element.name} does not answer the request it should.")
