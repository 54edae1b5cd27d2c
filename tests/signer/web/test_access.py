"""`/v1/access`: explanations held against what real calls answer, who may ask, and what is told to whom."""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.access import Change, GrantRecord
from keystore.api import KeyState
from keystore.keystore import Keystore
from signer.access import Action
from signer.access.actions import POLICY_ACTIONS
from signer.access.duties import DUTIES_OF
from signer.access.short_form import document_of
from tests.signer.access.situations import ACCOUNT, document, key_policy, some_context, statement
from tests.signer.service import PEOPLE, ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

ARTIFACTS: Final = [{"name": "a.bin", "size": 3, "digests": {"sha256": "ab" * 32}}]
# action -> the real call: method, path below the key, body, and what conditions may ask of it
CALLS: Final[dict[str, tuple[str, str, dict[str, object] | None, dict[str, object]]]] = {
    "Sign": ("POST", "/signatures", {"message": "AAAA"}, {}),
    "SignArtifact": ("POST", "/artifacts", {"artifacts": ARTIFACTS, "formats": ["cms"]}, {"sealmark:Format": ["cms"]}),
    "DescribeKey": ("GET", "", None, {}),
    "GetKeyPolicy": ("GET", "/policy", None, {}),
    "DisableKey": ("POST", "/disable", None, {}),
    "EnableKey": ("POST", "/enable", None, {}),
    "ScheduleKeyDeletion": (
        "POST",
        "/schedule-deletion",
        {"days": 7},
        {"kms:ScheduleKeyDeletionPendingWindowInDays": "7"},
    ),
    "CancelKeyDeletion": ("POST", "/cancel-deletion", None, {}),
    "PutKeyPolicy": ("PUT", "/policy", {"administrators": ["user/key-admin"], "users": ["role/ci"]}, {}),
}
SITUATIONS: Final = 150
USUAL: Final = ("user/key-admin", "user/other-key-admin", "role/ci", "role/other")


@pytest.fixture(scope="module")
def own(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("access")) as running:
        yield running


def key_of(service: ServiceInProcess, alias: str, purpose: str) -> str:
    return str(service.make_key(alias, purpose=purpose)["id"])


def by_hand(keystore: Keystore) -> Change:
    return Change("user/key-admin", keystore.clock())


def attach_and_grant(keystore: Keystore, chance: random.Random, key: str, who: str) -> bool:
    """Now and then an identity policy or a grant more, for the caller; whether there is a policy."""
    attached = chance.random() < 0.2
    if attached:
        text = document([statement(chance, {}) for _ in range(chance.randint(1, 2))])
        keystore.put_identity_policy(who, "extra", text, by_hand(keystore))
    if chance.random() < 0.1:
        operations, context = ("DescribeKey", "Sign", "SignArtifact"), chance.choice((None, {"repository": "shop/app"}))
        keystore.create_grant(
            GrantRecord(str(uuid.uuid4()), key, who, operations, keystore.clock(), "user/x", context_subset=context)
        )
    return attached


def set_state(keystore: Keystore, key: str, wanted: KeyState) -> None:
    present = keystore.get_key(key).state
    if present is KeyState.PENDING_DELETION:
        keystore.cancel_deletion(key)
        present = KeyState.DISABLED
    if present is KeyState.DISABLED:
        keystore.enable(key)
    if wanted is KeyState.DISABLED:
        keystore.disable(key)
    if wanted is KeyState.PENDING_DELETION:
        keystore.schedule_deletion(key)


def question(who: str, action: str, key: str, context: dict[str, str]) -> dict[str, object]:
    """The question that fits the real call: from this machine, over plain HTTP, with an API token."""
    details = {"aws:SourceIp": "127.0.0.1", "aws:SecureTransport": "false", **CALLS[action][3]}
    return {"principal": who, "action": action, "key": key, "details": details, "context": context}


