"""XML signature wrapping: a message that was signed for one user, rebuilt around somebody else.

XSW 1 to 8 as in "On Breaking SAML" (Somorovsky et al., 2012) and SAML Raider, and their kin. In each the signed element
still stands somewhere, unchanged; what a careless reader would find first is the attacker's.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from tests.verifier.saml_builder import ASSERTION, DSIG, PROTOCOL, Message, build, sign_element, when
from tests.verifier.saml_checks import SMALL, code, verify
from verifier.saml import signatures

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = {part: build(sign=part, signing=SMALL) for part in ("assertion", "response", "both")}
SIGNATURE = f"{{{DSIG}}}Signature"
ASSERTION_TAG = f"{{{ASSERTION}}}Assertion"
EVIL = "root@example"

ATTACKS: dict[str, Callable[[etree._Element, etree._Element], etree._Element | None]] = {}


def attack(function: Callable[[etree._Element, etree._Element], etree._Element | None]) -> None:
    """Takes the response and its assertion and changes them, or returns another root."""
    ATTACKS[function.__name__] = function


def evil(original: etree._Element, identifier: str | None = "evil") -> etree._Element:
    """A copy without its own signature, of an id of its own, for another user."""
    made = copy.deepcopy(original)
    for signature in made.findall(SIGNATURE):
        made.remove(signature)
    if identifier is not None:
        made.set("ID", f"_{identifier}")
    for name_id in made.iter(f"{{{ASSERTION}}}NameID"):
        name_id.text = EVIL
    return made


def unsigned(original: etree._Element) -> etree._Element:
    """A copy without its own signature, otherwise as it was."""
    made = copy.deepcopy(original)
    for signature in made.findall(SIGNATURE):
        made.remove(signature)
    return made


def signature_of(element: etree._Element) -> etree._Element:
    found = element.find(SIGNATURE)
    return etree.SubElement(element, SIGNATURE) if found is None else found


def inside(outer: etree._Element, tag: str, *content: etree._Element) -> None:
    etree.SubElement(outer, tag).extend(content)


def evil_response(root: etree._Element) -> etree._Element:
    """The attacker's response, whose one assertion keeps its id."""
    outer = evil(root)
    for assertion in outer.findall(ASSERTION_TAG):
        outer.replace(assertion, evil(assertion))
    return outer


@attack
def xsw1_signed_response_inside_the_signature_of_an_evil_one(root: etree._Element, _: etree._Element) -> etree._Element:
    outer, signature = evil_response(root), copy.deepcopy(signature_of(root))
    inside(signature, f"{{{DSIG}}}Object", unsigned(root))
    outer.insert(1, signature)
    return outer


@attack
def xsw2_signed_response_detached_in_front_of_the_signature(root: etree._Element, _: etree._Element) -> etree._Element:
    outer = evil_response(root)
    outer.insert(1, unsigned(root))
    outer.insert(2, copy.deepcopy(signature_of(root)))
    return outer


@attack
def xsw3_evil_assertion_in_front(_: etree._Element, signed: etree._Element) -> None:
    signed.addprevious(evil(signed))


@attack
def xsw3_evil_assertion_behind(_: etree._Element, signed: etree._Element) -> None:
    signed.addnext(evil(signed))


@attack
def xsw4_signed_assertion_inside_the_evil_one(root: etree._Element, signed: etree._Element) -> None:
    outer = evil(signed)
    root.replace(signed, outer)
    outer.append(signed)


@attack
def xsw5_evil_assertion_with_the_signature_and_the_signed_one_behind(
    root: etree._Element, signed: etree._Element
) -> None:
    outer = evil(signed)
    outer.insert(1, copy.deepcopy(signature_of(signed)))
    root.append(unsigned(signed))
    root.replace(signed, outer)


@attack
def xsw6_signed_assertion_inside_the_evil_ones_signature(root: etree._Element, signed: etree._Element) -> None:
    outer, signature = evil(signed), copy.deepcopy(signature_of(signed))
    signature.append(unsigned(signed))
    outer.insert(1, signature)
    root.replace(signed, outer)


@attack
def xsw7_evil_assertion_of_the_same_id_in_extensions(_: etree._Element, signed: etree._Element) -> None:
    extensions = etree.Element(f"{{{PROTOCOL}}}Extensions")
    extensions.append(evil(signed, None))
    signed.addprevious(extensions)


@attack
def xsw8_signed_assertion_in_the_evil_ones_object(root: etree._Element, signed: etree._Element) -> None:
    outer, signature = evil(signed, None), copy.deepcopy(signature_of(signed))
    inside(signature, f"{{{DSIG}}}Object", unsigned(signed))
    outer.insert(1, signature)
    root.replace(signed, outer)


