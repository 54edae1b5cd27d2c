"""The form of XML signatures: rightly signed by the trusted key, and refused for what they contain.

Digest smuggling, transforms and algorithms that do not belong, void canonicalisation, references, KeyInfo, HMAC.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from tests.verifier.pki import pem, public_pem
from tests.verifier.saml_builder import AUDIENCE, DSIG, Message, build, identity, sign_element
from tests.verifier.saml_checks import IDP, P256, SMALL, code, verify
from tests.verifier.saml_forge import EXCLUSIVE, TRANSFORMS, canonical, ecdsa, forge
from verifier.saml import signatures

TEXT = Message().assertion()
GOOD = forge(TEXT)
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
DIGEST_METHOD = f'<ds:DigestMethod Algorithm="{SHA256}"/>'
FOREIGN = 'x:DigestMethod xmlns:x="urn:x"'
ENVELOPED = f'<ds:Transform Algorithm="{DSIG}enveloped-signature"/>'
C14N = f'<ds:Transform Algorithm="{EXCLUSIVE}"/>'
ATTRIBUTE = '<ds:Reference URI="#_a1"'


def transform(uri: str, content: str = "") -> str:
    return f'<ds:Transform Algorithm="{uri}">{content}</ds:Transform>'


def test_forged_by_hand_without_a_change_is_good() -> None:
    assert verify(GOOD).signed == ("assertion",)


XSLT_URI = "http://www.w3.org/TR/1999/REC-xslt-19991116"
XSLT = '<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform" version="1.0"/>'
PREFIXES = f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="saml"/>'
SIGNED_FORMS = {
    # transforms that should not be there
    "no transforms at all": (TRANSFORMS, "", "malformed"),
    "transforms without a transform": (TRANSFORMS, "<ds:Transforms/>", "malformed"),
    "enveloped alone, so inclusive by default": (C14N, "", "malformed"),
    "canonicalisation alone": (ENVELOPED, "", "malformed"),
    "the two in the wrong order": (ENVELOPED + C14N, C14N + ENVELOPED, "algorithm_not_allowed"),
    "enveloped twice": (C14N, ENVELOPED, "algorithm_not_allowed"),
    "a third": (C14N, C14N + C14N, "malformed"),
    "xslt": (C14N, transform(XSLT_URI, XSLT), "malformed"),
    "xslt without a stylesheet": (
        C14N,
        transform(XSLT_URI),
        "algorithm_not_allowed",
    ),
    "xpath": (
        C14N,
        transform("http://www.w3.org/TR/1999/REC-xpath-19991116", "<ds:XPath>self::text()</ds:XPath>"),
        "malformed",
    ),
    "xpath filter 2": (C14N, transform("http://www.w3.org/2002/06/xmldsig-filter2"), "algorithm_not_allowed"),
    "base64": (C14N, transform(f"{DSIG}base64"), "algorithm_not_allowed"),
    "inclusive canonicalisation": (
        C14N,
        transform("http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
        "algorithm_not_allowed",
    ),
    "inclusive canonicalisation 1.1": (
        C14N,
        transform("http://www.w3.org/2006/12/xml-c14n11"),
        "algorithm_not_allowed",
    ),
    "canonicalisation with comments": (C14N, transform(f"{EXCLUSIVE}WithComments"), "algorithm_not_allowed"),
    "a prefix list": (C14N, transform(EXCLUSIVE, PREFIXES), "malformed"),
    "an unknown transform": (C14N, transform("urn:x"), "algorithm_not_allowed"),
    "a transform of no name": (C14N, "<ds:Transform/>", "malformed"),
    # canonicalisation of SignedInfo
    "SignedInfo with comments": (
        f'Method Algorithm="{EXCLUSIVE}',
        f'Method Algorithm="{EXCLUSIVE}WithComments',
        "algorithm_not_allowed",
    ),
    "SignedInfo by a prefix list": (
        f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>',
        f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}">{PREFIXES}</ds:CanonicalizationMethod>',
        "malformed",
    ),
    "SignedInfo by nothing": (f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>', "", "malformed"),
    # references
    "an empty URI": ('URI="#_a1"', 'URI=""', "malformed"),
    "no URI": (' URI="#_a1"', "", "malformed"),
    "an outside URI": ('URI="#_a1"', 'URI="https://evil.example/a"', "malformed"),
    "a file URI": ('URI="#_a1"', 'URI="file:///etc/passwd"', "malformed"),
    "an xpointer": ('URI="#_a1"', "URI=\"#xpointer(id('_a1'))\"", "malformed"),
    "the whole document by xpointer": ('URI="#_a1"', 'URI="#xpointer(/)"', "malformed"),
    "two hashes": ('URI="#_a1"', 'URI="##_a1"', "malformed"),
    "a type": (ATTRIBUTE, f'{ATTRIBUTE} Type="{DSIG}Object"', "malformed"),
    "an id on the reference": (ATTRIBUTE, f'{ATTRIBUTE} Id="_x"', "malformed"),
    "two references": ("</ds:Reference>", f"</ds:Reference>{ATTRIBUTE}>{TRANSFORMS}</ds:Reference>", "malformed"),
    "a manifest beside it": ("</ds:Reference>", "</ds:Reference><ds:Manifest/>", "malformed"),
    # digests: CVE-2024-45409 and CVE-2025-25291/25292 live on two of them
    "two digest values": ("</ds:Reference>", "<ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>", "malformed"),
    "a digest value in front": (DIGEST_METHOD, f"<ds:DigestValue>AAAA</ds:DigestValue>{DIGEST_METHOD}", "malformed"),
    "a foreign digest method": (DIGEST_METHOD, DIGEST_METHOD.replace("ds:DigestMethod", FOREIGN), "malformed"),
    "two digest methods": (DIGEST_METHOD, DIGEST_METHOD * 2, "malformed"),
    "an element in the digest value": ("</ds:DigestValue>", "<ds:x/></ds:DigestValue>", "malformed"),
    "an attribute of the digest value": ("<ds:DigestValue>", '<ds:DigestValue x="y">', "malformed"),
    "an unpadded digest": ("=</ds:DigestValue>", "</ds:DigestValue>", "malformed"),
    "a space that is none in XML": ("</ds:DigestValue>", "\u00a0</ds:DigestValue>", "malformed"),
    "a foreign digest value": ("<ds:DigestValue>", '<x:DigestValue xmlns:x="urn:x"/><ds:DigestValue>', "malformed"),
    "text in SignedInfo": ("<ds:SignatureMethod", "x<ds:SignatureMethod", "malformed"),
    "text in the reference": (TRANSFORMS, f"{TRANSFORMS}AAAA", "malformed"),
    # algorithms
    "SHA-1 digests": (SHA256, f"{DSIG}sha1", "algorithm_not_allowed"),
    "MD5 digests": (SHA256, "http://www.w3.org/2001/04/xmldsig-more#md5", "algorithm_not_allowed"),
    "SHA-3 digests": (SHA256, "http://www.w3.org/2007/05/xmldsig-more#sha3-256", "algorithm_not_allowed"),
    "unknown digests": (SHA256, "urn:x", "algorithm_not_allowed"),
    "RSA with SHA-1": (ECDSA_SHA256, f"{DSIG}rsa-sha1", "algorithm_not_allowed"),
    "RSA with MD5": (ECDSA_SHA256, "http://www.w3.org/2001/04/xmldsig-more#rsa-md5", "algorithm_not_allowed"),
    "ECDSA with SHA-1": (ECDSA_SHA256, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1", "algorithm_not_allowed"),
    "DSA": (ECDSA_SHA256, f"{DSIG}dsa-sha1", "algorithm_not_allowed"),
    "an unknown method": (ECDSA_SHA256, "urn:x", "algorithm_not_allowed"),
    "no method": (f'<ds:SignatureMethod Algorithm="{ECDSA_SHA256}"/>', "", "malformed"),
    "an empty method": (ECDSA_SHA256, "", "algorithm_not_allowed"),
    "two methods": ("<ds:Reference", f'<ds:SignatureMethod Algorithm="{ECDSA_SHA256}"/><ds:Reference', "malformed"),
    "another allowed method of the same key": ("ecdsa-sha256", "ecdsa-sha512", "signature_invalid"),
    "the method of another kind of key": ("ecdsa-sha256", "rsa-sha256", "algorithm_mismatch"),
    "an id on SignedInfo": ("<ds:SignedInfo", '<ds:SignedInfo Id="_x"', "malformed"),
}


@pytest.mark.parametrize("name", SIGNED_FORMS)
def test_signed_by_the_right_key_in_the_wrong_form(name: str) -> None:
    old, new, expected = SIGNED_FORMS[name]
    assert code(forge(TEXT, old, new), certificates=(P256.certificate,)) == expected


VALUE = "<ds:SignatureValue>"
SIGNED_INFO = GOOD.decode().partition("<ds:SignedInfo>")[2].partition("</ds:SignedInfo>")[0]
UNSIGNED_FORMS = {
    # parts of the signature that it does not cover itself
    "two signature values": ("</ds:SignatureValue>", "</ds:SignatureValue><ds:SignatureValue>AAAA</ds:SignatureValue>"),
    "an element in the value": ("</ds:SignatureValue>", "<ds:x/></ds:SignatureValue>"),
    "an attribute of the value": (VALUE, '<ds:SignatureValue Id="v">'),
    "a comment in the value": (VALUE, f"{VALUE}<!--x-->"),
    "a comment in the digest": ("<ds:DigestValue>", "<ds:DigestValue><!--AAAA-->"),
    "a comment after the digest": ("</ds:DigestValue>", "<!--AAAA--></ds:DigestValue>"),
    "an instruction in the digest": ("<ds:DigestValue>", "<ds:DigestValue><?x AAAA?>"),
    "CDATA in the digest": ("<ds:DigestValue>", "<ds:DigestValue><![CDATA[]]>"),
    "base64 of a second kind": (VALUE, f"{VALUE}-_"),
    "padding in front": (VALUE, f"{VALUE}="),
    "an entity in the value": (VALUE, f"{VALUE}&x;"),
    "SignedInfo twice": ("</ds:SignedInfo>", f"</ds:SignedInfo><ds:SignedInfo>{SIGNED_INFO}</ds:SignedInfo>"),
    "SignedInfo inside SignedInfo": ("</ds:SignedInfo>", "<ds:SignedInfo/></ds:SignedInfo>"),
    "SignedInfo of another namespace": ("<ds:SignedInfo>", '<x:SignedInfo xmlns:x="urn:x"/><ds:SignedInfo>'),
    "SignedInfo behind the value": ("</ds:SignatureValue>", "</ds:SignatureValue><ds:SignedInfo/>"),
    "an object": ("</ds:Signature>", "<ds:Object/></ds:Signature>"),
    "an object in front": ("<ds:SignedInfo>", "<ds:Object/><ds:SignedInfo>"),
    "an id on the signature": ("<ds:Signature ", '<ds:Signature Id="s" '),
    "text in the signature": ("</ds:Signature>", "x</ds:Signature>"),
    "a second signature beside": ("</ds:Signature>", "</ds:Signature><ds:Signature/>"),
    "a signature in the signature": ("</ds:Signature>", "<ds:Signature/></ds:Signature>"),
    "the prefix means something else": (f'<ds:Signature xmlns:ds="{DSIG}"', '<ds:Signature xmlns:ds="urn:x"'),
    "the prefix is not declared": (f' xmlns:ds="{DSIG}"', ""),
}


@pytest.mark.parametrize("name", UNSIGNED_FORMS)
def test_signature_in_the_wrong_form(name: str) -> None:
    old, new = (each.encode() for each in UNSIGNED_FORMS[name])
    assert old in GOOD
    assert code(GOOD.replace(old, new, 1)) == "malformed"


def certificate_text(*certificates: bytes) -> str:
    texts = "".join(
        f"<ds:X509Certificate>{base64.b64encode(each).decode()}</ds:X509Certificate>" for each in certificates
    )
    return f"<ds:KeyInfo><ds:X509Data>{texts}</ds:X509Data></ds:KeyInfo>"


ATTACKER = identity("p256", "attacker").certificate.public_bytes(Encoding.DER)
OURS = P256.certificate.public_bytes(Encoding.DER)
KEY_VALUE = base64.b64encode(
    identity("p256", "attacker").certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
ENCODED_KEY = (
    '<d:DEREncodedKeyValue xmlns:d="http://www.w3.org/2009/xmldsig11#">' + KEY_VALUE + "</d:DEREncodedKeyValue>"
)
KEY_INFOS = {
    "another certificate": (certificate_text(ATTACKER), "signer_mismatch"),
    "a bare key": ("<ds:KeyInfo><ds:KeyValue/></ds:KeyInfo>", "malformed"),
    "a bare key beside the certificate": (
        certificate_text(OURS).replace("</ds:KeyInfo>", "<ds:KeyValue/></ds:KeyInfo>"),
        "malformed",
    ),
    "an encoded key": (f"<ds:KeyInfo>{ENCODED_KEY}</ds:KeyInfo>", "malformed"),
    "a place to fetch a key from": (
        '<ds:KeyInfo><ds:RetrievalMethod URI="https://evil.example"/></ds:KeyInfo>',
        "malformed",
    ),
    "a key's name": ("<ds:KeyInfo><ds:KeyName>idp</ds:KeyName></ds:KeyInfo>", "malformed"),
    "an encrypted key": ('<ds:KeyInfo><e:EncryptedKey xmlns:e="urn:e"/></ds:KeyInfo>', "malformed"),
    "nothing": ("<ds:KeyInfo/>", "malformed"),
    "an empty X509Data": ("<ds:KeyInfo><ds:X509Data/></ds:KeyInfo>", "malformed"),
    "a serial number alone": (
        "<ds:KeyInfo><ds:X509Data><ds:X509IssuerSerial/></ds:X509Data></ds:KeyInfo>",
        "malformed",
    ),
    "two X509Data": (
        certificate_text(OURS).replace("</ds:KeyInfo>", "<ds:X509Data/></ds:KeyInfo>"),
        "malformed",
    ),
    "a broken certificate": (certificate_text(OURS[:-1]), "malformed"),
    "too many certificates": (certificate_text(*[OURS] * 11), "malformed"),
    "two KeyInfo": (certificate_text(OURS) * 2, "malformed"),
    "an assertion": ("<ds:KeyInfo><saml:Assertion/></ds:KeyInfo>", "malformed"),
}


@pytest.mark.parametrize("name", KEY_INFOS)
def test_key_info(name: str) -> None:
    key_info, expected = KEY_INFOS[name]
    assert code(forge(TEXT, key_info=key_info), certificates=(P256.certificate,)) == expected


def test_key_info_of_a_renewed_certificate_is_no_contradiction() -> None:
    renewed = identity("p256", "idp").certificate.public_bytes(Encoding.DER)
    assert renewed != OURS
    assert verify(forge(TEXT, key_info=certificate_text(ATTACKER, renewed)))


def test_void_canonicalisation() -> None:
    """libxml2 canonicalises nothing below a relative namespace: a signature over no bytes would fit every message."""
    relative = TEXT.replace("<saml:Subject", '<x:y xmlns:x="relative"/><saml:Subject')
    with pytest.raises(etree.C14NError):
        canonical(etree.fromstring(relative))
    void = forge(TEXT, digest_of=b"", signed=b"")
    assert code(void.replace(b"<saml:Subject", b'<x:y xmlns:x="relative"/><saml:Subject')) == "malformed"
    assert code(void.replace(b"<ds:SignedInfo>", b'<ds:SignedInfo xmlns:x="../x">')) == "malformed"
    assert code(void) == "signature_invalid"
    assert code(forge(TEXT, digest_of=b"")) == "signature_invalid"
    assert code(forge(TEXT, signed=b"")) == "signature_invalid"


@pytest.mark.parametrize("secret", ["certificate", "der", "key", "nothing"])
@pytest.mark.parametrize("length", [None, 0, 8])
def test_hmac_with_what_is_public(secret: str, length: int | None) -> None:
    """The public key as the secret of an HMAC, and the length to compare as the attacker wishes (CVE-2009-0217)."""
    secrets = {
        "certificate": pem(P256.certificate),
        "der": OURS,
        "key": public_pem(P256.private_key),
        "nothing": b"",
    }
    method = '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"'
    inside = "/>" if length is None else f"><ds:HMACOutputLength>{length}</ds:HMACOutputLength></ds:SignatureMethod>"
    good = f'<ds:SignatureMethod Algorithm="{ECDSA_SHA256}"/>'
    data = forge(TEXT, good, method + inside)
    signed_info = etree.fromstring(data).find(f".//{{{DSIG}}}SignedInfo")
    assert signed_info is not None
    value = hmac.new(secrets[secret], canonical(signed_info), hashlib.sha256).digest()
    old = data.partition(VALUE.encode())[2].partition(b"<")[0]
    expected = "algorithm_not_allowed" if length is None else "malformed"
    assert code(data.replace(old, base64.b64encode(value))) == expected


@pytest.mark.parametrize(
    "value",
    [ecdsa(b"other"), base64.b64encode(bytes(64)).decode(), "AAAA"],
    ids=["of something else", "zeros", "short"],
)
def test_signature_values_that_are_none(value: str) -> None:
    old = GOOD.partition(VALUE.encode())[2].partition(b"<")[0]
    assert code(GOOD.replace(old, value.encode())) == "signature_invalid"


def test_both_signxml_and_this_package_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever signxml were to accept by a fault of its own, this package checks again."""
    signed = canonical(etree.fromstring(TEXT))

    class Result:
        signed_data = signed

    class Credulous:
        def verify(self, *_arguments: object, **_options: object) -> Result:
            return Result()

    monkeypatch.setattr(signatures, "XMLVerifier", Credulous)
    assert verify(GOOD)
    assert code(forge(TEXT, digest_of=b"other")) == "signature_invalid"
    assert code(forge(TEXT, signed=b"other")) == "signature_invalid"
    assert code(GOOD.replace(b"u@example", b"root@example")) == "signature_invalid"
    monkeypatch.setattr(Result, "signed_data", signed.replace(b"u@example", b"root@example"))
    assert code(GOOD) == "signature_invalid"
    monkeypatch.setattr(Result, "signed_data", b"")
    assert code(GOOD) == "signature_invalid"