def test_explanations_are_what_real_calls_answer(own: ServiceInProcess) -> None:
    """Generated policies, states and callers: the verdict, and the refusal's code, of each call that is then made."""
    chance = random.Random(4)  # noqa: S311 - a fixed one, so that every run finds the same
    keystore = own.services.keystore
    keys = [key_of(own, "any", "general"), key_of(own, "files", "artifact")]
    answers: dict[str, int] = {}
    for _ in range(SITUATIONS):
        key, who = chance.choice(keys), chance.choice([*PEOPLE, *USUAL, *USUAL])
        keystore.set_policy(key, key_policy(chance, USUAL), by_hand(keystore))
        attached = attach_and_grant(keystore, chance, key, who)
        set_state(keystore, key, chance.choice([KeyState.ENABLED, KeyState.ENABLED, *list(KeyState)[:3]]))
        fitting = [name for name in sorted(CALLS) if PEOPLE[who] in DUTIES_OF[Action(name)]]
        action = chance.choice(fitting if fitting and chance.random() < 0.9 else sorted(CALLS))
        method, path, body, _ = CALLS[action]
        context = some_context(chance) if action.startswith("Sign") else {}
        asked = question(who, action, key, context)
        explained = own.made("user/auditor", "POST", "/v1/access/explain", asked)
        about_itself = own.call(who, "POST", "/v1/access/explain", asked)
        answer = own.call(
            who, method, f"/v1/keys/{key}{path}", body if not context else {**(body or {}), "context": context}
        )
        code = None if answer.status_code == 200 else answer.get_json()["code"]
        refusal = explained["refusal"]
        assert (None if refusal is None else refusal["code"]) == code, (explained["why"], answer.get_json())
        assert explained["allowed"] == (code in (None, "wrong_purpose", "wrong_state")), explained
        if about_itself.status_code == 200:
            same = ("allowed", "decided_by", "refusal", "why")
            assert {name: about_itself.get_json()[name] for name in same} == {name: explained[name] for name in same}
        else:
            assert about_itself.status_code == 404
            assert code in ("not_found", "duty_forbids")
        if attached:
            keystore.delete_identity_policy(who, "extra", by_hand(keystore))
        answers[str(code)] = answers.get(str(code), 0) + 1
    assert set(answers) >= {"None", "not_found", "policy_forbids", "duty_forbids", "wrong_state", "wrong_purpose"}, (
        answers
    )


def test_a_plain_call_has_what_a_real_one_has(own: ServiceInProcess) -> None:
    general = key_of(own, "plain", "general")
    tokens = own.make_key("plain-tokens", purpose="jwt", audiences=["https://a.example"], max_ttl=600)["id"]
    for action, key, has in (
        ("Sign", general, {"kms:MessageType": ["RAW"], "kms:SigningAlgorithm": ["ECDSA_SHA_256"]}),
        ("IssueToken", tokens, {"sealmark:TokenAudience": ["https://a.example"], "sealmark:TokenType": ["JWT"]}),
        ("PutKeyPolicy", general, {"kms:BypassPolicyLockoutSafetyCheck": ["false"]}),
        ("ScheduleKeyDeletion", general, {"kms:ScheduleKeyDeletionPendingWindowInDays": ["30"]}),
    ):
        asked = {"principal": "role/ci", "action": action, "key": key}
        found = own.made("user/auditor", "POST", "/v1/access/explain", asked)["circumstances"]
        assert {name: found.get(name) for name in has} == has
        assert "aws:SourceIp" not in found


def test_what_is_about_no_key_is_explained_too(own: ServiceInProcess) -> None:
    for who, action, allowed in (
        ("user/admin", "CreatePrincipal", True),
        ("user/key-admin", "CreateKey", True),
        ("role/ci", "CreateKey", False),
    ):
        asked = {"principal": who, "action": action}
        for asker in ("user/auditor", who):
            found = own.made(asker, "POST", "/v1/access/explain", asked)
            assert (found["allowed"], found["decided_by"]["source"]) == (allowed, "duty")
            assert found["key"] is None
    refused = own.call("user/key-admin", "POST", "/v1/access/explain", {"principal": "role/ci", "action": "CreateKey"})
    assert (refused.status_code, refused.get_json()["code"]) == (403, "duty_forbids")


@pytest.fixture(scope="module")
def pinned(own: ServiceInProcess) -> str:
    """A key that signs for one repository."""
    key = key_of(own, "pinned", "artifact")
    wanted: dict[str, Any] = document_of(["user/key-admin"], [], ACCOUNT)
    wanted["Statement"] = [
        *wanted["Statement"],
        {
            "Sid": "OneRepository",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/ci"},
            "Action": ["kms:DescribeKey", "kms:SignArtifact"],
            "Resource": "*",
            "Condition": {"StringEquals": {"sealmark:SigningContext:repository": "shop/app"}},
        },
    ]
    own.made("user/key-admin", "PUT", f"/v1/keys/{key}/policy", wanted)
    return key


