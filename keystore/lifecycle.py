"""What state a key or a version is in at one moment, and which changes are allowed. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.algorithms import Origin
from keystore.api import KeyState, VersionState
from keystore.errors import Unsupported, WrongState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.api import Key, KeyVersion

SHORTEST_WAIT: Final = 7  # days between scheduling a deletion and the deletion
LONGEST_WAIT: Final = 30
DEFAULT_WAIT: Final = 30

# What may become of a key that has its material, besides being enabled and disabled.
_AT_WORK: Final = frozenset(
    {
        KeyState.PENDING_DELETION,
        KeyState.PENDING_REPLICA_DELETION,
        KeyState.PENDING_IMPORT,  # its imported material expired, or was deleted
        KeyState.UPDATING,
    }
)
# From each state of a key to those it may change to. As in AWS KMS, a cancelled deletion leaves the key disabled.
TRANSITIONS: Final[Mapping[KeyState, frozenset[KeyState]]] = MappingProxyType(
    {
        KeyState.ENABLED: _AT_WORK | {KeyState.DISABLED},
        KeyState.DISABLED: _AT_WORK | {KeyState.ENABLED},
        KeyState.PENDING_DELETION: frozenset({KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.DELETED}),
        KeyState.PENDING_IMPORT: frozenset(
            {KeyState.ENABLED, KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION}
        ),
        KeyState.PENDING_REPLICA_DELETION: frozenset(
            {KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.PENDING_DELETION}
        ),
        KeyState.CREATING: frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT}),
        KeyState.UPDATING: frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT}),
        KeyState.DELETED: frozenset(),
    }
)
# From which states each change is made; `check_transition` alone would take a cancelled deletion for a disabling.
DISABLED_FROM: Final = frozenset({KeyState.ENABLED})
ENABLED_FROM: Final = frozenset({KeyState.DISABLED})
SCHEDULED_FROM: Final = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT})
KEPT_FROM: Final = frozenset({KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION})
ROTATED_FROM: Final = frozenset({KeyState.ENABLED})
USED_FROM: Final = frozenset({KeyState.ENABLED, KeyState.UPDATING})  # uses go on while the primary region changes
# In which material comes in, and in which it is taken out (AWS KMS Developer Guide, "Key states of AWS KMS keys").
IMPORTED_IN: Final = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT})
MATERIAL_DELETED_IN: Final = IMPORTED_IN | {KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION}
# When imported material begins that waits for its rotation.
UNTIL_ROTATED: Final = datetime(9999, 12, 31, tzinfo=UTC)
# In which its aliases, tags and description may be changed (AWS KMS Developer Guide, "Key states of AWS KMS keys").
LABELLED_IN: Final = frozenset(
    {KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.CREATING, KeyState.UPDATING}
)


def require_state(state: KeyState, allowed: frozenset[KeyState]) -> None:
    """Raises `WrongState` unless the key's state is one of these."""
    if state not in allowed:
        raise WrongState(f"the key is {_words(state)}")


def check_transition(present: KeyState, wanted: KeyState) -> None:
    """Raises `WrongState` unless the table has this change."""
    if wanted not in TRANSITIONS[present]:
        raise WrongState(f"a key that is {_words(present)} cannot become {_words(wanted)}")


def require_enabled(state: KeyState) -> None:
    """Raises `WrongState` unless a key of this state may be rotated."""
    require_state(state, ROTATED_FROM)


def require_usable(state: KeyState) -> None:
    """Raises `WrongState` unless a key of this state may be used."""
    require_state(state, USED_FROM)


def waits_for_rotation(version: KeyVersion) -> bool:
    """Whether it is imported material that `RotateKeyOnDemand` is to make the current one."""
    return version.activate_at >= UNTIL_ROTATED


def is_complete(versions: Sequence[KeyVersion], now: datetime) -> bool:
    """Whether every material that the key has had is here at this moment, besides one that waits for its rotation."""
    return bool(versions) and all(
        waits_for_rotation(version)
        or (version.has_material and (version.expires_at is None or now < version.expires_at))
        for version in versions
    )


def state_at(key: Key, now: datetime) -> KeyState:
    """The key's state with expiry counted in: material is no good from its last moment on, not from when upkeep comes
    by."""
    usable = key.state in (KeyState.ENABLED, KeyState.DISABLED)
    if key.origin is Origin.EXTERNAL and usable and not is_complete(key.versions, now):
        return KeyState.PENDING_IMPORT
    return key.state


def current_version(versions: Sequence[KeyVersion], now: datetime) -> KeyVersion:
    """The version that signs: the highest number whose `activate_at` has come.

    Raises `WrongState` if there is none, or if it is revoked: no earlier version signs in its place, so the key stands
    still until it is rotated.
    """
    newest = _newest(versions, now)
    if newest is None:
        raise WrongState("the key has no version that is active yet")
    if newest.revoked_at is not None:
        raise WrongState(f"version {newest.number} of the key, which would sign, is revoked: rotate the key")
    return newest


def version_state(versions: Sequence[KeyVersion], number: int, now: datetime) -> VersionState:
    """The state of version `number` of these. A version that was overtaken before it began is retired."""
    if any(version.number == number and version.revoked_at is not None for version in versions):
        return VersionState.REVOKED
    newest = _newest(versions, now)
    signing = 0 if newest is None else newest.number
    if number == signing:
        return VersionState.ACTIVE
    return VersionState.RETIRED if number < signing else VersionState.PENDING


def retired_at(versions: Sequence[KeyVersion], number: int) -> datetime | None:
    """When version `number` stops signing, past or future: when the first later one begins. None if there is none."""
    later = [version for version in versions if version.number > number and not _never_begins(version)]
    return min((version.activate_at for version in later), default=None)


def _newest(versions: Sequence[KeyVersion], now: datetime) -> KeyVersion | None:
    begun = [version for version in versions if version.activate_at <= now and not _never_begins(version)]
    return max(begun, key=lambda version: version.number, default=None)


def _never_begins(version: KeyVersion) -> bool:
    """Whether it was revoked while it was pending: the version before it goes on."""
    return version.revoked_at is not None and version.revoked_at < version.activate_at


def deletion_time(now: datetime, days: int) -> datetime:
    """When a key scheduled for deletion now is deleted. Raises `Unsupported` outside of 7 to 30 days."""
    if not SHORTEST_WAIT <= days <= LONGEST_WAIT:
        raise Unsupported(f"days must be {SHORTEST_WAIT} to {LONGEST_WAIT}", field="days")
    return now + timedelta(days=days)


def _words(state: KeyState) -> str:
    return state.value.replace("_", " ")
