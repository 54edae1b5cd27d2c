"""XML bytes into a small frozen tree: the only reader of SAML messages, for what arrives and for what was signed.

UTF-8 only, and neither document types, comments, processing instructions, entities nor CDATA: nothing that two readers
could see differently. Sizes are bounded. Identifiers are unique, and no attribute but SAML's `ID` may look like one.
Namespaces are absolute, since canonicalisation yields nothing at all for others. Uses the parser that signxml uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lxml import etree

from verifier.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAXIMUM_XML_BYTES: Final = 1024 * 1024
MAXIMUM_DEPTH: Final = 32
MAXIMUM_ELEMENTS: Final = 10_000
MAXIMUM_ATTRIBUTES: Final = 64  # of one element
MAXIMUM_NAMESPACES: Final = 500  # declarations in the message
WHITE_SPACE: Final = " \t\r\n"  # XML 1.0 production 3; Python's own idea of it is wider

_DECLARATION: Final = re.compile(
    rb"""<\?xml\s+version=(['"])1\.0\1(\s+encoding=(['"])[Uu][Tt][Ff]-8\3)?(\s+standalone=(['"])(yes|no)\5)?\s*\?>"""
)
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+#?", re.ASCII)
_IDENTIFIED: Final = frozenset(
    {"{urn:oasis:names:tc:SAML:2.0:assertion}Assertion", "{urn:oasis:names:tc:SAML:2.0:protocol}Response"}
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Node:
    """An element: namespace, local name, attributes (`{namespace}name` where they have one), children, own text."""

    namespace: str
    name: str
    attributes: Mapping[str, str]
    children: tuple[Node, ...]
    text: str

    def is_a(self, namespace: str, name: str) -> bool:
        """Whether this is that element."""
        return (self.namespace, self.name) == (namespace, name)

    def all(self, namespace: str, name: str) -> tuple[Node, ...]:
        """The children with this name, in order."""
        return tuple(child for child in self.children if child.is_a(namespace, name))

    def walk(self) -> Iterator[Node]:
        """This element and everything below it, in document order."""
        yield self
        for child in self.children:
            yield from child.walk()


def new_parser() -> etree.XMLParser:
    """A parser that expands, loads and repairs nothing."""
    return etree.XMLParser(
        resolve_entities=False, load_dtd=False, dtd_validation=False, no_network=True, huge_tree=False, recover=False
    )


def parse_xml(data: bytes) -> Node:
    """The tree of the document. Rejected (too_large, malformed) for anything but the strict form."""
    if len(data) > MAXIMUM_XML_BYTES:
        raise Rejected("too_large", f"The message is larger than {MAXIMUM_XML_BYTES} bytes.")
    _check_text(data)
    try:
        root = etree.fromstring(data, parser=new_parser())
        docinfo = root.getroottree().docinfo
    except Exception as error:
        # lxml raises many kinds of exception on hostile input; each of them means that this is no message.
        raise Rejected("malformed", "The message is not well-formed XML.") from error
    if docinfo.internalDTD is not None or docinfo.externalDTD is not None:
        raise Rejected("malformed", "The message has a document type.")
    node = _Builder().build(root, 1)
    _check_identifiers(node)
    return node


def _check_text(data: bytes) -> None:
    """In well-formed XML `<!` and `<?` begin nothing but what is refused here."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected("malformed", "The message is not UTF-8.") from error
    if data.startswith(b"\xef\xbb\xbf"):
        raise Rejected("malformed", "The message begins with a byte order mark.")
    if data.count(b"xmlns") > MAXIMUM_NAMESPACES:
        raise Rejected("too_large", f"The message declares more than {MAXIMUM_NAMESPACES} namespaces.")
    declaration = _DECLARATION.match(data)
    body = data[declaration.end() :] if declaration else data
    if b"<!" in body or b"<?" in body or b"\x00" in body:
        message = "The message has a document type, comment, CDATA section or processing instruction."
        raise Rejected("malformed", message)


class _Builder:
    """Copies lxml's tree, counting elements."""

    def __init__(self) -> None:
        self._count = 0

    def build(self, element: etree._Element, depth: int) -> Node:
        self._count += 1
        if depth > MAXIMUM_DEPTH or self._count > MAXIMUM_ELEMENTS:
            raise Rejected("too_large", "The message is nested too deeply or has too many elements.")
        if not isinstance(element.tag, str):
            raise Rejected("malformed", "The message has a comment, processing instruction or entity.")
        if len(element.attrib) > MAXIMUM_ATTRIBUTES:
            raise Rejected("too_large", f"An element of the message has more than {MAXIMUM_ATTRIBUTES} attributes.")
        if not all(_ABSOLUTE.fullmatch(namespace) for namespace in element.nsmap.values()):
            raise Rejected("malformed", "The message declares a namespace that is not an absolute URI.")
        name = etree.QName(element)
        children = tuple(self.build(child, depth + 1) for child in element)
        texts = (element.text, *(child.tail for child in element))
        return Node(
            namespace=name.namespace or "",
            name=name.localname,
            attributes=MappingProxyType({str(key): str(value) for key, value in element.attrib.items()}),
            children=children,
            text="".join(text for text in texts if text),
        )


def _check_identifiers(root: Node) -> None:
    seen: set[str] = set()
    for node in root.walk():
        for attribute, value in node.attributes.items():
            if attribute.rpartition("}")[2].lower() != "id":
                continue
            if attribute != "ID" or f"{{{node.namespace}}}{node.name}" not in _IDENTIFIED:
                raise Rejected("malformed", "The message has an identifier where SAML has none, or spelled otherwise.")
            if not _NAME.fullmatch(value):
                raise Rejected("malformed", "An identifier in the message is not a plain name.")
            if value in seen:
                raise Rejected("malformed", "Two elements of the message have the same identifier.")
            seen.add(value)
