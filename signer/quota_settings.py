"""Quotas: `[[quotas]]` of `sealmark.toml`. Each says how much may be asked for within a window of time, by whom, with
which keys, by which actions.

Windows are those of the clock, in UTC: a second, a minute, an hour, a day. `burst` is how much of what was left unused
in the windows before may be used besides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import Final, Literal, cast, get_args

from signer.access.duties import Action
from signer.errors import ConfigurationError

MOST_QUOTAS: Final = 100
MOST_A_WINDOW: Final = 10**12
SECONDS_OF: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
Each = Literal["principal", "key", "principal-and-key", "all"]
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PRINCIPAL: Final = re.compile(r"\*|(user|role)/[A-Za-z0-9._@*-]{1,128}")
_KEY: Final = re.compile(r"[A-Za-z0-9/_*-]{1,256}")
_ACTIONS: Final = {action.value: action for action in Action}
_MEMBERS: Final = frozenset({"name", "principal", "key", "action", "each", "requests", "items", "every", "burst"})


@dataclass(frozen=True, slots=True)
class Quota:
    """`principal` and `key` are patterns with `*`; None: any, also calls that are about no key. No `actions`: every
    one. `each`: who or what has the quota for itself. A limit that is None does not limit."""

    name: str
    every: str
    principal: str | None = None
    key: str | None = None
    actions: frozenset[Action] = frozenset()
    each: Each = "principal"
    requests: int | None = None
    items: int | None = None
    burst: int = 0

    @property
    def seconds(self) -> int:
        """The length of a window."""
        return SECONDS_OF[self.every]


def compiled(pattern: str) -> re.Pattern[str]:
    """What a pattern matches; only `*` is special in those that are read here."""
    return re.compile(translate(pattern))


def read_quotas(name: str, value: object) -> tuple[Quota, ...]:
    """The quotas of a configuration. Raises `ConfigurationError` naming the setting."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        msg = f"{name} is a list of tables: [[{name}]] with name, every, and requests or items"
        raise ConfigurationError(msg)
    if len(value) > MOST_QUOTAS:
        msg = f"{name}: {len(value)} quotas; {MOST_QUOTAS} at most"
        raise ConfigurationError(msg)
    found = tuple(_quota(f"{name}[{at}]", one) for at, one in enumerate(value))
    for at, one in enumerate(found):
        if any(one.name == other.name for other in found[:at]):
            msg = f"{name}[{at}].name: {one.name} is named twice"
            raise ConfigurationError(msg)
    return found


def _quota(where: str, table: dict[str, object]) -> Quota:
    for member in table:
        if member not in _MEMBERS:
            msg = f"{where}.{member} is not a setting; known are {', '.join(sorted(_MEMBERS))}"
            raise ConfigurationError(msg)
    every = table.get("every")
    if every not in SECONDS_OF:
        msg = f"{where}.every is one of {', '.join(SECONDS_OF)}"
        raise ConfigurationError(msg)
    each = table.get("each", "principal")
    if each not in get_args(Each):
        msg = f"{where}.each is one of {', '.join(get_args(Each))}"
        raise ConfigurationError(msg)
    if "requests" not in table and "items" not in table:
        msg = f"{where} limits nothing: give requests or items"
        raise ConfigurationError(msg)
    return Quota(
        name=_text(f"{where}.name", table.get("name"), _NAME, "1 to 63 of a-z, 0-9 and -, such as ci-a-day"),
        every=str(every),
        principal=_pattern(f"{where}.principal", table.get("principal"), _PRINCIPAL, "user/NAME or role/NAME"),
        key=_pattern(f"{where}.key", table.get("key"), _KEY, "a key's id or alias"),
        actions=_actions(f"{where}.action", table.get("action", [])),
        each=cast("Each", each),
        requests=_limit(f"{where}.requests", table.get("requests"), 1),
        items=_limit(f"{where}.items", table.get("items"), 1),
        burst=_limit(f"{where}.burst", table.get("burst"), 0) or 0,
    )


def _text(name: str, value: object, form: re.Pattern[str], words: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        msg = f"{name} is {words}"
        raise ConfigurationError(msg)
    return value


def _pattern(name: str, value: object, form: re.Pattern[str], words: str) -> str | None:
    if value is None or value == "*":
        return None
    return _text(name, value, form, f"{words}, or a pattern with * for any characters")


def _actions(name: str, value: object) -> frozenset[Action]:
    named = [value] if isinstance(value, str) else value
    if named == ["*"]:
        return frozenset()
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        msg = f"{name} is an action or a list of them, such as Sign"
        raise ConfigurationError(msg)
    for one in named:
        if one.rpartition(":")[2] not in _ACTIONS:
            msg = f"{name}: there is no action {one}; they are in docs/access-actions.md"
            raise ConfigurationError(msg)
    return frozenset(_ACTIONS[one.rpartition(":")[2]] for one in named)


def _limit(name: str, value: object, least: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_A_WINDOW:
        msg = f"{name} is a whole number from {least} to {MOST_A_WINDOW}"
        raise ConfigurationError(msg)
    return value
