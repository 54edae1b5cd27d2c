"""The one form of an XML signature that is read (XML Signature 1.1 section 4, SAML core section 5.4).

Every element of it stands where it should, alone, with exactly the attributes it needs; every value is in its one
encoding. What another reader might take for a second digest, transform, reference or key is refused, not skipped.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from verifier.algorithms import ALGORITHMS, HashName, SignatureAlgorithm
from verifier.errors import Rejected
from verifier.saml.xml import WHITE_SPACE

if TYPE_CHECKING:
    from verifier.saml.xml import Node

DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
ENVELOPED: Final = f"{DSIG}enveloped-signature"
EXCLUSIVE_C14N: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
MAXIMUM_KEY_INFO: Final = 10  # certificates

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
_BY_URI: Final = {row.xml_signature: row for row in SIGNATURE_ALGORITHMS if row.xml_signature is not None}
DIGESTS: Final[dict[str, HashName]] = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}


@dataclass(frozen=True, slots=True)
class SignatureForm:
    """What a signature of the strict form says. `certificates` are KeyInfo's, DER: claims, which decide nothing."""

    signed_info: Node
    algorithm: SignatureAlgorithm
    value: bytes
    hash_name: HashName
    digest: bytes
    certificates: tuple[bytes, ...]


def read_signature(signature: Node, identifier: str) -> SignatureForm:
    """The signature over the element `identifier` that it stands in. Rejected if its form is any other."""
    signed_info, value, *key_info = _exact_children(signature, "SignedInfo", "SignatureValue", optional="KeyInfo")
    method, signature_method, reference = _exact_children(
        signed_info, "CanonicalizationMethod", "SignatureMethod", "Reference"
    )
    transforms, digest_method, digest_value = _exact_children(
        reference, "Transforms", "DigestMethod", "DigestValue", attributes={"URI": f"#{identifier}"}
    )
    enveloped, canonical = _exact_children(transforms, "Transform", "Transform")
    _check_algorithm(method, EXCLUSIVE_C14N)
    _check_algorithm(enveloped, ENVELOPED)
    _check_algorithm(canonical, EXCLUSIVE_C14N)
    return SignatureForm(
        signed_info=signed_info,
        algorithm=_BY_URI[_check_algorithm(signature_method, *_BY_URI)],
        value=_read_base64(value),
        hash_name=DIGESTS[_check_algorithm(digest_method, *DIGESTS)],
        digest=_read_base64(digest_value),
        certificates=_key_info(key_info[0]) if key_info else (),
    )


def _exact_children(
    node: Node, *names: str, optional: str | None = None, attributes: dict[str, str] | None = None
) -> tuple[Node, ...]:
    found = tuple(child.name for child in node.children)
    allowed = {names, (*names, optional)} if optional else {names}
    if found not in allowed or any(child.namespace != DSIG for child in node.children):
        raise Rejected("malformed", f"A signature's {node.name} does not hold exactly what it should.")
    if dict(node.attributes) != (attributes or {}):
        message = f"A signature's {node.name} has other attributes than it should, or refers to another element."
        raise Rejected("malformed", message)
    if node.text.strip(WHITE_SPACE):
        raise Rejected("malformed", f"A signature's {node.name} holds text.")
    return node.children


def _check_algorithm(node: Node, *allowed: str) -> str:
    if node.children or node.text.strip(WHITE_SPACE) or node.attributes.keys() != {"Algorithm"}:
        raise Rejected("malformed", f"A signature's {node.name} has parameters, which are refused.")
    if node.attributes["Algorithm"] not in allowed:
        raise Rejected("algorithm_not_allowed", f"A signature's {node.name} is not one that is allowed.")
    return node.attributes["Algorithm"]


def _read_base64(node: Node) -> bytes:
    """XML Schema lets white space stand between the characters; nothing else may differ from the one encoding."""
    text = node.text.translate({ord(character): None for character in WHITE_SPACE})
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or base64.b64encode(value).decode() != text or node.children or node.attributes:
        raise Rejected("malformed", f"A signature's {node.name} is not base64.")
    return value


def _key_info(node: Node) -> tuple[bytes, ...]:
    """X.509 certificates in one X509Data and nothing else: no bare keys, names, or places to fetch keys from."""
    (data,) = _exact_children(node, "X509Data")
    count = len(data.children)
    if not 1 <= count <= MAXIMUM_KEY_INFO:
        raise Rejected("malformed", f"A signature's X509Data must hold 1 to {MAXIMUM_KEY_INFO} certificates.")
    return tuple(_read_base64(each) for each in _exact_children(data, *["X509Certificate"] * count))