@attack
def signed_assertion_in_its_own_object(root: etree._Element, signed: etree._Element) -> None:
    outer = evil(signed)
    root.replace(signed, outer)
    signature = signature_of(signed)
    outer.insert(1, signature)
    inside(signature, f"{{{DSIG}}}Object", signed)


@attack
def signed_assertion_in_extensions(root: etree._Element, signed: etree._Element) -> None:
    root.replace(signed, evil(signed))
    inside(root, f"{{{PROTOCOL}}}Extensions", signed)


@attack
def signed_assertion_in_the_status(root: etree._Element, signed: etree._Element) -> None:
    root.replace(signed, evil(signed))
    inside(root[-2], f"{{{PROTOCOL}}}StatusDetail", signed)


@attack
def signed_assertion_in_an_advice(root: etree._Element, signed: etree._Element) -> None:
    outer = evil(signed)
    root.replace(signed, outer)
    inside(outer, f"{{{ASSERTION}}}Advice", signed)


@attack
def signed_assertion_in_an_attribute(root: etree._Element, signed: etree._Element) -> None:
    outer = evil(signed)
    root.replace(signed, outer)
    outer[-1][0][0].append(signed)


@attack
def signed_assertion_in_the_confirmation(root: etree._Element, signed: etree._Element) -> None:
    outer = evil(signed)
    root.replace(signed, outer)
    next(outer.iter(f"{{{ASSERTION}}}SubjectConfirmationData")).append(signed)


@attack
def signed_assertion_in_the_key_info(root: etree._Element, signed: etree._Element) -> None:
    outer, signature = evil(signed), copy.deepcopy(signature_of(signed))
    root.replace(signed, outer)
    inside(signature, f"{{{DSIG}}}KeyInfo", signed)
    outer.insert(1, signature)


@attack
def signed_assertion_under_an_unknown_element(root: etree._Element, signed: etree._Element) -> None:
    root.replace(signed, evil(signed))
    inside(root, "{urn:x}Wrapper", signed)


@attack
def evil_assertion_of_the_same_id(_: etree._Element, signed: etree._Element) -> None:
    signed.addprevious(evil(signed, None))


@attack
def evil_assertion_with_a_copy_of_the_signature(_: etree._Element, signed: etree._Element) -> None:
    other = evil(signed)
    other.insert(1, copy.deepcopy(signature_of(signed)))
    signed.addprevious(other)


@attack
def evil_assertion_of_another_namespace(_: etree._Element, signed: etree._Element) -> None:
    other = evil(signed)
    other.tag = "{urn:x}Assertion"
    signed.addprevious(other)


@attack
def evil_assertion_of_saml_1(_: etree._Element, signed: etree._Element) -> None:
    other = evil(signed)
    other.tag = "{urn:oasis:names:tc:SAML:1.0:assertion}Assertion"
    signed.addnext(other)


@attack
def evil_response_inside_the_signed_one(root: etree._Element, _: etree._Element) -> None:
    root.append(evil_response(root))


@attack
def signed_response_inside_an_evil_one(root: etree._Element, _: etree._Element) -> etree._Element:
    outer = evil_response(root)
    outer.append(root)
    return outer


@attack
def signed_response_in_the_extensions_of_an_evil_one(root: etree._Element, _: etree._Element) -> etree._Element:
    outer = evil_response(root)
    extensions = etree.Element(f"{{{PROTOCOL}}}Extensions")
    extensions.append(root)
    outer.insert(1, extensions)
    return outer


@attack
def another_root(root: etree._Element, _: etree._Element) -> etree._Element:
    outer = etree.Element("{http://schemas.xmlsoap.org/soap/envelope/}Envelope")
    inside(outer, "{http://schemas.xmlsoap.org/soap/envelope/}Body", root)
    return outer


@attack
def an_artifact_response_around(root: etree._Element, _: etree._Element) -> etree._Element:
    outer = etree.Element(f"{{{PROTOCOL}}}ArtifactResponse")
    outer.append(root)
    return outer


@attack
def the_signature_as_the_root(root: etree._Element, signed: etree._Element) -> etree._Element:
    """signxml takes a root that is a signature for the signature, wherever it was told to look."""
    holder = root if root.find(SIGNATURE) is not None else signed
    signature = copy.deepcopy(signature_of(holder))
    inside(signature, f"{{{DSIG}}}Object", unsigned(holder), evil(signed))
    return signature


@attack
def two_signatures_on_one_element(root: etree._Element, signed: etree._Element) -> None:
    for holder in (root, signed):
        for signature in holder.findall(SIGNATURE):
            signature.addnext(copy.deepcopy(signature))


@attack
def the_signature_at_the_end(root: etree._Element, signed: etree._Element) -> None:
    for holder in (root, signed):
        holder.extend(holder.findall(SIGNATURE))


