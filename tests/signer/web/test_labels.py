"""Aliases, tags, descriptions and schedules over the native API."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ADMIN = "user/key-admin"


@pytest.fixture(scope="module")
def key(service: ServiceInProcess) -> dict[str, Any]:
    made: dict[str, Any] = service.make_key(name(), purpose="general", tags={"stage": "test"})
    return made


def name() -> str:
    return f"label-{uuid.uuid4().hex}"


def changed(service: ServiceInProcess, key: dict[str, Any], method: str, path: str, body: object = None) -> Any:
    return service.made(ADMIN, method, f"/v1/keys/{key['id']}/{path}", body)


def test_a_key_is_found_by_each_of_its_names(service: ServiceInProcess, key: dict[str, Any]) -> None:
    further, with_a_slash = name(), f"app/{name()}"
    for alias in (further, with_a_slash):
        shown = changed(service, key, "POST", "aliases", {"alias": alias})
    assert shown["alias"] == key["alias"]
    assert shown["aliases"] == sorted([key["alias"], further, with_a_slash])
    assert service.made("role/ci", "GET", f"/v1/keys/{further}")["id"] == key["id"]
    taken = service.call(ADMIN, "POST", f"/v1/keys/{key['id']}/aliases", {"alias": further})
    assert (taken.status_code, taken.get_json()["code"], taken.get_json()["field"]) == (409, "conflict", "alias")
    for alias in (further, with_a_slash):
        shown = changed(service, key, "POST", "aliases/remove", {"alias": alias})
    assert shown["aliases"] == [key["alias"]]
    for alias in ("aws/x", str(uuid.uuid4())):
        refused = service.call(ADMIN, "POST", f"/v1/keys/{key['id']}/aliases", {"alias": alias})
        assert (refused.status_code, refused.get_json()["field"]) == (422, "alias")
    asked = f"/v1/audit/entries?key={key['id']}&action=CreateAlias&outcome=succeeded"
    trail = service.made("user/auditor", "GET", asked)["entries"]
    assert [entry["record"]["detail"]["alias"] for entry in trail] == [with_a_slash, further]


def test_an_alias_goes_where_both_keys_administrators_let_it(service: ServiceInProcess, key: dict[str, Any]) -> None:
    other = service.make_key(name(), purpose="general")
    alias = name()
    changed(service, key, "POST", "aliases", {"alias": alias})
    assert alias in changed(service, other, "POST", "aliases/move", {"alias": alias})["aliases"]
    assert service.made(ADMIN, "GET", f"/v1/keys/{alias}")["id"] == other["id"]
    foreign = service.made(
        "user/other-key-admin", "POST", "/v1/keys", {"alias": name(), "spec": "ECC_NIST_P256", "purpose": "general"}
    )
    path = f"/v1/keys/{foreign['id']}/aliases/move"
    absent = service.call("user/other-key-admin", "POST", path, {"alias": name()})
    hidden = service.call("user/other-key-admin", "POST", path, {"alias": alias})
    assert absent.status_code == hidden.status_code == 404
    assert absent.get_json()["detail"] == hidden.get_json()["detail"]
    unlike = service.make_key(name(), purpose="jwt", audiences=["a"], max_ttl=60)
    refused = service.call(ADMIN, "POST", f"/v1/keys/{unlike['id']}/aliases/move", {"alias": alias})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "alias")


def test_tags_and_the_description_are_changed(service: ServiceInProcess, key: dict[str, Any]) -> None:
    assert key["tags"] == {"stage": "test"}
    assert changed(service, key, "POST", "tags", {"tags": {"stage": "prod", "ü": ""}})["tags"] == {
        "stage": "prod",
        "ü": "",
    }
    assert changed(service, key, "POST", "tags/remove", {"names": ["ü", "not there"]})["tags"] == {"stage": "prod"}
    assert changed(service, key, "PUT", "description", {"description": "d" * 8192})["description"] == "d" * 8192
    path = f"/v1/keys/{key['id']}/tags"
    for tags, status in (({"aws:x": ""}, 422), ({"a\n": ""}, 422), ({"a": "v" * 257}, 422), ({}, 422)):
        assert service.call(ADMIN, "POST", path, {"tags": tags}).status_code == status
    many = service.call(ADMIN, "POST", path, {"tags": {f"n{at}": "" for at in range(50)}})
    assert (many.status_code, many.get_json()["code"]) == (409, "limit_exceeded")
    made = service.call(
        ADMIN, "POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general", "tags": {"AWS:x": ""}}
    )
    assert (made.status_code, made.get_json()["field"]) == (422, "tags")


def test_a_symmetric_key_has_a_schedule(service: ServiceInProcess, key: dict[str, Any]) -> None:
    vault = service.make_key(name(), spec="SYMMETRIC_DEFAULT", purpose="encrypt")
    assert vault["rotation"] is None
    shown = changed(service, vault, "PUT", "rotation", {"days": 90})["rotation"]
    assert shown["days"] == 90
    ahead = datetime.fromisoformat(shown["next_at"]) - service.services.keystore.clock()
    assert timedelta(days=89) < ahead <= timedelta(days=90)
    assert changed(service, vault, "DELETE", "rotation")["rotation"] is None
    refused = service.call(ADMIN, "PUT", f"/v1/keys/{key['id']}/rotation", {"days": 90})
    assert (refused.status_code, refused.get_json()["code"]) == (422, "unsupported")
    assert service.call(ADMIN, "PUT", f"/v1/keys/{vault['id']}/rotation", {"days": 89}).status_code == 422
