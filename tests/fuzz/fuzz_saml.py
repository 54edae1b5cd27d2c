"""SAML messages: the whole verification, and what comes after the signature for messages whose signature is broken."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from signxml.algorithms import SignatureMethod

from tests.verifier import pki
from tests.verifier.saml_builder import AUDIENCE, ISSUER, RECIPIENT, REQUEST, Signing, build, identity
from verifier.errors import VerificationError
from verifier.saml import claims, verify_saml
from verifier.saml.signatures import ASSERTION, find_signed_places
from verifier.saml.xml import Node, parse_xml

NAME = "saml"
IDP = identity("p256")
EXPECTED = claims.Expectations(AUDIENCE, RECIPIENT, ISSUER, REQUEST, pki.NOW, timedelta(0))


def seeds() -> list[bytes]:
    """Each way to sign a message, by one P-256 key."""
    signing = Signing(IDP, SignatureMethod.ECDSA_SHA256)
    return [build(sign=part, signing=signing) for part in ("assertion", "response", "both", "bare", "nothing")]


def one(data: bytes) -> None:
    """Every step by itself: the one before it would seldom let damaged input through."""
    with contextlib.suppress(VerificationError):
        verify_saml(
            data,
            certificates=(IDP.certificate,),
            audience=AUDIENCE,
            recipient=RECIPIENT,
            issuer=ISSUER,
            in_response_to=REQUEST,
            now=pki.NOW,
        )
    try:
        message = parse_xml(data)
    except VerificationError:
        return
    with contextlib.suppress(VerificationError):
        find_signed_places(message)
    _read_claims(message)


def _read_claims(message: Node) -> None:
    for node in message.walk():
        if not node.is_a(ASSERTION, "Assertion"):
            continue
        for check in (
            lambda each: claims.check_envelope(each, EXPECTED),
            lambda each: claims.check_issuer(each, ISSUER),
            claims.check_children,
            lambda each: claims.check_conditions(each, EXPECTED),
            lambda each: claims.check_subject(each, EXPECTED),
            lambda each: claims.read_authentication(each, EXPECTED),
            claims.read_attributes,
        ):
            with contextlib.suppress(VerificationError):
                check(node)
    with contextlib.suppress(VerificationError):
        claims.check_response(message, ISSUER, EXPECTED, signed=True)
