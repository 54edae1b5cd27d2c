"""Which parts of a SAML message are signed, by whom, and with what: the answer is the signed elements themselves.

The form is checked first, so strictly that signxml meets one shape of signature only. What is returned is read from the
bytes that signxml digested, never from the message (the defence against signature wrapping).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final, Literal

from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.verifier import SignatureConfiguration, XMLVerifier

from verifier.algorithms import ALGORITHMS, SignatureAlgorithm
from verifier.errors import Indeterminate, Rejected
from verifier.saml.xml import Node, new_parser, parse_xml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

ASSERTION: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
ENVELOPED: Final = f"{DSIG}enveloped-signature"
EXCLUSIVE_C14N: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"

SIGNATURE_ALGORITHMS: Final = tuple(
    ALGORITHMS[name]
    for name in (
        "RSASSA_PKCS1_V1_5_SHA_256",
        "RSASSA_PKCS1_V1_5_SHA_512",
        "ECDSA_SHA_256",
        "ECDSA_SHA_384",
        "ECDSA_SHA_512",
    )
)
_BY_URI: Final = {row.xml_signature: row for row in SIGNATURE_ALGORITHMS}
_DIGEST_URIS: Final = (
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
)
_LOCATIONS: Final = {"response": "./", "root-assertion": "./", "assertion": f"./{{{ASSERTION}}}Assertion/"}

Part = Literal["assertion", "response"]


@dataclass(frozen=True, slots=True)
class SignedPlace:
    """An element of the message that carries a signature of itself, in the strict form, not verified yet."""

    part: Part
    identifier: str
    algorithm: SignatureAlgorithm
    location: str  # where signxml is to look for the signature, from the root


def find_signed_places(root: Node) -> tuple[SignedPlace, ...]:
    """The one or two signed elements, the response first. Rejected if anything is where it must not be."""
    _check_shape(root)
    is_response = root.is_a(PROTOCOL, "Response")
    assertion = root.all(ASSERTION, "Assertion")[0] if is_response else root
    holders: list[tuple[Part, Node, str]] = [
        ("assertion", assertion, _LOCATIONS["assertion" if is_response else "root-assertion"])
    ]
    if is_response:
        holders.insert(0, ("response", root, _LOCATIONS["response"]))
    places = tuple(
        SignedPlace(part, _identifier(holder), _check_signature_form(holder), location)
        for part, holder, location in holders
        if holder.all(DSIG, "Signature")
    )
    if not places:
        raise Rejected("signature_invalid", "The message is not signed.")
    if len(places) != sum(node.name == "Signature" for node in root.walk()):
        raise Rejected("malformed", "The message has a signature in a place where none belongs.")
    return places


def _identifier(holder: Node) -> str:
    if "ID" not in holder.attributes:
        raise Rejected("malformed", f"The signed {holder.name} lacks its attribute ID.")
    return holder.attributes["ID"]


def _check_shape(root: Node) -> None:
    """One Response or Assertion as the root, and exactly one Assertion, in its place."""
    if not root.is_a(PROTOCOL, "Response") and not root.is_a(ASSERTION, "Assertion"):
        raise Rejected("malformed", "The message is neither a SAML 2.0 response nor an assertion.")
    nodes = tuple(root.walk())
    if any(node.name in ("EncryptedAssertion", "EncryptedID", "EncryptedAttribute") for node in nodes):
        raise Indeterminate("unsupported_format", "Encrypted SAML messages cannot be verified.")
    if sum(node.name == "Assertion" for node in nodes) != 1 or any(node.name == "Response" for node in nodes[1:]):
        raise Rejected("malformed", "The message must hold exactly one assertion.")
    if root.name == "Response" and len(root.all(ASSERTION, "Assertion")) != 1:
        raise Rejected("malformed", "The assertion is not a child of the response.")
    if any(node.is_a(DSIG, "Object") for node in nodes):
        raise Rejected("malformed", "A signature carries an object, which is refused.")


def _check_signature_form(holder: Node) -> SignatureAlgorithm:
    """Right after Issuer, over its own parent, by the two transforms that SAML needs (SAML core section 5.4)."""
    signatures = holder.all(DSIG, "Signature")
    children = holder.children
    if len(signatures) != 1 or not children[0].is_a(ASSERTION, "Issuer") or children[1] is not signatures[0]:
        raise Rejected("malformed", "A signature does not stand right after its element's issuer, alone.")
    signed_info, value, *_key_info = _exact_children(signatures[0], "SignedInfo", "SignatureValue", optional="KeyInfo")
    method, signature_method, reference = _exact_children(
        signed_info, "CanonicalizationMethod", "SignatureMethod", "Reference"
    )
    transforms, digest_method, digest_value = _exact_children(reference, "Transforms", "DigestMethod", "DigestValue")
    enveloped, canonical = _exact_children(transforms, "Transform", "Transform")
    _check_algorithm(method, EXCLUSIVE_C14N)
    _check_algorithm(enveloped, ENVELOPED)
    _check_algorithm(canonical, EXCLUSIVE_C14N)
    _check_algorithm(digest_method, *_DIGEST_URIS)
    _check_algorithm(signature_method, *(uri for uri in _BY_URI if uri is not None))
    if dict(reference.attributes) != {"URI": "#" + _identifier(holder)}:
        raise Rejected("malformed", "A signature refers to something else than the element that it stands in.")
    for encoded in (value, digest_value):
        _check_base64(encoded)
    return _BY_URI[signature_method.attributes["Algorithm"]]


def _exact_children(node: Node, *names: str, optional: str | None = None) -> tuple[Node, ...]:
    found = tuple(child.name for child in node.children)
    allowed = {names, (*names, optional)} if optional else {names}
    if found not in allowed or any(child.namespace != DSIG for child in node.children) or node.text.strip():
        raise Rejected("malformed", f"A signature's {node.name} does not hold exactly what it should.")
    return node.children


def _check_algorithm(node: Node, *allowed: str) -> None:
    if node.children or node.text.strip() or node.attributes.keys() != {"Algorithm"}:
        raise Rejected("malformed", f"A signature's {node.name} has parameters, which are refused.")
    if node.attributes["Algorithm"] not in allowed:
        raise Rejected("algorithm_not_allowed", f"A signature's {node.name} is not one that is allowed.")


def _check_base64(node: Node) -> None:
    """XML Schema lets white space stand between the characters; nothing else may differ from the one encoding."""
    text = "".join(node.text.split())
    try:
        canonical = base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except (binascii.Error, ValueError):
        canonical = False
    if not canonical or not text or node.children:
        raise Rejected("malformed", f"A signature's {node.name} is not base64.")


def verify_places(
    data: bytes, places: Sequence[SignedPlace], certificates: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, dict[Part, Node]]:
    """The trusted certificate whose key made every signature, and the signed elements, as they were signed.

    The message's own KeyInfo is never asked. Rejected if no certificate fits all.
    """
    failure: Rejected | None = None
    for certificate in certificates:
        try:
            return certificate, {place.part: _verify_place(data, place, certificate, at) for place in places}
        except Rejected as error:
            failure = error
    raise failure or Rejected("signature_invalid", "No trusted certificate was given.")


def _verify_place(data: bytes, place: SignedPlace, certificate: x509.Certificate, at: datetime) -> Node:
    """The signed element, from the bytes that were digested. Rejected if the certificate's key did not sign it."""
    configuration = SignatureConfiguration(
        require_x509=True,
        location=place.location,
        expect_references=1,
        signature_methods=frozenset({SignatureMethod(place.algorithm.xml_signature)}),
        digest_algorithms=frozenset(DigestAlgorithm(uri) for uri in _DIGEST_URIS),
        verification_time=at.astimezone(UTC),
    )
    try:
        # A new one each time: signxml's verifier keeps state.
        result = XMLVerifier().verify(
            data, x509_cert=certificate, id_attribute="ID", parser=new_parser(), expect_config=configuration
        )
    except Exception as error:
        # signxml, lxml and cryptography raise many kinds of exception on hostile input: every one is a rejection.
        raise Rejected("signature_invalid", "The signature is not that of a trusted certificate's key.") from error
    if isinstance(result, list):
        raise Rejected("signature_invalid", "A signature has several references.")
    node = parse_xml(result.signed_data)
    if node.name.lower() != place.part or node.attributes.get("ID") != place.identifier:
        raise Rejected("signature_invalid", "The signed element is not the one that carries the signature.")
    return node
