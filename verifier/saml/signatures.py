"""Which parts of a SAML message are signed, by whom, and with what: the answer is the signed elements themselves.

The form is checked first, so strictly that signxml meets one shape of signature only. Then two must agree to the byte
on what was signed: this module, and signxml. What is returned is read from the bytes that were digested, never from the
message (the defence against signature wrapping).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.verifier import SignatureConfiguration, XMLVerifier

from verifier.certificates import certified_key
from verifier.errors import Indeterminate, Rejected
from verifier.keys import PublicKey, check_message, key_kind, subject_public_key_info
from verifier.log_leaves import MadeSignature, made_over_message
from verifier.saml.form import DIGESTS, DSIG, SignatureForm, read_signature
from verifier.saml.xml import Node, new_parser, parse_xml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

ASSERTION: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
_LOCATIONS: Final = {"response": "./", "root-assertion": "./", "assertion": f"./{{{ASSERTION}}}Assertion/"}

Part = Literal["assertion", "response"]


@dataclass(frozen=True, slots=True)
class SignedPlace:
    """An element of the message that carries a signature of itself, in the strict form, not verified yet."""

    part: Part
    holder: Node
    form: SignatureForm
    location: str  # where the signature is to be looked for, from the root

    @property
    def without_signature(self) -> Node:
        """What the enveloped-signature transform leaves (XML Signature section 6.6.4)."""
        return replace(
            self.holder, children=tuple(child for child in self.holder.children if child.name != "Signature")
        )


@dataclass(frozen=True, slots=True)
class SignedElement:
    """A signed element as it was signed, and its signature, over SignedInfo in canonical form."""

    node: Node
    made: tuple[MadeSignature]


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
        SignedPlace(part, holder, _read_form(holder), location)
        for part, holder, location in holders
        if holder.all(DSIG, "Signature")
    )
    if len(places) != sum(node.name == "Signature" for node in root.walk()):
        raise Rejected("malformed", "The message has a signature in a place where none belongs.")
    if not places:
        raise Rejected("signature_invalid", "The message is not signed.")
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


def _read_form(holder: Node) -> SignatureForm:
    """The signature right after Issuer, over its own parent (SAML core sections 5.4.1 and 5.4.2)."""
    signatures = holder.all(DSIG, "Signature")
    children = holder.children
    if len(signatures) != 1 or not children[0].is_a(ASSERTION, "Issuer") or children[1] is not signatures[0]:
        raise Rejected("malformed", "A signature does not stand right after its element's issuer, alone.")
    return read_signature(signatures[0], _identifier(holder))


def verify_places(
    data: bytes, places: Sequence[SignedPlace], certificates: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, dict[Part, SignedElement]]:
    """The trusted certificate whose key made every signature, and the signed elements, as they were signed.

    The message's own KeyInfo is never asked. Rejected if no certificate fits all.
    """
    failure: Rejected | None = None
    for certificate in certificates:
        try:
            return certificate, {place.part: _verify_place(data, place, certificate, at) for place in places}
        except Rejected as error:
            # The certificate that the message means tells most about what is wrong.
            if failure is None or error.code not in ("algorithm_mismatch", "signer_mismatch"):
                failure = error
    raise failure or Rejected("signature_invalid", "No trusted certificate was given.")


def _verify_place(data: bytes, place: SignedPlace, certificate: x509.Certificate, at: datetime) -> SignedElement:
    """The signed element, from the bytes that were digested. Rejected if the certificate's key did not sign it."""
    algorithm, key = place.form.algorithm, certified_key(certificate)
    if key_kind(key) != algorithm.key_kind:
        raise Rejected("algorithm_mismatch", f"The trusted certificate's key does not make {algorithm.name}.")
    _check_key_info(place.form.certificates, key)
    configuration = SignatureConfiguration(
        require_x509=True,
        location=place.location,
        expect_references=1,
        signature_methods=frozenset({SignatureMethod(algorithm.xml_signature)}),
        digest_algorithms=frozenset(DigestAlgorithm(uri) for uri in DIGESTS),
        verification_time=at.astimezone(UTC),
    )
    try:
        signed_info, signed_data = _canonical_forms(data, place)
        if not signed_data or hashlib.new(place.form.hash_name, signed_data).digest() != place.form.digest:
            raise InvalidSignature
        signature = _encoded_signature(place.form.value, key)
        check_message(algorithm, key, signature, signed_info)
        # A new one each time: signxml's verifier keeps state.
        result = XMLVerifier().verify(
            data, x509_cert=certificate, id_attribute="ID", parser=new_parser(), expect_config=configuration
        )
    except Exception as error:
        # signxml, lxml and cryptography raise many kinds of exception on hostile input: every one is a rejection.
        raise Rejected("signature_invalid", "The signature is not that of a trusted certificate's key.") from error
    if (
        isinstance(result, list)
        or result.signed_data != signed_data
        or parse_xml(signed_info) != place.form.signed_info
    ):
        raise Rejected("signature_invalid", "What was signed can be read in two ways.")
    node = parse_xml(signed_data)
    if node != place.without_signature:
        raise Rejected("signature_invalid", "The signed element is not the one that carries the signature.")
    return SignedElement(node, made_over_message(algorithm, key, signature, signed_info))


def _check_key_info(certificates: Sequence[bytes], key: PublicKey) -> None:
    """What the message says about its key is not believed, but it must not say something else either.

    Keys are compared, not certificates: one that was renewed for the same key is no contradiction.
    """
    wanted = subject_public_key_info(key)
    try:
        named = [subject_public_key_info(certified_key(x509.load_der_x509_certificate(each))) for each in certificates]
    except Exception as error:
        raise Rejected("malformed", "A certificate in the signature's KeyInfo is broken.") from error
    if certificates and wanted not in named:
        raise Rejected("signer_mismatch", "The signature's KeyInfo names another key than the trusted certificate's.")


def _canonical_forms(data: bytes, place: SignedPlace) -> tuple[bytes, bytes]:
    """The bytes that are signed and those that are digested (XML Signature sections 4.3 and 4.4.3.2).

    SignedInfo, and the element without its signature, in exclusive canonical form.
    """
    signature = etree.fromstring(data, parser=new_parser()).find(f"{place.location}{{{DSIG}}}Signature")
    holder, issuer = (None, None) if signature is None else (signature.getparent(), signature.getprevious())
    if signature is None or holder is None or issuer is None:
        raise InvalidSignature
    signed_info: bytes = etree.tostring(signature[0], method="c14n", exclusive=True, with_comments=False)
    issuer.tail = (issuer.tail or "") + (signature.tail or "") or None
    holder.remove(signature)
    signed_data: bytes = etree.tostring(holder, method="c14n", exclusive=True, with_comments=False)
    return signed_info, signed_data


def _encoded_signature(value: bytes, key: PublicKey) -> bytes:
    """ECDSA is r and s side by side in XML (RFC 4050 section 3.3), DER elsewhere."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return value
    size = (key.key_size + 7) // 8
    if len(value) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(value[:size], "big"), int.from_bytes(value[size:], "big"))