@attack
def the_signature_before_the_issuer(root: etree._Element, signed: etree._Element) -> None:
    for holder in (root, signed):
        for signature in holder.findall(SIGNATURE):
            holder.insert(0, signature)


@attack
def the_signature_in_the_subject(root: etree._Element, signed: etree._Element) -> None:
    for holder in (root, signed):
        for signature in holder.findall(SIGNATURE):
            signed[-4].append(signature)


@attack
def the_signatures_changed_places(root: etree._Element, signed: etree._Element) -> None:
    of_root, of_signed = root.find(SIGNATURE), signed.find(SIGNATURE)
    if of_root is not None:
        signed.insert(1, of_root)
    if of_signed is not None:
        root.insert(1, of_signed)


@attack
def an_assertion_without_an_id(root: etree._Element, signed: etree._Element) -> None:
    for holder in (root, signed):
        del holder.attrib["ID"]


@attack
def the_response_has_the_assertions_id(root: etree._Element, signed: etree._Element) -> None:
    root.set("ID", "_a1")
    signed.set("ID", "_a1")


@attack
def no_assertion(root: etree._Element, signed: etree._Element) -> None:
    root.remove(signed)


def attacked(name: str, sign: str) -> bytes:
    root = etree.fromstring(GOOD[sign])
    signed = root.find(ASSERTION_TAG)
    assert signed is not None
    changed = ATTACKS[name](root, signed)
    data = etree.tostring(root if changed is None else changed)
    assert data != GOOD[sign]
    return data


@pytest.mark.parametrize("sign", GOOD)
@pytest.mark.parametrize("name", ATTACKS)
def test_wrapping(name: str, sign: str) -> None:
    assert code(attacked(name, sign)) == "malformed"


@pytest.mark.parametrize("sign", GOOD)
@pytest.mark.parametrize("name", ATTACKS)
def test_without_the_checks_of_shape_the_attacker_still_gets_nothing(
    name: str, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line: claims are read from what was digested, and that must be the element that carries it."""
    monkeypatch.setattr(signatures, "_check_shape", lambda _root: None)
    try:
        facts = verify(attacked(name, sign))
    except Exception:  # noqa: BLE001 (without its first line the code may stumble; it must not accept)
        return
    assert facts.subject == "u@example"


@pytest.mark.parametrize("name", ["EncryptedAssertion", "EncryptedID", "EncryptedAttribute"])
def test_encrypted_parts_cannot_be_decided(name: str) -> None:
    part = f'<saml:{name} xmlns:saml="{ASSERTION}"/>'.encode()
    for sign, data in GOOD.items():
        assert code(data.replace(b"</samlp:Response>", part + b"</samlp:Response>")) == "unsupported_format", sign


def test_evil_response_around_a_signed_assertion_says_nothing() -> None:
    """A signed assertion in a response of the attacker's yields the assertion's facts, and nothing of the response."""
    outer = Message(response_head=f'ID="_evil" Version="2.0" IssueInstant="{when()}" InResponseTo="_request-1"')
    facts = verify(outer.response(sign_element(outer.assertion(), SMALL)).encode())
    assert facts.subject == "u@example"
    assert facts.response_id is None
    assert any("the response around the assertion is not signed" in each for each in facts.not_covered)


def test_evil_response_that_claims_to_be_signed() -> None:
    """The assertion's signature holds, the response's is that of another response."""
    outer = Message(response_head=Message().response_head.replace("_r1", "_r2"))
    inner = sign_element(outer.assertion(), SMALL)
    foreign = etree.fromstring(GOOD["response"]).find(SIGNATURE)
    assert foreign is not None
    root = etree.fromstring(outer.response(inner))
    root.insert(1, foreign)
    assert code(etree.tostring(root)) == "malformed"
    root.set("ID", "_r1")
    assert code(etree.tostring(root)) == "signature_invalid"


def test_signature_of_another_assertion_with_the_same_id() -> None:
    other = etree.fromstring(sign_element(Message(name_id="<saml:NameID>v@example</saml:NameID>").assertion(), SMALL))
    mine = etree.fromstring(sign_element(Message().assertion(), SMALL))
    mine.replace(mine[1], other[1])
    assert code(etree.tostring(mine)) == "signature_invalid"


@pytest.mark.parametrize("stray", [f'<ds:Signature xmlns:ds="{DSIG}"/>', '<x:Signature xmlns:x="urn:x"/>'])
def test_strays_in_the_unsigned_envelope(stray: str) -> None:
    for place in (b"</samlp:Status>", b"</samlp:Response>"):
        assert code(GOOD["assertion"].replace(place, stray.encode() + place)) == "malformed"
