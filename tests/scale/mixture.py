"""Requests of every kind that one who is known may send: each kind is a function that sends one or a few by a `Teller`,
and says what became of them."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Final

from tests.scale.deployment import USER, new_name
from tests.scale.scene import ALGORITHM, ALIAS, PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scale.teller import Teller

KEYS: Final = "user/key-admin"
ADMIN: Final = "user/admin"
_OTHER: Final = "role/other"
_AUDITOR: Final = "user/auditor"


def digest() -> dict[str, str]:
    """An item to sign, never the same."""
    return {"digest": base64.b64encode(os.urandom(32)).decode(), "algorithm": ALGORITHM}


def artifact() -> dict[str, Any]:
    return {"name": f"{new_name()}.bin", "size": 3, "digests": {"sha256": os.urandom(32).hex()}}


# good


def sign_one(teller: Teller) -> None:
    teller.sign(USER, PATH, digest(), 1)


def sign_message(teller: Teller) -> None:
    body = {"message": base64.b64encode(os.urandom(100)).decode(), "context": {"run": new_name()}}
    teller.sign(USER, PATH, body, 1)


def sign_batch(teller: Teller) -> None:
    count = teller.turns.randint(2, 20)
    teller.sign(USER, PATH, {"items": [digest() for _ in range(count)]}, count)


def sign_batch_with_bad_items(teller: Teller) -> None:
    items = [digest(), {"digest": "AAAA", "algorithm": ALGORITHM}, digest(), {"digest": "AAAA"}]
    teller.sign(USER, PATH, {"items": items}, 4)


def sign_files(teller: Teller) -> None:
    count = teller.turns.randint(1, 3)
    teller.sign(
        USER, "/v1/keys/files/artifacts", {"artifacts": [artifact() for _ in range(count)], "formats": ["raw"]}, count
    )


def sign_attestation(teller: Teller) -> None:
    teller.sign(USER, "/v1/keys/files/artifacts", {"artifacts": [artifact()], "formats": ["raw", "dsse"]}, 1)


def issue_token(teller: Teller) -> None:
    teller.sign(USER, "/v1/keys/tokens/jwts", {"claims": {"sub": new_name()}}, 1)


def sign_by_signed_request(teller: Teller) -> None:
    teller.sign(None, PATH, digest(), 1)


def repeat_itself(teller: Teller) -> None:
    """The same again is answered without a second signature; the same key with another body is refused."""
    headers = {"Idempotency-Key": new_name()}
    body = {"items": [digest(), digest()]}
    first = teller.sign(USER, PATH, body, 2, headers)
    again = teller.send(USER, "POST", PATH, body, headers, status=200)
    assert first == again
    teller.send(USER, "POST", PATH, digest(), headers, status=409)


def sign_with_approval(teller: Teller) -> None:
    body = digest()
    path = "/v1/keys/guarded/approval-requests"
    made = teller.send(USER, "POST", path, {"operation": "signatures", "request": body}, status=201)
    approval = {"request_sha256": made["request_sha256"]}
    teller.send("user/approver", "POST", f"/v1/approval-requests/{made['id']}/approve", approval, status=200)
    headers = {"Sealmark-Approval": made["id"]}
    teller.sign(USER, "/v1/keys/guarded/signatures", body, 1, headers)
    teller.send(USER, "POST", "/v1/keys/guarded/signatures", body, headers, status=403)  # once


def read_something(teller: Teller) -> None:
    who, path = teller.turns.choice(
        (
            *((USER, path) for path in ("/v1/whoami", "/v1/keys", f"/v1/keys/{ALIAS}", "/v1/approval-requests")),
            *((USER, path) for path in (f"/v1/keys/{ALIAS}/public-key", f"/v1/principals/{USER}/tokens")),
            *((KEYS, path) for path in (f"/v1/keys/{ALIAS}/policy", "/v1/keys/guarded/approval-rule", "/v1/whoami")),
            *((ADMIN, path) for path in ("/v1/principals", f"/v1/principals/{USER}", "/v1/whoami")),
            *((_AUDITOR, path) for path in ("/v1/whoami", "/v1/keys")),
        )
    )
    teller.send(who, "GET", path, status=200)


def look_at_the_head(teller: Teller) -> None:
    teller.send(USER, "HEAD", "/v1/whoami", status=200)


def ask_why(teller: Teller) -> None:
    question = {"principal": USER, "action": "Sign", "key": ALIAS}
    teller.send(USER, "POST", "/v1/access/explain", question, status=200)


def make_and_end_a_principal(teller: Teller) -> None:
    name = f"role/{new_name()}"
    teller.send(ADMIN, "POST", "/v1/principals", {"name": name, "duty": "key-user"}, status=201)
    teller.send(ADMIN, "POST", f"/v1/principals/{name}/disable", status=200)
    teller.send(ADMIN, "DELETE", f"/v1/principals/{name}", status=200)


def make_a_key(teller: Teller) -> None:
    """Its own, so that others' requests do not meet it in another state."""
    alias = new_name()
    body = {"alias": alias, "spec": "ECC_NIST_P256", "purpose": "general", "users": [USER]}
    teller.send(KEYS, "POST", "/v1/keys", body, status=201)
    teller.send(KEYS, "POST", f"/v1/keys/{alias}/disable", status=200)
    teller.send(USER, "POST", f"/v1/keys/{alias}/signatures", digest(), status=409)
    teller.send(KEYS, "POST", f"/v1/keys/{alias}/enable", status=200)
    teller.sign(USER, f"/v1/keys/{alias}/signatures", digest(), 1)
    teller.send(KEYS, "POST", f"/v1/keys/{alias}/schedule-deletion", {"days": 7}, status=200)


