"""Which transparency logs the caller believes, which witnesses, and how many of them must have seen a log's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from verifier.errors import Indeterminate
from verifier.notes import COSIGNATURE, SIGNATURE, NoteKey, parse_key
from verifier.strict_json import JsonValue, check_members

if TYPE_CHECKING:
    from collections.abc import Sequence

MAXIMUM_LOGS: Final = 1000
MAXIMUM_WITNESSES: Final = 32  # of one log; a note has room for more lines than that
_MEMBERS: Final = frozenset({"key", "witnesses", "cosignatures"})


@dataclass(frozen=True, slots=True)
class TrustedLog:
    """A log by its key, whose name is the log's origin, and its witnesses.

    `cosignatures` of the witnesses are needed for a proof to hold. With 0 of them the log's operator is believed, who
    could show another history to others; with 1 or more the moment at which so many had seen the head is a proven time.
    Made by `trusted_log`.
    """

    key: NoteKey
    witnesses: tuple[NoteKey, ...] = ()
    cosignatures: int = 0

    def __post_init__(self) -> None:
        check_kind(self.key, SIGNATURE)
        for witness in self.witnesses:
            check_kind(witness, COSIGNATURE)
        # A cosignature does not name its witness (tlog-cosignature): one key under two names would count twice.
        keys = [self.key.public_key, *(witness.public_key for witness in self.witnesses)]
        names = [witness.name for witness in self.witnesses]
        if len(set(keys)) != len(keys) or len(set(names)) != len(names):
            raise ValueError(
                f"the witnesses of {self.origin} must have distinct names and keys, and none the log's own"
            )
        if len(self.witnesses) > MAXIMUM_WITNESSES:
            raise ValueError(f"{self.origin} has more than {MAXIMUM_WITNESSES} witnesses")
        if not 0 <= self.cosignatures <= len(self.witnesses):
            message = f"cosignatures must be 0 to {len(self.witnesses)}, the number of witnesses of {self.origin}"
            raise ValueError(message)

    @property
    def origin(self) -> str:
        """The first line of the log's checkpoints."""
        return self.key.name


def trusted_log(key: str, witnesses: Sequence[str] = (), cosignatures: int = 0) -> TrustedLog:
    """A log from verifier keys, `NAME+ID+KEY` each (C2SP signed-note).

    `Indeterminate` (invalid_trust) for a text that is no such key; ValueError for ones that do not go together.
    """
    return TrustedLog(parse_key(key), tuple(parse_key(each) for each in witnesses), cosignatures)


def parse_logs(value: JsonValue) -> tuple[TrustedLog, ...]:
    """The member `logs` of a trust bundle. ValueError if it is not a list of logs with distinct origins."""
    if not isinstance(value, list) or len(value) > MAXIMUM_LOGS:
        raise ValueError(f"logs is not a list of at most {MAXIMUM_LOGS} logs")
    logs = tuple(_parse_log(each) for each in value)
    check_distinct(logs)
    return logs


def check_distinct(logs: Sequence[TrustedLog]) -> None:
    """ValueError if two logs have one origin: it would not be said whose key counts."""
    if len({log.origin for log in logs}) != len(logs):
        raise ValueError("a log is listed twice")


def check_kind(key: NoteKey, kind: int) -> None:
    """ValueError for a witness's key where a log's is needed, and the other way round."""
    if key.kind != kind:
        wanted, found = ("log", "witness") if kind == SIGNATURE else ("witness", "log")
        raise ValueError(f"{key.name} is the key of a {found}, not of a {wanted}")


def _parse_log(entry: JsonValue) -> TrustedLog:
    if not isinstance(entry, dict):
        raise ValueError("logs holds something that is not an object")
    check_members(entry, "a log", exactly=_MEMBERS)
    key, witnesses, cosignatures = entry["key"], entry["witnesses"], entry["cosignatures"]
    if not isinstance(key, str) or not isinstance(witnesses, list):
        raise ValueError("a log's key is not a text, or its witnesses are not a list")
    named = [each for each in witnesses if isinstance(each, str)]
    if len(named) != len(witnesses) or not isinstance(cosignatures, int) or isinstance(cosignatures, bool):
        raise ValueError("a log's witnesses are not texts, or its cosignatures are not a number")
    try:
        return trusted_log(key, named, cosignatures)
    except Indeterminate as error:
        raise ValueError(error.message) from error
