"""Rotation over AWS's protocol, and by the service itself when a schedule asks for it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES
from keystore.errors import HsmFault
from keystore.keystore import Keystore
from keystore.rotation import MOST_ON_DEMAND
from signer.authn.principal import SERVICE
from signer.rotation import TRIED_AGAIN_AFTER, AutomaticRotation
from tests.signer.kms.asking import ADMIN, USER, made_key, pages, refused, told
from tests.signer.service import MovedClock, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token
    from tests.signer.service import ServiceInProcess

DAY: Final = timedelta(days=1)


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock(datetime.now(UTC))


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory, clock: MovedClock) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("rotation"), clock=clock) as running:
        yield running


def status(service: ServiceInProcess, key: dict[str, Any]) -> dict[str, Any]:
    found = told(service, ADMIN, "GetKeyRotationStatus", KeyId=key["KeyId"])
    assert found.pop("KeyId") == key["KeyId"]
    return found


def rotations(service: ServiceInProcess, key: dict[str, Any], **members: object) -> list[dict[str, Any]]:
    found = pages(service, ADMIN, "ListKeyRotations", "Rotations", KeyId=key["KeyId"], **members)
    return [entry for page in found for entry in page]


def rotated_by_the_service(service: ServiceInProcess, key: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of the service's own rotations of a key."""
    found = select(LOG_ENTRIES).where(
        LOG_ENTRIES.c.key_id == key["KeyId"],
        LOG_ENTRIES.c.action == "RotateKey",
        LOG_ENTRIES.c.principal == SERVICE,
    )
    with service.services.keystore.database.read() as connection:
        return [dict(row) for row in connection.execute(found.order_by(LOG_ENTRIES.c.seq)).mappings()]


def test_a_schedule_is_set_shown_and_taken_away(service: ServiceInProcess, clock: MovedClock) -> None:
    key = made_key(service)
    named = {"KeyId": key["KeyId"]}
    assert status(service, key) == {"KeyRotationEnabled": False}
    assert told(service, ADMIN, "EnableKeyRotation", **named) == {}
    shown = status(service, key)
    assert shown.pop("NextRotationDate") == pytest.approx((clock() + 365 * DAY).timestamp())
    assert shown == {"KeyRotationEnabled": True, "RotationPeriodInDays": 365}
    told(service, ADMIN, "EnableKeyRotation", **named, RotationPeriodInDays=90)
    assert status(service, key)["RotationPeriodInDays"] == 90
    told(service, ADMIN, "DisableKey", **named)
    for operation in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
        assert refused(service, ADMIN, operation, **named)[0] == "DisabledException"
    assert status(service, key)["KeyRotationEnabled"] is True
    told(service, ADMIN, "ScheduleKeyDeletion", **named)
    assert status(service, key) == {"KeyRotationEnabled": False}
    told(service, ADMIN, "CancelKeyDeletion", **named)
    assert status(service, key)["KeyRotationEnabled"] is True
    told(service, ADMIN, "EnableKey", **named)
    assert told(service, ADMIN, "DisableKeyRotation", **named) == {}
    assert status(service, key) == {"KeyRotationEnabled": False}
    for days in (89, 2561):
        assert refused(service, ADMIN, "EnableKeyRotation", **named, RotationPeriodInDays=days)[0] == (
            "ValidationException"
        )


@pytest.mark.parametrize(
    "members",
    [
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
    ],
)
def test_only_symmetric_encryption_keys_are_rotated_so(service: ServiceInProcess, members: dict[str, str]) -> None:
    key = made_key(service, **members)
    for operation in (
        *("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"),
        *("GetKeyRotationStatus", "ListKeyRotations"),
    ):
        exception, message = refused(service, ADMIN, operation, KeyId=key["KeyId"])
        assert (exception, "/rotate" in message) == ("UnsupportedOperationException", True)


