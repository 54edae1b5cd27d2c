"""SAML signatures put together by hand and rightly signed: only the form of what is signed is wrong."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lxml import etree

from tests.verifier.saml_builder import DSIG
from tests.verifier.saml_checks import P256

EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
TRANSFORMS = (
    f'<ds:Transforms><ds:Transform Algorithm="{DSIG}enveloped-signature"/>'
    f'<ds:Transform Algorithm="{EXCLUSIVE}"/></ds:Transforms>'
)


def canonical(element: etree._Element) -> bytes:
    """Exclusive canonical XML."""
    return etree.tostring(element, method="c14n", exclusive=True)


def ecdsa(message: bytes) -> str:
    """The trusted P-256 key's signature over any bytes at all, as XML has it."""
    assert isinstance(P256.private_key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(P256.private_key.sign(message, ec.ECDSA(hashes.SHA256())))
    return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()


def forge(
    text: str,
    old: str = "",
    new: str = "",
    *,
    digest_of: bytes | None = None,
    signed: bytes | None = None,
    key_info: str = "",
) -> bytes:
    """Signs the root of the text with the trusted P-256 key, `old` in SignedInfo replaced by `new` before.

    `digest_of` and `signed` are what is digested and signed instead of the element and SignedInfo.
    """
    root = etree.fromstring(text)
    digest = hashlib.sha256(canonical(root) if digest_of is None else digest_of).digest()
    signed_info = (
        f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>'
        '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>'
        f'<ds:Reference URI="#{root.get("ID")}">{TRANSFORMS}'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        f"<ds:DigestValue>{base64.b64encode(digest).decode()}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
    assert old in signed_info
    signed_info = signed_info.replace(old, new, 1)
    standing = etree.fromstring(signed_info.replace("<ds:SignedInfo", f'<ds:SignedInfo xmlns:ds="{DSIG}"', 1))
    value = ecdsa(canonical(standing) if signed is None else signed)
    signature = (
        f'<ds:Signature xmlns:ds="{DSIG}">{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue>'
        f"{key_info}</ds:Signature>"
    )
    return text.replace("</saml:Issuer>", f"</saml:Issuer>{signature}", 1).encode()