def test_who_asks_about_itself_is_not_told_what_a_condition_wants(own: ServiceInProcess, pinned: str) -> None:
    asked = {"principal": "role/ci", "action": "SignArtifact", "key": pinned, "context": {"repository": "shop/other"}}
    mine = own.call("role/ci", "POST", "/v1/access/explain", asked)
    assert mine.status_code == 200
    assert "shop/app" not in mine.get_data(as_text=True)
    (condition,) = [each for step in mine.get_json()["steps"] for each in step["conditions"]]
    assert (condition["key"], condition["values"], condition["found"], condition["met"]) == (
        "sealmark:SigningContext:repository",
        None,
        ["shop/other"],
        False,
    )
    theirs = own.made("user/key-admin", "POST", "/v1/access/explain", asked)
    assert [each["values"] for step in theirs["steps"] for each in step["conditions"]] == [["shop/app"]]


def test_nobody_learns_of_a_key_by_asking_about_themselves(own: ServiceInProcess, pinned: str) -> None:
    for who in ("role/other", "user/admin", "user/other-key-admin"):
        for action in ("SignArtifact", "DescribeKey", "DisableKey", "GetKeyPolicy"):
            told = [
                own.call(who, "POST", "/v1/access/explain", {"principal": who, "action": action, "key": key}).get_json()
                for key in (pinned, "pinned", "no-such-key", "00000000-0000-4000-8000-000000000000")
            ]
            assert {answer["status"] for answer in told} == {404}
            assert len({json.dumps(answer | {"request_id": ""}) for answer in told}) == 1


def test_the_services_own_keys_are_no_keys_to_anybody(own: ServiceInProcess) -> None:
    authority = next(key for key in own.services.keystore.list_keys(after=None, limit=50) if key.purpose.value == "ca")
    for who in ("user/auditor", "user/key-admin"):
        for path, body in (
            ("/v1/access/explain", {"principal": "role/ci", "action": "Sign", "key": authority.id}),
            ("/v1/access/who-can", {"action": "Sign", "key": authority.id}),
        ):
            assert own.call(who, "POST", path, body).status_code == 404


def test_who_can_lists_those_who_may_and_under_which_conditions(own: ServiceInProcess, pinned: str) -> None:
    asked: dict[str, Any] = {"action": "SignArtifact", "key": pinned}
    found = own.made("user/auditor", "POST", "/v1/access/who-can", asked)
    (ci,) = found["principals"]
    assert (ci["principal"], ci["access"], found["next_cursor"]) == ("role/ci", "conditional", None)
    (statement,) = ci["conditions"]
    assert (statement["statement"], statement["conditions"][0]["values"]) == ("OneRepository", ["shop/app"])
    asked["context"] = {"repository": "shop/app"}
    (ci,) = own.made("user/key-admin", "POST", "/v1/access/who-can", asked)["principals"]
    assert (ci["access"], ci["decided_by"]) == ("allowed", {"source": "key policy", "statement": "OneRepository"})
    own.services.keystore.disable(pinned)
    (ci,) = own.made("user/key-admin", "POST", "/v1/access/who-can", asked)["principals"]
    own.services.keystore.enable(pinned)
    assert (ci["access"], ci["refusal"]["code"]) == ("allowed", "wrong_state")
    assert "but the key is disabled" in ci["why"]