def test_what_was_digested_must_be_what_stands_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where both readers were led to another element, and its digest and signature hold."""
    other = canonical(etree.fromstring(TEXT.replace("u@example", "root@example")))
    data = forge(TEXT, digest_of=other)

    class Result:
        signed_data = other

    class Misled:
        def verify(self, *_arguments: object, **_options: object) -> Result:
            return Result()

    forms = signatures._canonical_forms
    monkeypatch.setattr(signatures, "XMLVerifier", Misled)
    monkeypatch.setattr(signatures, "_canonical_forms", lambda *arguments: (forms(*arguments)[0], other))
    assert code(data) == "signature_invalid"


@pytest.mark.parametrize("where", ["XMLVerifier", "check_message", "_canonical_forms"])
@pytest.mark.parametrize(
    "kind", [ValueError, TypeError, KeyError, RecursionError, MemoryError, OSError, AssertionError, etree.LxmlError]
)
def test_every_exception_of_the_libraries_is_a_rejection(
    monkeypatch: pytest.MonkeyPatch, where: str, kind: type[Exception]
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise kind("no")

    monkeypatch.setattr(signatures, where, fail)
    assert code(GOOD) == "signature_invalid"


def test_audience_of_another_still_counts_when_all_is_signed() -> None:
    theirs = Message(conditions=Message().conditions.replace(AUDIENCE, "https://other.example"))
    assert code(sign_element(theirs.assertion(), SMALL).encode()) == "audience_mismatch"
    assert code(build(theirs, signing=SMALL), certificates=(IDP.certificate,)) == "algorithm_mismatch"
