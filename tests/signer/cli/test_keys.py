"""`keys …`, `issuers …`, `domains …` and `trust`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

KEY = {
    "id": "5f0c2f3e-0000-4000-8000-000000000001",
    "arn": "arn:aws:kms:us-east-1:000000000000:key/5f0c2f3e-0000-4000-8000-000000000001",
    "alias": "release",
    "spec": "ECC_NIST_P256",
    "purpose": "artifact",
    "algorithm": "ECDSA_SHA_256",
    "formats": ["cms"],
    "state": "enabled",
    "published": True,
    "token": {"manufacturer": "SoftHSM", "model": "v2", "serial": "1"},
    "versions": [
        {"version": 1, "state": "retired", "activate_at": "2026-01-01T00:00:00Z", "kid": "k1"},
        {"version": 2, "state": "active", "activate_at": "2026-01-02T00:00:00Z", "kid": "k2"},
    ],
}  # fmt: skip
POLICY = {"administrators": ["user/key-admin"], "users": ["role/ci"]}


def test_create_sends_what_was_given_and_nothing_else(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/keys", Answer(201, KEY))
    result = run(
        *("keys", "create", "release", "--spec", "ECC_NIST_P256", "--purpose", "artifact"),
        *("--user", "role/ci", "--user", "role/nightly", "--format", "cms", "--format", "raw", "--not-published"),
    )
    assert result.exit_code == 0
    assert str(KEY["arn"]) in result.stdout
    assert service.only().body == {
        "alias": "release",
        "spec": "ECC_NIST_P256",
        "purpose": "artifact",
        "users": ["role/ci", "role/nightly"],
        "formats": ["cms", "raw"],
        "published": False,
    }


def test_create_names_every_member_as_the_api_does(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/keys", Answer(201, KEY))
    options = {
        "spec": "RSA_2048", "purpose": "jwt", "administrator": "user/b", "domain": "payments", "description": "Tokens",
        "algorithm": "RSASSA_PSS_SHA_256", "issuer": "shop", "audience": "https://api.example", "max-ttl": "900",
        "type": "at+jwt", "recipient": "https://sp.example/acs",
    }  # fmt: skip
    pairs = [text for name, value in options.items() for text in (f"--{name}", value)]
    assert run("keys", "create", *pairs, "--published").exit_code == 0
    assert service.only().body == {
        "spec": "RSA_2048", "purpose": "jwt", "administrators": ["user/b"], "domain": "payments",
        "description": "Tokens",
        "algorithm": "RSASSA_PSS_SHA_256", "issuer": "shop", "audiences": ["https://api.example"], "max_ttl": 900,
        "types": ["at+jwt"], "recipients": ["https://sp.example/acs"], "published": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "release", "--spec", "RSA_2048"),
        ("create", "release", "--purpose", "artifact"),
        ("create", "re/lease", "--spec", "RSA_2048", "--purpose", "artifact"),
        ("create", "release", "--spec", "RSA_2048", "--purpose", "ca"),
        ("create", "release", "--spec", "RSA_2048", "--purpose", "artifact", "--user", "ci"),
        ("create", "release", "--spec", "RSA_2048", "--purpose", "artifact", "--format", "pdf"),
        ("create", "release", "--spec", "RSA_2048", "--purpose", "jwt", "--max-ttl", "0"),
        ("create", "release", "--spec", "RSA_2048", "--purpose", "jwt", "--max-ttl", "1h"),
        ("show",),
        ("show", "../principals"),
        ("show", "a" * 251),
        ("rotate", "release", "now"),
        ("disable", ""),
        ("enable", "a b"),
        ("schedule-deletion", "release", "--days", "6", "--yes"),
        ("schedule-deletion", "release", "--days", "31", "--yes"),
        ("cancel-deletion",),
        ("list", "--limit", "x"),
        ("policy", "show"),
        ("policy", "set", "release"),
        ("policy", "set", "release", "--user", "role/ci", "--no-users"),
        ("policy", "set", "release", "--user", "nobody"),
        ("public-key", "release", "--format", "xml"),
        ("public-key", "release", "--version", "0"),
        ("certificate", "show", "release", "--version", "x"),
        ("certificate", "release"),
        ("certificate", "renew", "release", "--days", "0"),
        ("certificate", "revoke", "release", "--yes"),
        ("certificate", "revoke", "release", "--reason", "ca_compromise", "--yes"),
        ("certificate", "install", "release", "no-such-file.pem"),
        ("rotate", "release", "--revoke", "superseded"),
        ("explode", "release"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run("keys", *arguments).exit_code == 2
    assert not service.asked


def test_show_lists_the_versions(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release", Answer(body=KEY))
    shown = run("keys", "show", "release").stdout
    assert "manufacturer: SoftHSM" in shown
    assert "retired" in shown
    assert "k2" in shown
    assert json.loads(run("keys", "show", "release", "--json").stdout) == KEY


def test_list_shows_the_active_version(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys", Answer(body={"keys": [KEY, {"id": "2"}], "next_cursor": None}))
    lines = run("keys", "list").stdout.splitlines()
    row = next(line for line in lines if "release" in line)
    assert row.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split()[-2:] == ["enabled", "2"]
    assert json.loads(run("keys", "list", "--json").stdout)["keys"] == [KEY, {"id": "2"}]


@pytest.mark.parametrize(
    ("arguments", "action", "body"),
    [
        (("rotate", "release"), "rotate", {}),
        (("rotate", "release", "--now"), "rotate", {"now": True}),
        (("disable", "release"), "disable", {}),
        (("enable", "release"), "enable", {}),
        (("schedule-deletion", "release", "--yes"), "schedule-deletion", {"days": 30}),
        (("schedule-deletion", "release", "--days", "7", "--yes"), "schedule-deletion", {"days": 7}),
        (("cancel-deletion", "release"), "cancel-deletion", {}),
    ],
)
def test_actions(
    run: Run, service: ScriptedService, arguments: tuple[str, ...], action: str, body: dict[str, object]
) -> None:
    service.on("POST", f"/v1/keys/release/{action}", Answer(body=KEY))
    result = run("keys", *arguments, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, KEY)
    assert service.only().body == body


@pytest.mark.parametrize("action", ["rotate", "disable", "enable", "cancel-deletion"])
def test_an_action_that_the_service_refuses_fails(run: Run, service: ScriptedService, action: str) -> None:
    service.on("POST", f"/v1/keys/release/{action}", problem(409, "wrong_state", "The key is deleted."))
    result = run("keys", action, "release")
    assert (result.exit_code, result.stderr) == (1, "Error: wrong_state: The key is deleted.\n")


def test_deletion_asks_first(run: Run, service: ScriptedService) -> None:
    assert run("keys", "schedule-deletion", "release", typed="n\n").exit_code == 1
    assert not service.asked


def test_policy_show(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release/policy", Answer(body={**POLICY, "short_form": True}))
    said = run("keys", "policy", "show", "release").stdout
    assert said == "administrators  user/key-admin\nusers           role/ci\nshort form      yes\n"


def test_policy_show_of_a_whole_document(run: Run, service: ScriptedService) -> None:
    document = {"Version": "2012-10-17", "Statement": []}
    service.on("GET", "/v1/keys/release/policy", Answer(body={**POLICY, "short_form": False, "policy": document}))
    said = run("keys", "policy", "show", "release").stdout
    assert json.loads(said[said.index("{") :]) == document


def test_a_policy_without_users_says_so(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release/policy", Answer(body={"users": [], "short_form": True, "revision": 2}))
    assert run("keys", "policy", "show", "release").stdout == "users       nobody\nshort form  yes\nrevision    2\n"


@pytest.mark.parametrize(
    ("options", "wanted", "calls"),
    [
        (("--user", "role/x"), {**POLICY, "users": ["role/x"], "revision": 3}, 2),
        (("--no-users",), {**POLICY, "users": [], "revision": 3}, 2),
        (("--administrator", "user/b"), {**POLICY, "administrators": ["user/b"], "revision": 3}, 2),
        (("--administrator", "user/b", "--user", "role/x"), {"administrators": ["user/b"], "users": ["role/x"]}, 1),
    ],
)
def test_policy_set_keeps_the_list_that_is_not_given(
    run: Run, service: ScriptedService, options: tuple[str, ...], wanted: dict[str, object], calls: int
) -> None:
    service.on("GET", "/v1/keys/release/policy", Answer(body={**POLICY, "short_form": True, "revision": 3}))
    service.on("PUT", "/v1/keys/release/policy", Answer(body=wanted))
    result = run("keys", "policy", "set", "release", *options, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, wanted)
    assert service.asked[-1].body == wanted
    assert len(service.asked) == calls


def test_a_policy_that_says_more_than_two_lists_is_not_cut_down_to_them(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release/policy", Answer(body={**POLICY, "short_form": False, "revision": 3}))
    result = run("keys", "policy", "set", "release", "--user", "role/x")
    assert result.exit_code == 1
    assert "unexpected_policy" in result.stderr
    assert [asked.method for asked in service.asked] == ["GET"]


PEM = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


def test_public_key_needs_no_token(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release/public-key", Answer(body=PEM))
    result = run("keys", "public-key", "release", "--version", "2", environment={"SEALMARK_TOKEN": None})
    assert (result.exit_code, result.stdout.encode()) == (0, PEM)
    assert service.only().query == {"format": "pem", "version": "2"}
    assert "Authorization" not in service.only().headers


def test_public_key_as_der_is_the_bytes_themselves(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release/public-key", Answer(body=b"\x30\x00\xff\n"))
    assert run("keys", "public-key", "release", "--format", "der").stdout_bytes == b"\x30\x00\xff\n"
    encoded = json.loads(run("keys", "public-key", "release", "--format", "der", "--json").stdout)["public_key"]
    assert base64.b64decode(encoded) == b"\x30\x00\xff\n"


def test_a_jwk_is_json_already(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/tokens/public-key", Answer(body={"kty": "EC"}))
    assert json.loads(run("keys", "public-key", "tokens", "--format", "jwk", "--json").stdout) == {"kty": "EC"}


def test_a_certificate_goes_to_a_file_that_is_not_there_yet(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("GET", "/v1/keys/release/certificate", Answer(body=PEM))
    assert run("keys", "certificate", "show", "release", "--output", "chain.pem").exit_code == 0
    assert (tmp_path / "chain.pem").read_bytes() == PEM
    refused = run("keys", "certificate", "show", "release", "--output", "chain.pem")
    assert (refused.exit_code, len(service.asked)) == (1, 1)
    assert run("keys", "certificate", "show", "release", "--output", "chain.pem", "--force").exit_code == 0
    assert json.loads(run("keys", "certificate", "show", "release", "--json").stdout) == {"certificate": PEM.decode()}


def test_a_public_key_that_is_not_published_is_not_found(run: Run, service: ScriptedService) -> None:
    result = run("keys", "public-key", "release")
    assert (result.exit_code, result.stderr) == (1, "Error: not_found: Nothing is here.\n")


def test_trust_is_printed_as_it_is(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/trust", Answer(body={"version": 1, "keys": []}))
    assert json.loads(run("trust", environment={"SEALMARK_TOKEN": None}).stdout) == {"version": 1, "keys": []}
    assert run("trust", "more").exit_code == 2


def test_issuers_and_domains(run: Run, service: ScriptedService) -> None:
    issuer = {"name": "shop", "url": "https://id.shop.example", "entity_id": "urn:shop"}
    service.on("POST", "/v1/issuers", Answer(201, issuer))
    service.on("GET", "/v1/issuers", Answer(body={"issuers": [issuer]}))
    service.on("GET", "/v1/domains", Answer(body={"domains": [{"name": "default", "version": 1}]}))
    made = run("issuers", "create", "shop", "--issuer-url", issuer["url"], "--entity-id", "urn:shop", "--json")
    assert json.loads(made.stdout) == service.only().body == issuer
    assert "urn:shop" in run("issuers", "list").stdout
    assert json.loads(run("domains", "list", "--json").stdout) == {"domains": [{"name": "default", "version": 1}]}


def test_an_issuer_names_places_of_others(run: Run, service: ScriptedService) -> None:
    places = {
        "jwks_uri": "https://sign.example/issuers/idp/jwks.json",
        "authorization_endpoint": "https://login.example/authorize",
        "token_endpoint": "https://login.example/token",
        "sign_on_url": "https://login.example/saml",
    }
    issuer = {"name": "idp", "url": "https://login.example", **places}
    service.on("POST", "/v1/issuers", Answer(201, issuer))
    options = [word for member, url in places.items() for word in (f"--{member.replace('_', '-')}", url)]
    made = run("issuers", "create", "idp", "--issuer-url", issuer["url"], *options)
    assert service.only().body == issuer
    assert all(url in made.stdout for url in places.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ("issuers", "create", "shop"),
        ("issuers", "create", "Shop", "--issuer-url", "https://x"),
        ("domains", "create", "x"),
    ],
)
def test_wrong_issuers_and_domains(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert not service.asked


LABELLED = KEY | {"aliases": ["release"], "tags": {"stage": "prod"}, "description": "", "rotation": None}


@pytest.mark.parametrize(
    ("words", "method", "path", "body"),
    [
        ("alias add release app/prod", "POST", "aliases", {"alias": "app/prod"}),
        ("alias move release app/prod", "POST", "aliases/move", {"alias": "app/prod"}),
        ("alias remove release app/prod", "POST", "aliases/remove", {"alias": "app/prod"}),
        ("tag release stage=prod owner=", "POST", "tags", {"tags": {"stage": "prod", "owner": ""}}),
        ("untag release stage owner", "POST", "tags/remove", {"names": ["stage", "owner"]}),
        ("description release Releases", "PUT", "description", {"description": "Releases"}),
        ("rotation enable release --days 90", "PUT", "rotation", {"days": 90}),
        ("rotation disable release", "DELETE", "rotation", None),
    ],
)
def test_labels_and_schedules(
    run: Run, service: ScriptedService, words: str, method: str, path: str, body: object
) -> None:
    service.on(method, f"/v1/keys/release/{path}", Answer(200, LABELLED))
    result = run("keys", *words.split())
    assert result.exit_code == 0, result.stderr
    asked = service.only()
    assert (json.loads(asked.content) if asked.content else None) == body
    assert "stage" in result.stdout


def test_what_is_no_tag_and_no_alias_is_wrong_usage(run: Run, service: ScriptedService) -> None:
    for words in ("tag release stage", "tag release =x", "tag release a=1 a=2", "alias add release a:b"):
        assert run("keys", *words.split()).exit_code == 2
    assert service.asked == []
