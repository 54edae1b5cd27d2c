"""Issuers: which URLs may be one, and how they are made and listed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from signer.administration.issuers import ENDPOINTS, require_endpoint, require_issuer_url
from signer.errors import Unprocessable

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

GOOD = (
    "https://issuer.example",
    "https://issuer.example/",
    "https://issuer.example:8443/tenants/a-b_c~d",
    "https://192.0.2.1/x",
    "https://[2001:db8::1]:8443/x",
    "http://localhost:8200/issuers/default",
    "http://127.0.0.1:8200",
    "http://[::1]/x",
    "https://issuer.example/a%20b",
)
BAD = (
    "issuer.example",
    "//issuer.example",
    "ftp://issuer.example",
    "javascript:alert(1)",
    "urn:issuer",
    "http://issuer.example",
    "http://127.0.0.2.example",
    "http://10.0.0.1",
    "https://",
    "https:///path",
    "https://:8443",
    "https://issuer.example?tenant=a",
    "https://issuer.example/?",
    "https://issuer.example/#",
    "https://issuer.example/#top",
    "https://user@issuer.example",
    "https://user:password@issuer.example",
    "https://@issuer.example",
    "https://issuer.example:99999",
    "https://issuer.example:port",
    "https://[2001:db8::1",
    "https://issuer.example/a b",
    "https://issuer.example/\n",
    "https://issuer.example\\@evil.example",
    "https://ïssuer.example",
    'https://issuer.example/"',
    "https://issuer.example/<a>",
    " https://issuer.example",
)


@pytest.mark.parametrize("url", GOOD)
def test_an_issuer_is_a_url_that_readers_agree_about(url: str) -> None:
    require_issuer_url(url)


@pytest.mark.parametrize("url", BAD)
def test_what_readers_could_take_for_another_is_refused(url: str) -> None:
    with pytest.raises(Unprocessable) as refusal:
        require_issuer_url(url)
    assert refusal.value.field == "url"


def new_name() -> str:
    return f"i{uuid.uuid4().hex[:12]}"


def test_an_issuer_is_made_listed_and_published(service: ServiceInProcess) -> None:
    name = new_name()
    made = service.made("user/key-admin", "POST", "/v1/issuers", {"name": name, "url": "https://a.example"})
    assert set(made) == {"name", "url", "entity_id", "created_at", *ENDPOINTS}
    assert [made[member] for member in ENDPOINTS] == [None] * len(ENDPOINTS)
    assert (made["name"], made["url"], made["entity_id"]) == (name, "https://a.example", "https://a.example")
    assert made in service.made("user/other-key-admin", "GET", "/v1/issuers")["issuers"]
    assert service.made(None, "GET", f"/issuers/{name}/jwks.json") == {"keys": []}


def test_an_issuer_may_name_places_of_others(service: ServiceInProcess) -> None:
    places = {member: f"https://idp.example/{member}?tenant=a" for member in ENDPOINTS}
    made = service.made(
        "user/key-admin", "POST", "/v1/issuers", {"name": new_name(), "url": "https://a.example"} | places
    )
    assert {member: made[member] for member in ENDPOINTS} == places
    assert made in service.made("user/other-key-admin", "GET", "/v1/issuers")["issuers"]


# What is no issuer is no endpoint either, but that an endpoint may have a query.
@pytest.mark.parametrize("url", [url for url in BAD if "?" not in url])
@pytest.mark.parametrize("member", ENDPOINTS)
def test_a_place_that_readers_could_take_for_another_is_refused(member: str, url: str) -> None:
    require_endpoint("https://idp.example/path?tenant=a&x=%20", member)
    with pytest.raises(Unprocessable) as refusal:
        require_endpoint(url, member)
    assert refusal.value.field == member


def test_the_entity_id_may_be_another(service: ServiceInProcess) -> None:
    body = {"name": new_name(), "url": "https://a.example", "entity_id": "urn:example:idp"}
    assert service.made("user/key-admin", "POST", "/v1/issuers", body)["entity_id"] == "urn:example:idp"


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"name": "default", "url": "https://a.example"}, 409, "conflict", "name"),
        ({"name": "Upper", "url": "https://a.example"}, 422, "malformed_request", "name"),
        ({"name": "-a", "url": "https://a.example"}, 422, "malformed_request", "name"),
        ({"name": "a/b", "url": "https://a.example"}, 422, "malformed_request", "name"),
        ({"name": "x" * 64, "url": "https://a.example"}, 422, "malformed_request", "name"),
        ({"name": "line\n", "url": "https://a.example"}, 422, "malformed_request", "name"),
        ({"name": "fresh"}, 422, "malformed_request", "url"),
        ({"name": "fresh", "url": ""}, 422, "malformed_request", "url"),
        ({"name": "fresh", "url": "https://a.example/" + "x" * 1024}, 422, "malformed_request", "url"),
        ({"name": "fresh", "url": "http://a.example"}, 422, "unprocessable", "url"),
        ({"name": "fresh", "url": "https://a.example", "jwks_uri": ""}, 422, "malformed_request", "jwks_uri"),
        ({"name": "fresh", "url": "https://a.example", "jwks_uri": "/jwks"}, 422, "unprocessable", "jwks_uri"),
        (
            {"name": "fresh", "url": "https://a.example", "token_endpoint": "http://idp.example"},
            *(422, "unprocessable", "token_endpoint"),
        ),
        (
            {"name": "fresh", "url": "https://a.example", "authorization_endpoint": "https://idp.example#a"},
            *(422, "unprocessable", "authorization_endpoint"),
        ),
        (
            {"name": "fresh", "url": "https://a.example", "sign_on_url": "javascript:alert(1)"},
            *(422, "unprocessable", "sign_on_url"),
        ),
        ({"name": "fresh", "url": "https://a.example", "entity_id": "a b"}, 422, "unprocessable", "entity_id"),
        ({"name": "fresh", "url": "https://a.example", "entity_id": "a\u0000"}, 422, "unprocessable", "entity_id"),
        ({"name": "fresh", "url": "https://a.example", "entity_id": ""}, 422, "malformed_request", "entity_id"),
    ],
)
def test_a_faulty_issuer_is_refused_by_its_member(
    service: ServiceInProcess, body: dict[str, str], status: int, code: str, field: str
) -> None:
    before = service.made("user/key-admin", "GET", "/v1/issuers")
    problem = service.call("user/key-admin", "POST", "/v1/issuers", body).get_json()
    assert (problem["status"], problem["code"], problem["field"]) == (status, code, field)
    assert service.made("user/key-admin", "GET", "/v1/issuers") == before


def test_domains_are_listed(service: ServiceInProcess) -> None:
    (domain,) = service.made("user/key-admin", "GET", "/v1/domains")["domains"]
    assert set(domain) == {"name", "version", "created_at", "home_region"}
    assert (domain["name"], domain["version"]) == ("default", 1)
