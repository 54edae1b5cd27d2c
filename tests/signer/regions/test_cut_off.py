"""What two regions do together, cut off at each step: it is finished or undone, by the caller's retry or by itself."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.api import KeyState
from signer.regions import client
from signer.regions.client import Unreachable
from tests.signer.regions.deployments import SECOND
from tests.signer.regions.test_replicas import shown, sign, verify
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from signer.regions.client import Taken
    from signer.regions.settings import RegionSettings
    from signer.regions.statements import ReplicaStatement
    from tests.signer.regions.deployments import Region, Regions

REPLICA: Final = {"region": SECOND, "users": ["role/ci"]}
Send = "Callable[[RegionSettings, ReplicaStatement], Taken]"


class Interrupted(BaseException):
    """The process ends here."""


def lost(about: str, *, taken: bool) -> Callable[[RegionSettings, ReplicaStatement], Taken]:
    """A connection on which statements of one kind get lost, or the answers to them."""

    def send(region: RegionSettings, statement: ReplicaStatement) -> Taken:
        if statement.about == about:
            if taken:
                client.send(region, statement)
            raise Unreachable(f"{region.name} cannot be reached: ReadTimeout")
        return client.send(region, statement)

    return send


@pytest.fixture
def cut(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Puts another connection between the two, until the test mends it with the real one."""

    def put(send: Any) -> None:
        monkeypatch.setattr(regions.first.service.services.regions, "_send", send)

    return put


def state_there(region: Region, key_id: str) -> KeyState | None:
    row = region.keystore.store.get("keys", key_id)
    return None if row is None else KeyState(row.text("state"))


def retried(regions: Regions, key_id: str) -> None:
    regions.first.made("POST", f"/v1/keys/{key_id}/replicas", REPLICA)


def by_itself(regions: Regions, _key_id: str) -> None:
    regions.first.upkeep()


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("mend", [retried, by_itself])
def test_a_replica_whose_making_was_cut_off(
    regions: Regions, cut: Callable[[Any], None], mend: Callable[[Regions, str], None], taken: bool
) -> None:
    key_id = regions.multi_region_key()["id"]
    cut(lost("making", taken=taken))
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/replicas", REPLICA)
    assert_refused(answer, 503, "service_unavailable")
    assert shown(regions.first, key_id)["making"] == [SECOND]
    assert regions.second.run(state_there, key_id) is (KeyState.CREATING if taken else None)
    cut(client.send)
    mend(regions, key_id)
    assert shown(regions.first, key_id)["making"] == []
    if mend is by_itself and not taken:  # undone: nothing was there
        assert shown(regions.first, key_id)["replicas"] == []
        assert regions.second.run(state_there, key_id) is None
    else:
        verify(regions.first, key_id, sign(regions.second, key_id))


@pytest.mark.parametrize("taken", [True, False])
def test_a_replica_that_did_not_hear_that_it_is_made(regions: Regions, cut: Callable[[Any], None], taken: bool) -> None:
    key_id = regions.multi_region_key()["id"]
    cut(lost("state", taken=taken))
    made = regions.first.made("POST", f"/v1/keys/{key_id}/replicas", REPLICA)
    assert [replica["region"] for replica in made["multi_region"]["replicas"]] == [SECOND]
    assert regions.second.run(state_there, key_id) is (KeyState.ENABLED if taken else KeyState.CREATING)
    cut(client.send)
    regions.first.upkeep()
    verify(regions.first, key_id, sign(regions.second, key_id))