# denied


def be_denied(teller: Teller) -> None:
    who, method, path, status = teller.turns.choice(
        (
            (USER, "POST", "/v1/keys", 403),
            (USER, "GET", "/v1/principals", 403),
            (ADMIN, "POST", PATH, 403),
            (_AUDITOR, "POST", PATH, 403),
            (KEYS, "DELETE", f"/v1/principals/{USER}", 403),
            (_OTHER, "POST", PATH, 404),
            (_OTHER, "GET", f"/v1/keys/{ALIAS}", 404),
            (_OTHER, "GET", f"/v1/keys/{ALIAS}/public-key", 404),
            (USER, "POST", "/v1/keys/guarded/signatures", 403),
            (USER, "POST", "/v1/keys/absent/signatures", 404),
            (USER, "GET", "/v1/keys/absent", 404),
            (USER, "POST", f"/v1/keys/{ALIAS}/jwts", 409),
            (ADMIN, "DELETE", "/v1/principals/role/nobody", 404),
            (KEYS, "POST", "/v1/keys/subject/enable", 409),
        )
    )
    bodies: dict[str, Any] = {PATH: digest(), "/v1/keys/guarded/signatures": digest()}
    body = bodies.get(path, {} if method == "POST" and path != "/v1/keys/subject/enable" else None)
    if path == "/v1/keys/absent/signatures":
        body = digest()
    teller.send(who, method, path, body, status=status)


# malformed


def be_malformed(teller: Teller) -> None:
    body = teller.turns.choice(
        (
            b'{"digest": "AAAA"',
            b"[]",
            b"\xff\xfe",
            b'{"digest": 1}',
            b'{"digest": "AAAA", "digest": "AAAA"}',
            b'{"digest": "AAAA", "unknown": true}',
            b'{"items": []}',
            b'{"digest": "not base64!"}',
            b'{"digest": "AAAA", "algorithm": "ECDSA_SHA_256"}',
            b'{"digest": "AAAA", "algorithm": "NONE"}',
            b'{"message": "AAAA", "digest": "AAAA"}',
        )
    )
    teller.send(USER, "POST", PATH, body, status=422)


