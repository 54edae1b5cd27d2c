"""XML as such: document types, entities, comments, instructions, encodings, identifiers, sizes."""

from __future__ import annotations

import base64
import codecs
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from tests.verifier.saml_builder import Message, build, sign_element
from tests.verifier.saml_checks import SMALL, code, verify
from verifier.saml import xml

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = build(sign="assertion", signing=SMALL)
BOTH = build(sign="both", signing=SMALL)
USER = b"u@example"


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


def before(text: bytes) -> Callable[[bytes], bytes]:
    return lambda data: text + data


def around(declaration: bytes, reference: bytes) -> Callable[[bytes], bytes]:
    return lambda data: declaration + data.replace(USER, reference, 1)


LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * 10 if level else b"lol") for level in range(10)
)
INCLUDE = b'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>'
FORMS: dict[str, Callable[[bytes], bytes]] = {
    # document types and entities
    "an empty document type": before(b"<!DOCTYPE Response>"),
    "a document type with a public name": before(b'<!DOCTYPE x PUBLIC "-//x" "http://evil.example/x.dtd">'),
    "a document type after the declaration": before(b'<?xml version="1.0"?><!DOCTYPE x [ ]>'),
    "an internal entity": around(b'<!DOCTYPE x [<!ENTITY e "root@example">]>', b"&e;"),
    "an internal entity that nobody uses": before(b'<!DOCTYPE x [<!ENTITY e "f">]>'),
    "an external entity": around(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', b"&e;"),
    "an external entity of the network": around(b'<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]>', b"&e;"),
    "a parameter entity": before(b'<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/">%e;]>'),
    "a billion laughs": around(b"<!DOCTYPE x [" + LAUGHS + b"]>", b"&l9;"),
    "quadratic blowup": around(b'<!DOCTYPE x [<!ENTITY e "' + b"x" * 50_000 + b'">]>', b"&e;" * 1000),
    "an entity that contains itself": around(b'<!DOCTYPE x [<!ENTITY e "&e;">]>', b"&e;"),
    "a default attribute": before(b'<!DOCTYPE x [<!ATTLIST y ID ID #FIXED "_a1">]>'),
    "an attribute declared an id": before(b"<!DOCTYPE x [<!ATTLIST Status Foo ID #IMPLIED>]>"),
    "a notation": before(b'<!DOCTYPE x [<!NOTATION n SYSTEM "x">]>'),
    "an entity that is not declared": swap(USER, b"&x;"),
    "an entity of HTML": swap(USER, b"u&commat;example"),
    "an entity in an attribute": swap(b'Name="role"', b'Name="&x;"'),
    "a reference to no character": swap(USER, b"&#0;"),
    "a reference to half a character": swap(USER, b"&#xD800;"),
    "a reference beyond Unicode": swap(USER, b"&#x110000;"),
    # comments: user@x.evil is user@x for who reads the first piece of text only
    "a comment in the name": swap(USER, b"u@example<!-- -->.evil"),
    "an empty comment in the name": swap(USER, b"u@example<!---->.evil"),
    "a comment in an attribute's value": swap(b">admin<", b">adm<!--x-->in<"),
    "a comment in the issuer": swap(b"https://idp.example<", b"https://idp<!---->.example<"),
    "a comment in the audience": swap(b"https://sp.example<", b"https://sp.example<!--x--><"),
    "a comment in the status": swap(b"<samlp:Status>", b"<samlp:Status><!--x-->"),
    "a comment in front": before(b"<!-- hello -->"),
    "a comment behind": lambda data: data + b"<!-- hello -->",
    "a comment that is not closed": swap(USER, b"u<!--"),
    # processing instructions and CDATA
    "an instruction in the name": swap(USER, b"u@example<?x?>.evil"),
    "an instruction in front": before(b"<?x y?>"),
    "an instruction behind": lambda data: data + b"<?x y?>",
    "a stylesheet": before(b'<?xml-stylesheet href="http://evil.example/x.xsl" type="text/xsl"?>'),
    "a declaration in the middle": swap(b"<samlp:Status>", b'<?xml version="1.0"?><samlp:Status>'),
    "two declarations": before(b'<?xml version="1.0"?><?xml version="1.0"?>'),
    "CDATA as the name": swap(USER, b"<![CDATA[u@example]]>"),
    "CDATA in the name": swap(USER, b"u@example<![CDATA[.evil]]>"),
    "an empty CDATA": swap(USER, b"u@example<![CDATA[]]>"),
    "the end of CDATA alone": swap(USER, b"u]]>"),
    # encodings
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda data: data.decode().encode("utf-16-le"),
    "UTF-32": lambda data: data.decode().encode("utf-32"),
    "UTF-16 declared, UTF-8 in truth": before(b'<?xml version="1.0" encoding="UTF-16"?>'),
    "UTF-7 declared": before(b'<?xml version="1.0" encoding="UTF-7"?>'),
    "Latin-1 declared": before(b'<?xml version="1.0" encoding="ISO-8859-1"?>'),
    "EBCDIC": lambda data: data.decode().encode("cp037"),
    "an unknown encoding declared": before(b'<?xml version="1.0" encoding="x"?>'),
    "a byte order mark": before(codecs.BOM_UTF8),
    "a byte order mark and a declaration": before(codecs.BOM_UTF8 + b'<?xml version="1.0"?>'),
    "XML 1.1": before(b"<?xml version='1.1'?>"),
    "XML 1.1 and a control character": around(b"<?xml version='1.1'?>", b"u&#1;"),
    "a control character": swap(USER, b"u\x01"),
    "white space before the declaration": before(b' <?xml version="1.0"?>'),
    "a byte that is not UTF-8": swap(USER, b"\xff"),
    "an overlong encoding": swap(USER, b"u\xc0\x80"),
    "a surrogate in UTF-8": swap(USER, b"\xed\xa0\x80"),
    "NUL": swap(USER, b"u@example\x00.evil"),
    "NUL at the end": lambda data: data + b"\x00",
    "U+FFFF": swap(USER, "u\uffff".encode()),
    # what is no XML
    "nothing": lambda _: b"",
    "cut short": lambda data: data[:-1],
    "something behind": lambda data: data + b"x",
    "two roots": lambda data: data + data,
    "base64, as it travels": base64.b64encode,
    "another root": lambda _: b"<a/>",
    "the same attribute twice": swap(b'Version="2.0"', b'Version="2.0" Version="2.0"'),
    "the same attribute by two prefixes": swap(
        b'Version="2.0"', b'Version="2.0" xmlns:a="urn:a" xmlns:b="urn:a" a:x="" b:x=""'
    ),
    # namespaces
    "an undeclared prefix": swap(b"<samlp:Status>", b"<samlp:Status><x:y/>"),
    "the response's prefix means something else": swap(
        b'xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"', b'xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol "'
    ),
    "a relative namespace": swap(b"<samlp:Status>", b'<samlp:Status xmlns:x="x">'),
    "a relative namespace in front": swap(b"<samlp:Response ", b'<samlp:Response xmlns:x="../x" '),
    "a namespace that is a fragment": swap(b"<samlp:Status>", b'<samlp:Status xmlns:x="#x">'),
    "no namespace": swap(b"<samlp:Status>", b'<samlp:Status xmlns=""><x/>'),
    "the xml prefix means something else": swap(b"<samlp:Status>", b'<samlp:Status xmlns:xml="urn:x">'),
    "the xmlns prefix means something else": swap(b"<samlp:Status>", b'<samlp:Status xmlns:xmlns="urn:x">'),
    "XInclude": swap(b"<samlp:Status>", INCLUDE + b"<samlp:Status>"),
    # identifiers
    "two elements with one ID": swap(b'ID="_r1"', b'ID="_a1"'),
    "an ID where SAML has none": swap(b"<samlp:Status>", b'<samlp:Status ID="_x">'),
    **{
        f"an identifier spelled {name}": swap(b"<samlp:Status>", b'<samlp:Status %s="_a1">' % name.encode())
        for name in ("Id", "id", "iD", "xml:id", 'xmlns:x="urn:x" x:ID', 'xmlns:x="urn:x" x:iD')
    },
    "another spelling beside the ID": swap(b'ID="_r1"', b'ID="_r1" Id="_a1"'),
    "another spelling in place of the ID": swap(b'ID="_r1"', b'Id="_r1"'),
    "an ID of a namespace beside it": swap(b'ID="_r1"', b'ID="_r1" xmlns:x="urn:x" x:ID="_x"'),
    "an ID that is no name": swap(b'ID="_r1"', b'ID="#r1"'),
    "an ID with a quote": swap(b'ID="_r1"', b"ID=\"_r1' or '1'='1\""),
    "an ID that is empty": swap(b'ID="_r1"', b'ID=""'),
    "an ID that is not ASCII": swap(b'ID="_r1"', 'ID="_r\u0661"'.encode()),
}


@pytest.mark.parametrize("name", FORMS)
def test_form(name: str) -> None:
    changed = FORMS[name](GOOD)
    assert changed != GOOD
    assert code(changed) == "malformed"


def test_well_formed_changes_inside_what_is_signed() -> None:
    assert code(swap(USER, INCLUDE)(GOOD)) == "signature_invalid"
    assert code(swap(b"<saml:Subject>", b'<saml:Subject xmlns:saml="urn:x">')(GOOD)) == "signature_invalid"


def test_a_signed_message_cannot_be_read_in_two_ways_either() -> None:
    """What the identity provider itself signed is refused in the same way: nobody's reading is trusted."""
    for inside in ("u@example<!---->.evil", "u@example<?x?>", "<![CDATA[u@example]]>", "<x:y xmlns:x='x'/>"):
        text = Message(name_id=f"<saml:NameID>{inside}</saml:NameID>").assertion()
        if "xmlns" in inside:
            with pytest.raises(etree.LxmlError):
                sign_element(text, SMALL)
        else:
            # signxml's own reader drops comments and CDATA when it canonicalises: the signature would hold.
            signed = sign_element(text.replace(inside, "MARK"), SMALL)
            assert code(signed.replace("MARK", inside).encode()) == "malformed"


LARGE: dict[str, Callable[[], bytes]] = {
    "more than a mebibyte": lambda: b"<a>" + b"x" * 1024 * 1024 + b"</a>",
    "deep": lambda: b"<a>" * 33 + b"</a>" * 33,
    "deep in the response": lambda: GOOD.replace(b"</samlp:Status>", b"<a>" * 40 + b"</a>" * 40 + b"</samlp:Status>"),
    "many elements": lambda: b"<a>" + b"<b/>" * xml.MAXIMUM_ELEMENTS + b"</a>",
    "many attributes": lambda: b"<a " + b" ".join(b'a%d=""' % number for number in range(65)) + b"/>",
    "very many attributes": lambda: b"<a " + b" ".join(b'a%d=""' % number for number in range(50_000)) + b"/>",
    "many namespaces": lambda: b"<a " + b" ".join(b'xmlns:a%d="urn:a"' % number for number in range(501)) + b"/>",
    "very many namespaces on every element": lambda: (
        b"<a " + b" ".join(b'xmlns:a%d="urn:a"' % number for number in range(20_000)) + b">" + b"<b/>" * 9000 + b"</a>"
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_bounds(name: str) -> None:
    assert code(LARGE[name]()) == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        b"<a>" * 5000 + b"</a>" * 5000,
        b"<a>" * 300_000,
        b"<a " + b"b" * 1_000_000 + b'=""/>',
        b"<" + b"a" * 1_000_000 + b"/>",
        b"<a b='" + b"x" * 1_000_000,
        b"<" * 1_000_000,
        b"&" * 1_000_000,
    ],
    ids=["very deep", "deep and open", "a long name", "a long tag", "a long attribute", "brackets", "ampersands"],
)
def test_hostile_sizes_end_soon(data: bytes) -> None:
    """No verdict but a no; a hang is ended by faulthandler's timeout."""
    assert code(data) in {"too_large", "malformed"}


def test_long_but_allowed_texts_are_read_like_others() -> None:
    long = "x" * 900_000
    text = Message(name_id=f"<saml:NameID>{long}</saml:NameID>").assertion()
    assert verify(sign_element(text, SMALL).encode()).subject == long


def test_declarations_that_are_fine() -> None:
    for declaration in (b"<?xml version='1.0'?>", b'<?xml version="1.0" encoding="utf-8" standalone="yes" ?>\n'):
        assert verify(declaration + BOTH)
    assert verify(BOTH + b"\n")


def test_character_references_are_what_they_stand_for() -> None:
    assert verify(GOOD.replace(USER, b"&#117;@example")).subject == "u@example"


@pytest.mark.parametrize("kind", [ValueError, TypeError, RecursionError, MemoryError, AssertionError, etree.LxmlError])
def test_every_exception_of_the_parser_is_a_rejection(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise kind("no")

    monkeypatch.setattr("verifier.saml.xml.etree.fromstring", fail)
    assert code(GOOD) == "malformed"
