"""A key that is not published is invisible to strangers: each public document and each answer is as if it did not
exist."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

SAML: Final[dict[str, Any]] = {"audiences": ["https://sp.example"], "recipients": ["https://sp.example/acs"]}
MEMBERS: Final[dict[str, dict[str, Any]]] = {
    "artifact": {},
    "general": {},
    "jwt": {"audiences": ["https://api.example"], "max_ttl": 600},
    "saml": SAML,
}
DOCUMENTS: Final = (
    *("/.well-known/jwks.json", "/issuers/default/jwks.json", "/issuers/default/.well-known/openid-configuration"),
    *("/saml/metadata", "/issuers/default/saml/metadata", "/v1/ca", "/v1/ca/crl", "/openapi.json", "/v1/trust"),
)
PATHS: Final = (
    *("public-key", "public-key?format=jwk", "public-key?format=der", "public-key?version=1", "public-key?version=9"),
    *("certificate", "certificate?version=1", "certificate?version=9", "csr", "policy", ""),
)


@pytest.fixture(scope="module")
def hidden(own_service: ServiceInProcess) -> dict[str, Any]:
    for purpose in ("jwt", "saml"):  # so that key set and metadata have something to show
        own_service.make_key(f"shown-{purpose}", purpose=purpose, **MEMBERS[purpose])
    return {
        purpose: own_service.make_key(f"hidden-{purpose}", purpose=purpose, published=False, **members)
        for purpose, members in MEMBERS.items()
    }


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("purpose", MEMBERS)
def test_a_stranger_gets_the_same_answer_as_for_a_key_that_is_not_there(
    own_service: ServiceInProcess, hidden: dict[str, Any], purpose: str, path: str
) -> None:
    absent = {"id": str(uuid.uuid4()), "alias": "never-there"}
    for member in ("id", "alias"):
        answers = [
            own_service.call(None, "GET", f"/v1/keys/{key[member]}/{path}".removesuffix("/"))
            for key in (hidden[purpose], absent)
        ]
        bodies = [{**answer.get_json(), "request_id": ""} for answer in answers]
        headers = [
            {name: value for name, value in answer.headers if name not in {"X-Request-Id", "Date"}}
            for answer in answers
        ]
        assert answers[0].status_code == answers[1].status_code >= 400
        assert bodies[0] == bodies[1]
        assert headers[0] == headers[1]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_no_public_document_names_it(own_service: ServiceInProcess, hidden: dict[str, Any], path: str) -> None:
    answer = own_service.call(None, "GET", path)
    assert answer.status_code == 200
    content = answer.get_data()
    for key in hidden.values():
        version = own_service.services.keystore.get_key(key["id"]).versions[0]
        words = [key["id"], key["alias"], key["versions"][0]["kid"]]
        assert not any(word.encode() in content for word in words)
        assert version.public_key not in content


def test_making_it_changes_no_public_document(own_service: ServiceInProcess, hidden: dict[str, Any]) -> None:
    paths = [path for path in DOCUMENTS if path != "/v1/trust"]  # which says when it was made
    before = {path: own_service.call(None, "GET", path).get_data() for path in paths}
    trusted = own_service.call(None, "GET", "/v1/trust").get_json()["keys"]
    for purpose, members in MEMBERS.items():
        own_service.make_key(f"more-{purpose}", purpose=purpose, published=False, **members)
    assert {path: own_service.call(None, "GET", path).get_data() for path in paths} == before
    assert own_service.call(None, "GET", "/v1/trust").get_json()["keys"] == trusted
    assert hidden


def test_a_revocation_shows_its_serial_number_and_nothing_else(
    own_service: ServiceInProcess, hidden: dict[str, Any]
) -> None:
    key = hidden["artifact"]
    body = {"reason": "key_compromise"}
    own_service.made("user/key-admin", "POST", f"/v1/keys/{key['id']}/certificate/revoke", body)
    content = own_service.call(None, "GET", "/v1/ca/crl").get_data()
    assert bytes.fromhex(key["versions"][0]["certificate"]["serial"].rjust(34, "0")) in content
    assert key["alias"].encode() not in content
    assert own_service.call(None, "GET", f"/v1/keys/{key['id']}/public-key?version=1").status_code == 404
