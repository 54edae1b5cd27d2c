"""`/docs`: the whole contract as one page that asks nothing of the browser and nothing of anyone else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from signer.problems import PROBLEMS
from signer.web.openapi import document
from signer.web.reference import curl, members, prose, type_of

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess


class Page(HTMLParser):
    """Every element with its attributes, every id, and the text of what is in `pre`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.blocks: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)
        if tag == "pre":
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes what is not open"

    def handle_data(self, data: str) -> None:
        self.text += data
        if "pre" in self.open:
            self.blocks[-1] += data


@pytest.fixture(scope="module")
def page(service: ServiceInProcess) -> Page:
    answer = service.client.get("/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    return Page(answer.get_data(as_text=True))


def test_it_is_well_formed_and_its_links_lead_somewhere(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes.get("href") or "" for tag, attributes in page.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(ids)
    assert {link for link in links if not link.startswith("#")} == {"/openapi.json"}


def test_it_needs_no_script_and_nothing_from_elsewhere(page: Page, service: ServiceInProcess) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "input", "base", "svg"}
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on")} | (attributes.keys() & {"src", "style"})
    text = service.client.get("/docs").get_data(as_text=True)
    style = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    assert not re.search(r"url\(|@import", style[0])


def test_its_policy_allows_its_own_style_sheet_and_no_more(service: ServiceInProcess) -> None:
    answer = service.client.get("/docs")
    style = re.findall("<style>(.*?)</style>", answer.get_data(as_text=True), re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    directives = dict(each.strip().split(" ", 1) for each in answer.headers["Content-Security-Policy"].split(";"))
    assert directives == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_it_says_everything_that_the_document_says(page: Page) -> None:
    """Every call with its path, duty, parameters, members and codes; every schema; every problem."""
    contract = document()
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for path, operations in contract["paths"].items():
        assert path in page.text
        for operation in operations.values():
            assert operation["operationId"] in ids
            assert operation["summary"] in page.text
            assert str(operation["description"]).replace("`", "") in page.text
            assert all(each["name"] in page.text for each in operation["parameters"])
    for name, schema in contract["components"]["schemas"].items():
        assert f"schema-{name}" in ids
        assert all(member["name"] in page.text for member in members(schema))
    assert {f"problem-{code}" for code in PROBLEMS} <= ids


def test_each_call_has_a_command_that_makes_it(page: Page) -> None:
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            command = curl(method, path, operation)
            assert command in page.blocks
            words = shlex.split(command)
            assert words[0] == "curl"
            assert words[-1].startswith("$SEALMARK_URL/")
            assert "{" not in words[-1]
            assert not any("Bearer" in word for word in words)  # a token in a list of processes
            assert ("@token.header" in words) == (operation["security"] == [{"bearer": []}])
            assert (words[words.index("-X") + 1] if "-X" in words else "GET") == method.upper()
            if "--json" in words:
                sent = json.loads(words[words.index("--json") + 1])
                assert sent == operation["requestBody"]["content"]["application/json"]["example"]


def test_bounds_and_types_are_in_words() -> None:
    schemas = document()["components"]["schemas"]
    found = {member["name"]: member for member in members(schemas["Artifacts"])}
    assert (found["artifacts"]["type"], found["artifacts"]["required"]) == ("array of Artifact", True)
    assert found["artifacts"]["bounds"] == "at least 1 items; at most 1000 items"
    days = next(members(schemas["Deletion"]))
    assert (days["type"], days["bounds"]) == ("integer", "at least 7; at most 30; default 30")
    name = next(member for member in members(schemas["NewPrincipal"]) if member["name"] == "name")
    assert name["bounds"] == "pattern ^(user|role)/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$"
    assert name["description"] == "user/NAME or role/NAME"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "any"),
        ({"type": "string", "contentEncoding": "base64"}, "string (base64)"),
        ({"type": "string", "format": "date-time"}, "string (date-time)"),
        ({"anyOf": [{"$ref": "#/components/schemas/X"}, {"type": "null"}]}, "X or null"),
        ({"enum": ["a", "b"]}, '"a" | "b"'),
    ],
)
def test_a_type_in_words(schema: dict[str, Any], text: str) -> None:
    assert type_of(schema) == text


def test_what_the_document_says_cannot_become_markup() -> None:
    assert prose("a <b> `c & <d>`") == "a &lt;b&gt; <code>c &amp; &lt;d&gt;</code>"


def test_the_templates_are_in_the_distribution() -> None:
    """Which files of a package go along is said in pyproject.toml alone."""
    root = Path(__file__).resolve().parents[3]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["signer"]
    templates = sorted(path.relative_to(root / "signer") for path in (root / "signer/web/templates").iterdir())
    assert templates
    assert [path for path in templates if not any(path.match(pattern) for pattern in patterns)] == []
