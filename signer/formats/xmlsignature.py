"""Enveloped XML signatures over an element with an ID, as SAML allows them (SAML 2.0 core section 5.4).

One reference to the element itself, exclusive canonicalisation 1.0 always named, the digest by the hash of the
signature, by signxml with the key in the HSM's shape. `require_signed` reads back what was made and checks it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature as InvalidKeySignature
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, XMLVerifier

from keystore.errors import HsmFault
from signer.errors import Unprocessable
from signer.formats import publickey
from signer.formats.hsmkey import HsmEd25519Key, private_key_for

if TYPE_CHECKING:
    from keystore.api import SigningKey

SIGNATURE_NAMESPACE: Final = "http://www.w3.org/2000/09/xmldsig#"
_DS: Final = {"ds": SIGNATURE_NAMESPACE}
_EXCLUSIVE: Final = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0
# The reference is digested with the hash of the signature, so that a key's strength is that of its algorithm.
_DIGESTS: Final = {
    "sha256": DigestAlgorithm.SHA256,
    "sha384": DigestAlgorithm.SHA384,
    "sha512": DigestAlgorithm.SHA512,
}


def signed(key: SigningKey, certificate: bytes, element: etree._Element, *, position: int) -> etree._Element:
    """A copy of `element`, parsed anew from its bytes, with the signature as its child number `position`, from 0.

    The element has an attribute `ID`; `certificate` is the key's own, DER, and goes into KeyInfo.
    Raises: `Unprocessable` for a key whose algorithm XML signatures do not have; what `SigningKey.sign` raises.
    """
    algorithm = key.info.algorithm
    private_key = private_key_for(key)
    if algorithm.xml_signature is None or algorithm.hash_name is None or isinstance(private_key, HsmEd25519Key):
        message = f"{algorithm.name} does not sign SAML"
        raise Unprocessable(message, field="algorithm")
    document = etree.fromstring(etree.tostring(element), parser())
    # signxml puts its signature where it finds this placeholder; the schema has one place for it.
    placeholder = etree.Element(f"{{{SIGNATURE_NAMESPACE}}}Signature", {"Id": "placeholder"}, nsmap=_DS)
    document.insert(position, placeholder)
    # Its instances keep state: a new one for each signature.
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=algorithm.xml_signature,
        digest_algorithm=_DIGESTS[algorithm.hash_name],
        c14n_algorithm=_EXCLUSIVE,
    )
    return signer.sign(
        document,
        key=private_key,
        key_info=key_info(certificate),
        reference_uri=f"#{document.attrib['ID']}",
        id_attribute="ID",
    )


def require_signed(document: bytes, certificate: bytes, key: SigningKey) -> None:
    """Pass if the root of `document` bears a signature over itself by the certificate's key, read as a stranger would.

    Raises: `HsmFault` otherwise: what was made is thrown away.
    """
    algorithm = key.info.algorithm
    leaf = publickey.load_certificate(certificate)
    expected = SignatureConfiguration(
        signature_methods=frozenset({SignatureMethod(algorithm.xml_signature)}),
        digest_algorithms=frozenset({_DIGESTS[algorithm.hash_name or ""]}),
        expect_references=1,
        verification_time=leaf.not_valid_before_utc,  # the key is in question here, not the certificate's time
    )
    try:
        root = etree.fromstring(document, parser())
        verified = XMLVerifier().verify(root, x509_cert=leaf, id_attribute="ID", expect_config=expected)
        covered = None if isinstance(verified, list) else verified.signed_xml
        if covered is None or covered.get("ID") != root.get("ID"):
            message = "the signature covers something else than the document"
            raise ValueError(message)
    except (SignXMLException, InvalidKeySignature, etree.LxmlError, ValueError) as exc:
        message = "the XML signature that was made does not verify; it is thrown away"
        raise HsmFault(message) from exc


def parser() -> etree.XMLParser:
    """A parser that resolves nothing and fetches nothing."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def key_info(certificate: bytes) -> etree._Element:
    """KeyInfo with the one DER certificate (XML Signature section 4.5.4)."""
    element = etree.Element(f"{{{SIGNATURE_NAMESPACE}}}KeyInfo", nsmap=_DS)
    data = etree.SubElement(element, f"{{{SIGNATURE_NAMESPACE}}}X509Data")
    text = base64.b64encode(certificate).decode("ascii")
    etree.SubElement(data, f"{{{SIGNATURE_NAMESPACE}}}X509Certificate").text = text
    return element