def test_rotations_on_demand_are_listed_and_limited(service: ServiceInProcess) -> None:
    key = made_key(service)
    named = {"KeyId": key["KeyId"]}
    assert rotations(service, key) == []
    (first,) = rotations(service, key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert first == {
        "KeyId": key["KeyId"],
        "KeyMaterialId": key["CurrentKeyMaterialId"],
        "KeyMaterialState": "CURRENT",
    }
    for _ in range(3):
        assert told(service, ADMIN, "RotateKeyOnDemand", **named) == {"KeyId": key["KeyId"]}
    listed = rotations(service, key, Limit=2)
    assert [entry["RotationType"] for entry in listed] == ["ON_DEMAND"] * 3
    assert [entry["KeyMaterialState"] for entry in listed] == ["NON_CURRENT", "NON_CURRENT", "CURRENT"]
    assert all(isinstance(entry["RotationDate"], float) for entry in listed)
    whole = rotations(service, key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert len({entry["KeyMaterialId"] for entry in whole}) == 4
    assert whole[0] == {**first, "KeyMaterialState": "NON_CURRENT"}
    current = told(service, ADMIN, "DescribeKey", **named)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert current == whole[-1]["KeyMaterialId"]
    assert refused(service, ADMIN, "ListKeyRotations", **named, Marker="x")[0] == "InvalidMarkerException"
    for _ in range(MOST_ON_DEMAND - 3):
        told(service, ADMIN, "RotateKeyOnDemand", **named)
    assert refused(service, ADMIN, "RotateKeyOnDemand", **named)[0] == "LimitExceededException"
    assert refused(service, USER, "RotateKeyOnDemand", **named)[0] == "AccessDeniedException"


def test_a_due_key_is_rotated_once_by_the_service_however_many_look(
    service: ServiceInProcess, clock: MovedClock
) -> None:
    key = made_key(service)
    told(service, ADMIN, "EnableKeyRotation", KeyId=key["KeyId"], RotationPeriodInDays=90)
    keystore, audit = service.services.keystore, service.services.audit
    AutomaticRotation(keystore, audit).rotate_due(clock() + 89 * DAY)
    assert rotations(service, key) == []
    due = clock() + 90 * DAY
    clock.move(90 * DAY)
    workers = [AutomaticRotation(keystore, audit) for _ in range(4)]
    threads = [threading.Thread(target=worker.rotate_due, args=(due,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (listed,) = rotations(service, key)
    assert (listed["RotationType"], listed["KeyMaterialState"]) == ("AUTOMATIC", "CURRENT")
    assert status(service, key)["NextRotationDate"] == pytest.approx((due + 90 * DAY).timestamp())
    (record,) = rotated_by_the_service(service, key)
    assert (record["outcome"], record["intent_id"] is not None) == ("succeeded", True)
    assert '"cause":"automatic"' in record["detail"]


def test_a_disabled_key_waits_until_it_is_enabled(service: ServiceInProcess, clock: MovedClock) -> None:
    key = made_key(service)
    told(service, ADMIN, "EnableKeyRotation", KeyId=key["KeyId"], RotationPeriodInDays=90)
    told(service, ADMIN, "DisableKey", KeyId=key["KeyId"])
    clock.move(200 * DAY)
    service.services.upkeep.once(clock())
    assert rotations(service, key) == []
    told(service, ADMIN, "EnableKey", KeyId=key["KeyId"])
    service.services.upkeep.once(clock())
    assert [entry["RotationType"] for entry in rotations(service, key)] == ["AUTOMATIC"]
    assert status(service, key)["NextRotationDate"] == pytest.approx((clock() + 90 * DAY).timestamp())


def test_a_rotation_that_fails_is_recorded_reported_and_tried_again(
    service: ServiceInProcess,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing, other = made_key(service), made_key(service)
    for key in (failing, other):
        told(service, ADMIN, "EnableKeyRotation", KeyId=key["KeyId"], RotationPeriodInDays=90)
    clock.move(91 * DAY)
    rotate = Keystore.rotate

    def broken(keystore: Keystore, key_id: str, **members: Any) -> object:
        if key_id == failing["KeyId"]:
            raise HsmFault("the module is out of sorts")
        return rotate(keystore, key_id, **members)

    automatic = AutomaticRotation(service.services.keystore, service.services.audit)
    with monkeypatch.context() as patched:
        patched.setattr(Keystore, "rotate", broken)
        automatic.rotate_due(clock())
        automatic.rotate_due(clock())  # not again at once
    reported = capsys.readouterr()
    assert "rotation_failed" in reported.out + reported.err
    assert [entry["RotationType"] for entry in rotations(service, other)] == ["AUTOMATIC"]
    (record,) = rotated_by_the_service(service, failing)
    assert (record["outcome"], record["code"]) == ("failed", "hsm_fault")
    automatic.rotate_due(clock())
    assert rotations(service, failing) == []
    clock.move(TRIED_AGAIN_AFTER)
    automatic.rotate_due(clock())
    assert [entry["RotationType"] for entry in rotations(service, failing)] == ["AUTOMATIC"]
