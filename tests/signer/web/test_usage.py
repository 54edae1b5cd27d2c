"""Usage for charge-back: what the trail says, counted; nothing more, nothing less."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

SIGN = {"message": "AAAA"}


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("usage")) as service:
        service.make_key("meter", "ECC_NIST_P256", "general")
        for _ in range(3):
            service.made("role/ci", "POST", "/v1/keys/meter/signatures", SIGN)
        service.made("role/ci", "POST", "/v1/keys/meter/signatures", {"items": [SIGN, {"digest": "AAAA"}, SIGN]})
        for _ in range(2):
            headers = {"Idempotency-Key": "again"}
            assert service.call("role/ci", "POST", "/v1/keys/meter/signatures", SIGN, headers).status_code == 200
        assert service.call("role/other", "POST", "/v1/keys/meter/signatures", SIGN).status_code == 404
        yield service


def usage(world: ServiceInProcess, query: str = "", who: str = "user/auditor") -> list[dict[str, Any]]:
    """Every page, two rows each."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = world.made(who, "GET", f"/v1/usage?limit=2{query}{cursor}")
        rows += page["usage"]
        if page["next_cursor"] is None:
            return rows
        assert len(page["usage"]) == 2
        cursor = f"&cursor={page['next_cursor']}"


def test_each_item_and_each_request_once(world: ServiceInProcess) -> None:
    key = world.made("user/auditor", "GET", "/v1/keys/meter")["id"]
    found = {
        (row["principal"], row["outcome"]): (row["requests"], row["items"])
        for row in usage(world, "&key=meter&action=kms:Sign")
        if row["key_id"] == key
    }
    assert found == {
        ("role/ci", "succeeded"): (5, 6),
        ("role/ci", "denied"): (1, 1),  # an item of a batch
        ("role/ci", "repeated"): (1, 1),
        ("role/other", "denied"): (1, 1),
    }


def test_it_is_what_the_log_holds(world: ServiceInProcess) -> None:
    with world.services.keystore.database.read() as connection:
        entries = connection.execute(select(LOG_ENTRIES).where(LOG_ENTRIES.c.kind == "decision")).mappings().all()
    until = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    rows = usage(world, f"&to={until}")
    counted = Counter((row["principal"], row["action"]) for row in rows for _ in range(row["items"]))
    expected = Counter((entry["principal"], entry["action"]) for entry in entries)
    assert counted["role/ci", "Sign"] == expected["role/ci", "Sign"]
    assert counted["user/key-admin", "CreateKey"] == expected["user/key-admin", "CreateKey"] == 1


def test_rows_come_in_order_and_once(world: ServiceInProcess) -> None:
    rows = [tuple(str(row[name] or "") for name in ("day", "principal", "key_id", "action")) for row in usage(world)]
    assert rows == sorted(rows)
    whole = world.made("user/auditor", "GET", "/v1/usage?principal=role/ci")["usage"]
    assert whole == usage(world, "&principal=role/ci")


def test_administrators_see_it_too_and_nobody_else(world: ServiceInProcess) -> None:
    assert usage(world, who="user/admin")
    for who in ("user/key-admin", "role/ci"):
        assert world.call(who, "GET", "/v1/usage").status_code == 403


def test_a_period_without_anything_and_periods_that_are_none(world: ServiceInProcess) -> None:
    assert usage(world, "&from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z") == []
    for query, field in (
        ("from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "to"),
        ("from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("cursor=bm9uZQ==", "cursor"),
        ("action=Sing", "action"),
    ):
        refused = world.call("user/auditor", "GET", f"/v1/usage?{query}")
        assert refused.status_code == 422, query
        assert refused.get_json()["field"] == field


def test_days_are_told_apart(world: ServiceInProcess) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow = (today + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    rows = usage(world, f"&from={today.isoformat().replace('+00:00', 'Z')}&to={tomorrow}")
    assert {row["day"] for row in rows} == {today.date().isoformat()}
