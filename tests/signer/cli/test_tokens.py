"""`sealmark jwt` and `sealmark assertion`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

JWTS = "/v1/keys/tokens/jwts"
ASSERTIONS = "/v1/keys/idp/assertions"
RESULT = {"key_version": 1, "token": "aaa.bbb.ccc"}
XML = "<Response>caf\N{LATIN SMALL LETTER E WITH ACUTE}</Response>".encode()
REQUIRED = ("--subject", "alice", "--audience", "https://sp.example", "--recipient", "https://sp.example/acs")
BODY = {
    "subject": "alice",
    "audience": "https://sp.example",
    "recipient": "https://sp.example/acs",
    "sign": "assertion",
    "ttl": 300,
}


def test_a_token_is_printed_alone(run: Run, service: ScriptedService) -> None:
    service.on("POST", JWTS, Answer(body={"results": [RESULT]}))
    result = run(
        "jwt", "--key", "tokens", "--claim", "sub=alice", "--ttl", "60", "--typ", "at+jwt", "--context", "run=7"
    )
    assert (result.exit_code, result.stdout) == (0, "aaa.bbb.ccc\n")
    assert service.only().body == {"claims": {"sub": "alice"}, "ttl": 60, "typ": "at+jwt", "context": {"run": "7"}}
    assert service.only().headers["Idempotency-Key"]
    assert json.loads(run("jwt", "--key", "tokens", "--json").stdout) == RESULT
    assert service.asked[-1].body == {}


def test_claims_from_standard_input(run: Run, service: ScriptedService) -> None:
    service.on("POST", JWTS, Answer(body={"results": [RESULT]}))
    result = run("jwt", "--key", "tokens", "--claims-file", "-", typed='{"sub": "bob", "roles": ["reader"]}')
    assert result.exit_code == 0
    assert service.only().body == {"claims": {"sub": "bob", "roles": ["reader"]}}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"x": "' + "y" * (1 << 20)]
)
def test_claims_that_are_no_json_object_are_wrong_usage(
    run: Run, service: ScriptedService, tmp_path: Path, text: str
) -> None:
    (tmp_path / "claims.json").write_text(text)
    assert run("jwt", "--key", "tokens", "--claims-file", "claims.json").exit_code == 2
    assert not service.asked


@pytest.mark.parametrize(
    "arguments",
    [
        ("jwt",),
        ("jwt", "--key", "a/b"),
        ("jwt", "--key", "tokens", "--claim", "sub"),
        ("jwt", "--key", "tokens", "--claim", "=x"),
        ("jwt", "--key", "tokens", "--claim", "sub=a", "--claim", "sub=b"),
        ("jwt", "--key", "tokens", "--ttl", "0"),
        ("jwt", "--key", "tokens", "--claims-file", "missing.json"),
        ("assertion", "--key", "idp"),
        ("assertion", "--key", "idp", *REQUIRED, "--sign", "nothing"),
        ("assertion", "--key", "idp", *REQUIRED, "--ttl", "3601"),
        ("assertion", "--key", "idp", *REQUIRED, "--attribute", "role"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert not service.asked


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(409, "wrong_purpose"), "wrong_purpose"),
        (
            Answer(body={"results": [{"error": {"code": "unprocessable", "detail": "x", "field": "ttl"}}]}),
            "unprocessable",
        ),
        (Answer(body={"results": []}), "unreachable"),
        (Answer(body={"results": [RESULT, RESULT]}), "unreachable"),
        (Answer(body={"results": [{"token": 7}]}), "unreachable"),
    ],
)
def test_a_refusal_prints_no_token(run: Run, service: ScriptedService, answer: Answer, code: str) -> None:
    service.on("POST", JWTS, answer)
    result = run("jwt", "--key", "tokens")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {code}: ")


def test_an_assertion_is_printed_as_xml(run: Run, service: ScriptedService) -> None:
    encoded = base64.b64encode(XML).decode()
    service.on("POST", ASSERTIONS, Answer(body={"results": [{"response": encoded}]}))
    assert run("assertion", "--key", "idp", *REQUIRED).stdout_bytes == XML + b"\n"
    assert service.only().body == BODY
    assert run("assertion", "--key", "idp", *REQUIRED, "--base64").stdout == encoded + "\n"


def test_an_assertion_with_everything(run: Run, service: ScriptedService) -> None:
    service.on("POST", ASSERTIONS, Answer(body={"results": [{"response": base64.b64encode(XML).decode()}]}))
    options = (
        *(
            "--name-id-format",
            "urn:x",
            "--in-response-to",
            "_1",
            "--sign",
            "both",
            "--ttl",
            "60",
            "--session-index",
            "s",
        ),
        *("--attribute", "role=reader", "--attribute", "role=writer", "--attribute", "mail=a=b", "--context", "run=7"),
    )
    assert run("assertion", "--key", "idp", *REQUIRED, *options, "--json").exit_code == 0
    assert service.only().body == BODY | {
        "subject": {"name_id": "alice", "format": "urn:x"},
        "in_response_to": "_1",
        "sign": "both",
        "ttl": 60,
        "session_index": "s",
        "attributes": {"role": ["reader", "writer"], "mail": "a=b"},
        "context": {"run": "7"},
    }


@pytest.mark.parametrize("response", [None, "", "not base64!", "YQ"])
def test_a_response_that_is_not_base64(run: Run, service: ScriptedService, response: object) -> None:
    service.on("POST", ASSERTIONS, Answer(body={"results": [{"response": response}]}))
    result = run("assertion", "--key", "idp", *REQUIRED)
    assert (result.exit_code, result.stdout) == (1, "")
