"""Defect class: path traversal past a policy. There is one way to write each path; every other spelling of it, or a way
through one's own thing to another's, is no path at all: for every route that names a key or a principal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from keystore.db.schema import METADATA
from signer.access.duties import DUTIES_OF, OWN_ACTIONS, Action, Duty
from signer.web.contract import contract_of
from signer.web.routes import ENDPOINTS
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token
    from signer.web.endpoints import Endpoint

NAMING: Final = [each for each in ENDPOINTS if "<key>" in each.path or "<kind>/<name>" in each.path]
PURPOSES: Final[dict[str, dict[str, Any]]] = {
    "release": {"purpose": "artifact"},
    "device": {"purpose": "general"},
    "tokens": {"purpose": "jwt", "audiences": ["https://api.example"], "max_ttl": 600},
    "sso": {"purpose": "saml", "audiences": ["https://sp.example"], "recipients": ["https://sp.example/acs"]},
}
# From (what one may, what another may) to a part of the path that a careless reader would take for the other's.
THROUGH_ONES_OWN: Final[dict[str, Callable[[str, str], str]]] = {
    "dot segments": lambda mine, theirs: f"{mine}/../{theirs}",
    "encoded dots": lambda mine, theirs: f"{mine}/%2e%2e/{theirs}",
    "half encoded dots": lambda mine, theirs: f"{mine}/.%2E/{theirs}",
    "encoded slashes": lambda mine, theirs: f"{mine}%2f..%2f{theirs}",
    "twice encoded slashes": lambda mine, theirs: f"{mine}%252f..%252f{theirs}",
    "backslashes": lambda mine, theirs: f"{mine}\\..\\{theirs}",
    "encoded backslashes": lambda mine, theirs: f"{mine}%5c..%5c{theirs}",
    "parameters of a segment": lambda mine, theirs: f"{mine};/../{theirs}",
    "a dot segment with a parameter": lambda mine, theirs: f"{mine}/..;/{theirs}",
    "an empty segment": lambda mine, theirs: f"{mine}//{theirs}",
    "an overlong slash": lambda mine, theirs: f"{mine}%c0%af..%c0%af{theirs}",
    "a fullwidth slash": lambda mine, theirs: f"{mine}%ef%bc%8f..%ef%bc%8f{theirs}",
    "a null": lambda mine, theirs: f"{mine}%00{theirs}",
    "a list": lambda mine, theirs: f"{mine},{theirs}",
    "two at once": lambda mine, theirs: f"{mine}&key={theirs}",
    "a line feed": lambda mine, theirs: f"{mine}%0a{theirs}",
}
OTHER_SPELLINGS: Final[dict[str, Callable[[str], str]]] = {
    "upper case": str.upper,
    "an upper-case letter": str.capitalize,
    "a parameter": lambda name: f"{name};a=b",
    "an encoded parameter": lambda name: f"{name}%3ba=b",
    "a dot segment before": lambda name: f"./{name}",
    "a dot behind": lambda name: f"{name}.",
    "a space behind": lambda name: f"{name}%20",
    "a tab before": lambda name: f"%09{name}",
    "a null behind": lambda name: f"{name}%00",
    "a line feed behind": lambda name: f"{name}%0a",
    "an ending": lambda name: f"{name}.json",
    "a wildcard": lambda name: f"{name[:-1]}*",
    "nothing but a wildcard": lambda _name: "*",
    "an alias of AWS": lambda name: f"alias%2f{name}",
    "a fullwidth letter": lambda name: "%ef%bd%81" + name[1:],
    "a combining mark": lambda name: f"{name}%cc%81",
    "a zero-width space": lambda name: f"{name}%e2%80%8b",
}


@dataclass(frozen=True)
class Scene:
    """Keys of each purpose in two hands, and two roles."""

    service: ServiceInProcess
    token_id: str

    def rows(self) -> str:
        with self.service.services.keystore.database.read() as connection:
            tables = [table for table in METADATA.sorted_tables if not table.name.startswith(("audit_", "log_"))]
            found = [sorted(map(repr, connection.execute(select(table)))) for table in tables]
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def ask(self, endpoint: Endpoint, path: str) -> int:
        example = contract_of(endpoint.method, endpoint.path).request or {}
        body = {
            name: "AAAA" if "…" in str(value) else value for name, value in example.items()
        }  # what is shortened there
        sent = None if endpoint.method == "GET" else body
        return self.service.call(caller_of(endpoint), endpoint.method, path, sent).status_code


@pytest.fixture(scope="module")
def scene(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_service(token, tmp_path_factory.mktemp("traversal")) as service:
        for alias, members in PURPOSES.items():
            service.make_key(alias, published=False, **members)
            theirs = {"users": ["role/other"], "published": False, **members}
            made = {"alias": f"their-{alias}", "spec": "ECC_NIST_P256", **theirs}
            service.made("user/other-key-admin", "POST", "/v1/keys", made)
        (listed,) = service.made("role/ci", "GET", "/v1/principals/role/ci/tokens")["tokens"]
        yield Scene(service, listed["id"])


def caller_of(endpoint: Endpoint) -> str | None:
    if endpoint.action is None:
        return "role/ci" if endpoint.credential_helps else None
    if endpoint.action in OWN_ACTIONS or endpoint.action is Action.REQUEST_APPROVAL:
        return "role/ci"
    people = {Duty.ADMINISTRATOR: "user/admin", Duty.KEY_ADMINISTRATOR: "user/key-admin", Duty.KEY_USER: "role/ci"}
    return next(name for duty, name in people.items() if duty in DUTIES_OF[endpoint.action])


def no_path(endpoint: Endpoint) -> tuple[int, ...]:
    """404, or 405. The tokens of whoever is not the caller are not the caller's: so of a strange name too, 403."""
    if endpoint.path.endswith("/<policy>"):
        return (404, 405, 422)  # what stands at the end is a policy's name, and is refused as one
    return (403, 404, 405) if endpoint.action in OWN_ACTIONS else (404, 405)