def test_who_can_comes_in_pages(own: ServiceInProcess, pinned: str) -> None:
    asked = {"action": "DescribeKey", "key": pinned}
    everybody = own.made("user/auditor", "POST", "/v1/access/who-can", asked)["principals"]
    names = [each["principal"] for each in everybody]
    assert names == ["role/ci", "user/auditor", "user/key-admin"]
    assert [each["decided_by"]["source"] for each in everybody] == ["nothing", "duty", "key policy"]
    paged: list[str] = []
    cursor = ""
    while True:
        page = own.made("user/auditor", "POST", f"/v1/access/who-can?limit=1{cursor}", asked)
        paged += [each["principal"] for each in page["principals"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert paged == names


def test_a_disabled_principal_is_explained_and_can_do_nothing(own: ServiceInProcess, pinned: str) -> None:
    own.made("user/admin", "POST", "/v1/principals", {"name": "role/leaving", "duty": "key-user"})
    asked = {"principal": "role/leaving", "action": "SignArtifact", "key": pinned}
    assert own.made("user/auditor", "POST", "/v1/access/explain", asked)["decided_by"]["source"] == "nothing"
    own.made("user/admin", "DELETE", "/v1/principals/role/leaving")
    gone = own.call("user/auditor", "POST", "/v1/access/explain", asked)
    never = own.call("user/auditor", "POST", "/v1/access/explain", asked | {"principal": "role/never"})
    assert (gone.status_code, gone.get_json()["field"]) == (404, "principal")
    assert (never.status_code, never.get_json()["field"]) == (404, "principal")


def test_a_question_about_another_time_is_decided_at_that_time(own: ServiceInProcess) -> None:
    key = key_of(own, "seasonal", "general")
    wanted: dict[str, Any] = document_of(["user/key-admin"], ["role/ci"], ACCOUNT)
    for each in wanted["Statement"]:
        if each["Sid"] == "KeyUsers":
            each["Condition"] = {"DateLessThan": {"aws:CurrentTime": "2100-01-01T00:00:00Z"}}
    own.services.keystore.set_policy(key, json.dumps(wanted), by_hand(own.services.keystore))
    asked = {"principal": "role/ci", "action": "Sign", "key": key}
    now, later = (
        own.made("user/auditor", "POST", "/v1/access/explain", asked | at)
        for at in ({}, {"at": "2100-01-02T00:00:00Z"})
    )
    assert (now["allowed"], later["allowed"]) == (True, False)
    assert later["circumstances"]["aws:CurrentTime"] == ["2100-01-02T00:00:00Z"]


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ({"action": "kms:SignArtefact"}, 422, "action", "did you mean kms:SignArtifact"),
        ({"action": "Fly"}, 422, "action", "sealmark access actions"),
        ({"action": "Sign", "key": None}, 422, "key", "name it"),
        ({"action": "CreateKey"}, 422, "key", "leave `key` out"),
        ({"principal": "ci"}, 422, "principal", "user/NAME or role/NAME"),
        ({"principal": "role/../x"}, 422, "principal", "user/NAME or role/NAME"),
        ({"key": "a/b"}, 422, "key", "letters, digits"),
        ({"details": {"aws:SourceIp": "here"}}, 422, "details.aws:SourceIp", "an address"),
        ({"at": "tomorrow"}, 422, "at", "RFC3339"),
        ({"at": "2026-01-01T00:00:00"}, 422, "at", "timezone"),
        ({"why": "because"}, 422, "why", "unknown field"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    own: ServiceInProcess, pinned: str, body: dict[str, Any], status: int, field: str, words: str
) -> None:
    asked = {"principal": "role/ci", "action": "SignArtifact", "key": pinned} | body
    refused = own.call("user/auditor", "POST", "/v1/access/explain", asked)
    problem = refused.get_json()
    assert (refused.status_code, problem["field"]) == (status, field), problem
    assert words in problem["detail"]


def test_who_can_about_no_key_or_an_action_without_a_call(own: ServiceInProcess, pinned: str) -> None:
    nobody = own.made("user/auditor", "POST", "/v1/access/who-can", {"action": "kms:Encrypt", "key": pinned})
    assert nobody == {"principals": [], "next_cursor": None}
    refused = own.call("user/auditor", "POST", "/v1/access/who-can", {"action": "CreateKey", "key": pinned})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "action")


def test_each_question_is_recorded_and_so_is_its_refusal(own: ServiceInProcess, pinned: str) -> None:
    asked = {"principal": "role/ci", "action": "SignArtifact", "key": pinned}
    for path, question in (("explain", asked), ("who-can", {"action": "SignArtifact", "key": pinned})):
        answer = own.call("user/auditor", "POST", f"/v1/access/{path}", question)
        assert own.intents(answer.headers["X-Request-Id"]) == []
        (outcome,) = own.outcomes(answer.headers["X-Request-Id"])
        assert (outcome["outcome"], outcome["principal"], outcome["key_id"]) == ("succeeded", "user/auditor", pinned)
    refused = own.call("role/other", "POST", "/v1/access/explain", asked)
    assert refused.status_code == 403
    (outcome,) = own.outcomes(refused.headers["X-Request-Id"])
    assert (outcome["action"], outcome["principal"]) == ("ExplainAccess", "role/other")


def test_the_table_of_actions_is_published(own: ServiceInProcess) -> None:
    rows = own.made(None, "GET", "/v1/access/actions")["actions"]
    assert [row["action"] for row in rows] == sorted(POLICY_ACTIONS)
    assert {row["action"]: row["duties"] for row in rows}["kms:GetKeyPolicy"] == ["key-administrator", "auditor"]


def test_an_auditor_lists_every_customers_key(own: ServiceInProcess, pinned: str) -> None:
    listed = {key["id"] for key in own.made("user/auditor", "GET", "/v1/keys?limit=1000")["keys"]}
    customers = {key.id for key in own.services.keystore.list_keys(after=None, limit=1000) if key.purpose.value != "ca"}
    assert pinned in listed
    assert listed == customers
