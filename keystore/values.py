"""How times, lists and settings stand in the database: microseconds since 1970 and canonical JSON text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.api import NO_TAGS, AssertionSettings, MultiRegion, RotationSchedule, TokenSettings
from keystore.errors import IntegrityFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Settings = TokenSettings | AssertionSettings | None


def stored_time(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def optional_stored_time(moment: datetime | None) -> int | None:
    """The same, for a time that may be absent."""
    return None if moment is None else stored_time(moment)


def time_of(stored: int) -> datetime:
    """The time, UTC, of a stored number."""
    return _EPOCH + timedelta(microseconds=stored)


def optional_time_of(stored: int | None) -> datetime | None:
    """The same, for a number that may be absent."""
    return None if stored is None else time_of(stored)


def stored_json(value: dict[str, object] | list[str]) -> str:
    """Canonical text: members sorted, no spaces, non-ASCII characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def stored_names(names: tuple[str, ...]) -> str:
    """A list of texts."""
    return stored_json(list(names))


def names_of(stored: object) -> tuple[str, ...]:
    """The texts of a list, parsed or not. Raises `IntegrityFailure` for anything else."""
    parsed = json.loads(stored) if isinstance(stored, str) else stored
    if not isinstance(parsed, list) or not all(isinstance(name, str) for name in parsed):
        raise IntegrityFailure("a stored list is not a list of texts")
    return tuple(parsed)


def members_of(stored: str) -> dict[str, object]:
    """The members of a stored object. Raises `IntegrityFailure` for anything else."""
    parsed = json.loads(stored)
    if not isinstance(parsed, dict):
        raise IntegrityFailure("a stored object is not an object")
    return parsed


def stored_settings(settings: Settings) -> str | None:
    """What a key says of its origin, or null."""
    if settings is None:
        return None
    if isinstance(settings, TokenSettings):
        return stored_json(
            {
                "audiences": list(settings.audiences),
                "issuer": settings.issuer,
                "max_ttl": settings.max_ttl,
                "types": list(settings.types),
            }
        )
    return stored_json(
        {
            "audiences": list(settings.audiences),
            "issuer": settings.issuer,
            "recipients": list(settings.recipients),
        }
    )


def settings_of(stored: str | None) -> Settings:
    """The settings that `stored_settings` wrote."""
    if stored is None:
        return None
    members = members_of(stored)
    issuer, audiences, max_ttl = members["issuer"], names_of(members["audiences"]), members.get("max_ttl")
    if not isinstance(issuer, str):
        raise IntegrityFailure("a stored issuer is not a text")
    if isinstance(max_ttl, int):
        return TokenSettings(issuer, audiences, max_ttl, names_of(members["types"]))
    return AssertionSettings(issuer, audiences, names_of(members["recipients"]))


def stored_tags(tags: Mapping[str, str]) -> str:
    """Names and values."""
    return stored_json(dict(tags))


def tags_of(stored: str) -> Mapping[str, str]:
    """The tags that `stored_tags` wrote."""
    if stored == "{}":
        return NO_TAGS
    return MappingProxyType({name: str(value) for name, value in members_of(stored).items()})


def rotation_of(days: int | None, at: int | None) -> RotationSchedule | None:
    """The schedule of two columns that are there together or not at all."""
    return None if days is None or at is None else RotationSchedule(days, time_of(at))


def stored_multi_region(multi_region: MultiRegion | None) -> str | None:
    """Regions, or null for a key of one region."""
    if multi_region is None:
        return None
    return stored_json({"primary": multi_region.primary_region, "replicas": list(multi_region.replicas)})


def multi_region_of(stored: str | None) -> MultiRegion | None:
    """The regions that `stored_multi_region` wrote."""
    if stored is None:
        return None
    members = members_of(stored)
    return MultiRegion(str(members["primary"]), names_of(members["replicas"]))