def own_name_as(spell: Callable[[str], str]) -> Callable[[str, str], str]:
    return lambda mine, _theirs: spell(mine)


def path_of(scene: Scene, endpoint: Endpoint, spell: Callable[[str, str], str]) -> str:
    """The route's path with one's own and another's name spelled so."""
    path = endpoint.path.replace("<credential>", scene.token_id)
    for other in ("policy", "grant", "revision", "binding"):
        path = path.replace(f"<{other}>", "1")
    if "<key>" not in path:
        return path.replace("<kind>/<name>", f"role/{spell('ci', 'role/other')}")
    own = contract_of(endpoint.method, endpoint.path).key or "release"
    return path.replace("<key>", spell(own, f"their-{own}"))


def route_id(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


@pytest.mark.parametrize("endpoint", NAMING, ids=route_id)
def test_no_way_leads_through_ones_own_to_anothers(scene: Scene, endpoint: Endpoint) -> None:
    before = scene.rows()
    for name, spell in THROUGH_ONES_OWN.items():
        status = scene.ask(endpoint, path_of(scene, endpoint, spell))
        assert status in no_path(endpoint), name
    assert scene.rows() == before


@pytest.mark.parametrize("endpoint", NAMING, ids=route_id)
def test_each_name_has_one_spelling(scene: Scene, endpoint: Endpoint) -> None:
    before = scene.rows()
    for name, spell in OTHER_SPELLINGS.items():
        status = scene.ask(endpoint, path_of(scene, endpoint, own_name_as(spell)))
        assert status in no_path(endpoint), name
    assert scene.rows() == before


@pytest.mark.parametrize("endpoint", NAMING, ids=route_id)
def test_each_path_has_one_spelling(scene: Scene, endpoint: Endpoint) -> None:
    plain = path_of(scene, endpoint, lambda mine, _theirs: mine)
    before = scene.rows()
    others = [
        f"{plain}/",
        f"{plain}//",
        f"{plain}/.",
        f"/{plain}",
        f"{plain};x",
        f"{plain}%2f",
        plain.replace("/v1/", "/V1/"),
        plain.replace("/v1/", "/v1;x=1/"),
        plain.replace("/v1/", "/v1/./"),
        plain.replace("/v1/", "/v2/../v1/"),
        plain.replace("/v1/keys", "/v1/KEYS").replace("/v1/principals", "/v1/Principals"),
    ]
    for path in others:
        assert scene.ask(endpoint, path) in no_path(endpoint), path
    assert scene.rows() == before


def test_a_letter_that_is_encoded_for_no_reason_is_that_letter(scene: Scene) -> None:
    """As RFC 3986 section 6.2.2.2 has it: the policy sees the name that the key is found by, however it was written."""
    for who, expected in (("role/ci", 200), ("role/other", 404), ("user/admin", 403)):
        for path in ("/v1/keys/%64evice", "/v1/keys/device"):
            assert scene.service.call(who, "GET", path).status_code == expected
