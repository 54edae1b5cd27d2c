"""`trusted-issuers`: what the options mean, and what they refuse before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService

GITHUB = "https://token.actions.githubusercontent.com"
SHOWN: dict[str, Any] = {
    "name": "github",
    "url": GITHUB,
    "audiences": ["https://sealmark.example"],
    "mappings": [
        {"role": "role/ci", "conditions": {"repository": ["octo/app"], "ref": ["refs/tags/*"]}},
        {"role": "role/nightly", "conditions": {"repository": ["octo/app"], "ref": ["refs/heads/main"]}},
    ],
    "jwks_url": None,
    "jwks": {"keys": [{"kty": "RSA", "kid": "a"}]},
    "algorithms": ["PS256"],
    "max_token_age": 300,
    "session_lifetime": 60,
    "revision": 7,
    "created_at": "2026-01-02T00:00:00Z",
    "created_by": "user/admin",
    "updated_at": "2026-01-02T00:00:00Z",
    "updated_by": "user/admin",
}


def created(run: Run, service: ScriptedService, *arguments: object) -> dict[str, Any]:
    service.on("POST", "/v1/trusted-issuers", Answer(201, SHOWN))
    result = run("trusted-issuers", "create", "it", *arguments)
    assert result.exit_code == 0, result.stderr
    return dict(service.only().body)


@pytest.mark.parametrize(
    ("arguments", "settings", "conditions"),
    [
        (
            ("--github", "octo/app", "--ref", "refs/tags/*", "--environment", "release"),
            {"url": GITHUB, "algorithms": ["RS256"]},
            {"repository": ["octo/app"], "ref": ["refs/tags/*"], "environment": ["release"]},
        ),
        (("--github", "octo/app", "--any-ref"), {"url": GITHUB, "algorithms": ["RS256"]}, {"repository": ["octo/app"]}),
        (
            ("--gitlab", "shop/team/app", "--ref", "refs/heads/main", "--condition", "ref_protected=true"),
            {"url": "https://gitlab.com", "algorithms": ["RS256"], "max_token_age": 3600},
            {"project_path": ["shop/team/app"], "ref_path": ["refs/heads/main"], "ref_protected": ["true"]},
        ),
        (
            ("--gitlab", "shop/app", "--environment", "prod", "--issuer-url", "https://gitlab.shop.example"),
            {"url": "https://gitlab.shop.example", "algorithms": ["RS256"], "max_token_age": 3600},
            {"project_path": ["shop/app"], "environment": ["prod"]},
        ),
        (
            ("--kubernetes", "ci/signer", "--issuer-url", "https://cluster.example", "--max-token-age", 600),
            {"url": "https://cluster.example", "algorithms": ["RS256"], "max_token_age": 600},
            {"sub": ["system:serviceaccount:ci:signer"]},
        ),
        (
            (
                *("--issuer-url", "https://idp.example", "--condition", "sub=a", "--condition", "sub=b=c"),
                *("--condition", "/kubernetes.io/namespace=ci", "--algorithm", "ES256", "--session-lifetime", 120),
                *("--jwks-url", "https://keys.example/jwks"),
            ),
            {
                "url": "https://idp.example",
                "algorithms": ["ES256"],
                "session_lifetime": 120,
                "jwks_url": "https://keys.example/jwks",
            },
            {"sub": ["a", "b=c"], "/kubernetes.io/namespace": ["ci"]},
        ),
    ],
)
def test_what_the_options_mean(
    run: Run,
    service: ScriptedService,
    arguments: tuple[object, ...],
    settings: dict[str, object],
    conditions: dict[str, object],
) -> None:
    body = created(run, service, *arguments, "--role", "role/ci")
    mapping = {"role": "role/ci", "conditions": conditions}
    assert body == {"name": "it", "audiences": [service.url], "mappings": [mapping], **settings}


def test_audiences_and_pinned_keys(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    options = ("--github", "octo/app", "--any-ref", "--role", "role/ci", "--jwks-file", "jwks.json")
    body = created(run, service, *options, "--audience", "a", "--audience", "b")
    assert (body["audiences"], body["jwks"]) == (["a", "b"], {"keys": []})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "whose tokens"),
        (("--role", "role/ci"), "go together"),
        (("--github", "octo/app", "--any-ref"), "go together"),
        (("--github", "octo/app", "--role", "role/ci"), "pull request"),
        (("--github", "octo/app", "--any-ref", "--ref", "refs/heads/main", "--role", "role/ci"), "--any-ref alone"),
        (("--github", "octo/app", "--ref", "main", "--role", "role/ci"), "refs/heads/main"),
        (("--github", "octo", "--any-ref", "--role", "role/ci"), "OWNER/REPO"),
        (("--github", "octo/*", "--any-ref", "--role", "role/ci"), "OWNER/REPO"),
        (("--github", "octo/app/x", "--any-ref", "--role", "role/ci"), "OWNER/REPO"),
        (("--github", "octo/app", "--gitlab", "a/b", "--any-ref", "--role", "role/ci"), "exclude each other"),
        (
            ("--github", "octo/app", "--any-ref", "--condition", "repository=x/y", "--role", "role/ci"),
            "is said already",
        ),
        (("--kubernetes", "ci/signer", "--role", "role/ci"), "--issuer-url"),
        (("--kubernetes", "ci/signer", "--ref", "refs/heads/main", "--role", "role/ci"), "no refs"),
        (("--issuer-url", "https://x.example", "--ref", "refs/heads/main", "--role", "role/ci"), "go with"),
        (("--condition", "sub=a", "--role", "role/ci"), "--issuer-url"),
        (("--condition", "sub", "--role", "role/ci"), "NAME=VALUE"),
        (("--github", "octo/app", "--any-ref", "--role", "ci"), "user/NAME or role/NAME"),
        (("--session-lifetime", 3601), "3600"),
        (("--algorithm", "HS256"), "HS256"),
    ],
)
def test_what_would_let_more_in_or_makes_no_sense_is_wrong_usage(
    run: Run, service: ScriptedService, arguments: tuple[object, ...], said: str
) -> None:
    result = run("trusted-issuers", "create", "it", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not service.asked


def updated(run: Run, service: ScriptedService, *arguments: object) -> dict[str, Any]:
    service.on("GET", "/v1/trusted-issuers/github", Answer(body=SHOWN))
    service.on("PUT", "/v1/trusted-issuers/github", Answer(body=SHOWN))
    result = run("trusted-issuers", "update", "github", *arguments)
    assert result.exit_code == 0, result.stderr
    return dict(service.asked[-1].body)


KEPT = {name: SHOWN[name] for name in ("url", "audiences", "mappings", "jwks", "algorithms")}
KEPT |= {"max_token_age": 300, "session_lifetime": 60, "revision": 7}


def test_an_update_adds_and_keeps_what_it_does_not_name(run: Run, service: ScriptedService) -> None:
    body = updated(run, service, "--github", "octo/lib", "--any-ref", "--role", "role/ci")
    added = {"role": "role/ci", "conditions": {"repository": ["octo/lib"]}}
    assert body == {**KEPT, "mappings": [*SHOWN["mappings"], added]}


def test_an_update_takes_a_role_out(run: Run, service: ScriptedService) -> None:
    assert updated(run, service, "--remove-role", "role/nightly") == {**KEPT, "mappings": SHOWN["mappings"][:1]}


def test_an_update_replaces_the_source_of_keys(run: Run, service: ScriptedService) -> None:
    body = updated(run, service, "--jwks-url", "https://keys.example")
    assert body == {name: value for name, value in KEPT.items() if name != "jwks"} | {
        "jwks_url": "https://keys.example"
    }


def test_what_was_shown_can_be_sent_back(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("GET", "/v1/trusted-issuers/github", Answer(body=SHOWN))
    shown = run("trusted-issuers", "show", "github", "--json").stdout
    (tmp_path / "all.json").write_text(shown)
    assert updated(run, service, "--file", "all.json") == KEPT


@pytest.mark.parametrize(
    "arguments",
    [(), ("--gitlab", "shop/app", "--any-ref", "--role", "role/ci"), ("--file", "all.json", "--jwks-url", "https://x")],
)
def test_an_update_that_says_nothing_or_two_things(
    run: Run, service: ScriptedService, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "all.json").write_text("{}")
    service.on("GET", "/v1/trusted-issuers/github", Answer(body=SHOWN))
    assert run("trusted-issuers", "update", "github", *arguments).exit_code == 2
    assert all(asked.method == "GET" for asked in service.asked)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"'])
def test_a_file_that_is_no_json_object_is_named(run: Run, service: ScriptedService, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    result = run("trusted-issuers", "create", "it", "--file", "x.json")
    assert (result.exit_code, "x.json is not" in result.stderr) == (1, True)
    assert not service.asked


def test_list_show_and_delete(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/trusted-issuers", Answer(body={"trusted_issuers": [SHOWN], "next_cursor": None}))
    service.on("GET", "/v1/trusted-issuers/github", Answer(body=SHOWN))
    service.on("DELETE", "/v1/trusted-issuers/github", Answer(body={"name": "github", "state": "deleted"}))
    assert "role/ci, role/nightly" in run("trusted-issuers", "list").stdout
    assert json.loads(run("trusted-issuers", "list", "--json").stdout)["trusted_issuers"] == [SHOWN]
    shown = run("trusted-issuers", "show", "github").stdout
    assert "refs/tags/*" in shown
    assert "keys pinned" in shown
    assert run("trusted-issuers", "delete", "github", typed="n\n").exit_code == 1
    assert [asked.method for asked in service.asked] == ["GET", "GET", "GET"]
    assert "deleted" in run("trusted-issuers", "delete", "github", "--yes").stdout