def be_malformed_elsewhere(teller: Teller) -> None:
    who, path = teller.turns.choice(((KEYS, "/v1/keys"), (ADMIN, "/v1/principals"), (USER, "/v1/access/explain")))
    teller.send(who, "POST", path, teller.turns.choice((b"{", b'{"spec": 1}', b"null")), status=422)


def send_a_bad_idempotency_key(teller: Teller) -> None:
    teller.send(USER, "POST", PATH, digest(), {"Idempotency-Key": "x" * 256}, status=422)


def be_refused_before_any_view(teller: Teller) -> None:
    """What has no route, no such method, no such media type, or no end."""
    method, path, body, headers, status = teller.turns.choice(
        (
            ("GET", "/v1/nothing", None, {}, 404),
            ("GET", "/v1/keys/a%2Fb", None, {}, 404),
            ("GET", "//v1/whoami", None, {}, 404),
            ("GET", PATH, None, {}, 405),
            ("PATCH", "/v1/whoami", None, {}, 405),
            ("OPTIONS", "/v1/keys", None, {}, 405),
            ("POST", PATH, b"{}", {"Content-Type": "text/plain"}, 415),
            ("POST", "/v1/keys", b"{}", {"Content-Type": "text/plain"}, 415),
            ("POST", PATH, b" " * (1024 * 1024 + 1), {}, 413),
        )
    )
    teller.send(USER, method, path, body, headers, status=status)


def be_refused_before_any_view_though_signed(teller: Teller) -> None:
    method, path, status = teller.turns.choice((("GET", "/v1/nothing", 404), ("GET", PATH, 405)))
    teller.send(None, method, path, status=status)


# gone before the answer


def hang_up(teller: Teller) -> None:
    """The whole request is there when its caller goes away."""
    count = teller.turns.choice((1, 1, 5))
    body = digest() if count == 1 else {"items": [digest() for _ in range(count)]}
    teller.send_and_go(USER, "POST", PATH, body, leaves=count)


def hang_up_on_a_look(teller: Teller) -> None:
    teller.send_and_go(USER, "GET", "/v1/keys", None, leaves=1)


def hang_up_on_a_change(teller: Teller) -> None:
    body = {"name": f"role/{new_name()}", "duty": "key-user"}
    teller.send_and_go(ADMIN, "POST", "/v1/principals", body, leaves=1)


def hang_up_half_way(teller: Teller) -> None:
    """The head is there and half of the body: refused as malformed, to nobody."""
    path, body = teller.turns.choice(((PATH, digest()), ("/v1/access/explain", {"principal": USER, "action": "Sign"})))
    teller.send_and_go(USER, "POST", path, body, leaves=1, part=0.5)


def run_out_of_patience(teller: Teller) -> None:
    """Its caller waits a moment, and goes away."""
    count = teller.turns.randint(1, 10)
    body = {"items": [digest() for _ in range(count)]}
    teller.send_and_go(USER, "POST", PATH, body, leaves=count, wait=teller.turns.choice((0.001, 0.005, 0.02)))


# How often each kind comes, for one another.
KINDS: Final[dict[Callable[[Teller], None], int]] = {
    sign_one: 30,
    sign_message: 10,
    sign_batch: 8,
    sign_batch_with_bad_items: 4,
    sign_files: 6,
    sign_attestation: 3,
    issue_token: 6,
    sign_by_signed_request: 4,
    repeat_itself: 3,
    sign_with_approval: 2,
    read_something: 25,
    look_at_the_head: 2,
    ask_why: 2,
    make_and_end_a_principal: 2,
    make_a_key: 1,
    be_denied: 15,
    be_malformed: 10,
    be_malformed_elsewhere: 4,
    send_a_bad_idempotency_key: 2,
    be_refused_before_any_view: 8,
    be_refused_before_any_view_though_signed: 2,
    hang_up: 6,
    hang_up_on_a_look: 2,
    hang_up_on_a_change: 2,
    hang_up_half_way: 3,
    run_out_of_patience: 4,
}