def test_a_process_that_ends_after_the_other_region_has_made_it(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = regions.multi_region_key()["id"]

    def die(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(regions.first.keystore.regions, "made", die)
        with pytest.raises(Interrupted):
            regions.first.call("POST", f"/v1/keys/{key_id}/replicas", REPLICA)
    assert regions.second.run(state_there, key_id) is KeyState.CREATING
    body = {"message": base64.b64encode(b"m").decode()}
    answer = regions.second.call("POST", f"/v1/keys/{key_id}/signatures", body, "role/ci")
    assert "creating" in assert_refused(answer, 409, "wrong_state")
    regions.first.upkeep()
    sign(regions.second, key_id)


def test_what_was_made_anew_is_as_it_was_asked_for_last(regions: Regions, cut: Callable[[Any], None]) -> None:
    key_id = regions.multi_region_key()["id"]
    cut(lost("making", taken=True))
    regions.first.call("POST", f"/v1/keys/{key_id}/replicas", {**REPLICA, "description": "first"})
    cut(client.send)
    regions.first.made("POST", f"/v1/keys/{key_id}/replicas", {"region": SECOND, "users": ["role/other"]})
    assert regions.second.key(key_id).description == ""
    sign(regions.second, key_id, "role/other")


@pytest.mark.parametrize("taken", [True, False])
def test_a_move_that_was_cut_off(regions: Regions, cut: Callable[[Any], None], taken: bool) -> None:
    key_id = regions.replicated()
    cut(lost("state", taken=taken))
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/primary-region", {"region": SECOND})
    assert_refused(answer, 503, "service_unavailable")
    assert regions.first.key(key_id).state is KeyState.UPDATING
    assert shown(regions.first, key_id)["moving_to"] == SECOND
    for region in (regions.first, regions.second):
        sign(region, key_id)  # uses go on
    for call, body in (("rotate", {}), ("replicas", REPLICA), ("schedule-deletion", {"days": 7}), ("disable", {})):
        assert regions.first.call("POST", f"/v1/keys/{key_id}/{call}", body).status_code == 409, call
    cut(client.send)
    regions.first.upkeep()
    assert shown(regions.first, key_id)["type"] == "replica"
    assert shown(regions.second, key_id)["type"] == "primary"
    assert regions.first.key(key_id).state is KeyState.ENABLED


def test_a_move_whose_answer_was_lost_is_ended_by_the_new_primary_region(
    regions: Regions, cut: Callable[[Any], None]
) -> None:
    key_id = regions.replicated()
    cut(lost("state", taken=True))
    regions.first.call("POST", f"/v1/keys/{key_id}/primary-region", {"region": SECOND})
    regions.second.upkeep()  # tells its replicas, of which this is one
    assert regions.first.key(key_id).state is KeyState.ENABLED
    assert shown(regions.first, key_id)["type"] == "replica"


def test_nobody_takes_the_primary_key_who_was_not_given_it(regions: Regions) -> None:
    key_id = regions.replicated()
    assert regions.second.run(claim, key_id) == "conflict"
    assert shown(regions.first, key_id)["type"] == "primary"


def claim(region: Region, key_id: str) -> str:
    """What comes of it if this replica's region says that the primary key is here."""
    services = region.service.services
    key = services.keystore.get_key(key_id)
    assert key.multi_region is not None
    regions = type(key.multi_region)(region.name, (key.multi_region.primary_region,))
    (other,) = services.regions._settings.values()
    try:
        services.regions._tell(key, other, regions, "state")
    except client.RefusedThere as refusal:
        return refusal.code
    return "taken"


def test_a_rotation_that_does_not_reach_the_other_region_is_carried_later(
    regions: Regions, cut: Callable[[Any], None]
) -> None:
    key_id = regions.replicated()
    cut(lost("state", taken=False))
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate")
    assert len(regions.second.key(key_id).versions) == 1
    regions.first.upkeep()
    cut(client.send)
    regions.first.upkeep()
    assert len(regions.second.key(key_id).versions) == 2


def test_a_deletion_of_which_the_primary_region_did_not_hear(regions: Regions) -> None:
    key_id = regions.replicated()
    regions.second.made("POST", f"/v1/keys/{key_id}/schedule-deletion", {"days": 7})
    regions.move(timedelta(days=8))
    regions.second.run(deaf_upkeep)
    assert shown(regions.first, key_id)["replicas"] != []
    regions.second.upkeep()
    assert shown(regions.first, key_id)["replicas"] == []


def deaf_upkeep(region: Region) -> None:
    services = region.service.services
    services.regions._send = lost("gone", taken=False)
    region.upkeep()
    services.regions._send = client.send


def test_a_replica_that_is_found_to_be_gone_is_told_of_no_more(regions: Regions) -> None:
    key_id = regions.replicated()
    regions.second.made("POST", f"/v1/keys/{key_id}/schedule-deletion", {"days": 7})
    regions.move(timedelta(days=8))
    regions.second.run(deaf_upkeep)
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate")
    assert shown(regions.first, key_id)["replicas"] == []
    regions.second.upkeep()  # the late notice changes nothing
    assert regions.first.key(key_id).state is KeyState.ENABLED
