"""The in-toto Statement inside a DSSE envelope: which files it is about, and whether the file at hand is one of them.

It is read only after its signature holds. Stock verifiers of bundles do not compare a statement's subjects with the
file; this one does, by digest. A subject's name is the signer's word for the file and is not compared: files get
renamed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from verifier.artifacts.dsse import object_of
from verifier.errors import Rejected
from verifier.results import StatementFacts, StatementSubject
from verifier.strict_json import JsonValue, check_members, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

# Version 0.1 differs in nothing that is read here, and cosign still writes it.
STATEMENT_TYPES: Final = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
SLSA_PROVENANCE: Final = "https://slsa.dev/provenance/v1"
_MEMBERS: Final = frozenset({"_type", "subject", "predicateType", "predicate"})
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_DIGEST_OCTETS: Final[Mapping[str, int]] = MappingProxyType({"sha256": 32, "sha384": 48, "sha512": 64})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it was signed."""

    predicate_type: str
    subjects: tuple[StatementSubject, ...]
    predicate: Mapping[str, JsonValue]

    @property
    def hash_names(self) -> frozenset[str]:
        """The digests that can decide: those of its subjects that this package believes. Rejected if there is none."""
        names = frozenset(name for subject in self.subjects for name in subject.digests if name in _DIGEST_OCTETS)
        if not names:
            known = ", ".join(_DIGEST_OCTETS)
            raise Rejected("algorithm_not_allowed", f"The statement names its files by none of the digests {known}.")
        return names

    def match(self, digests: Mapping[str, bytes]) -> StatementFacts:
        """What is known once the file's digests are: the subjects that are the file. Rejected if none is.

        `digests` has every name of `hash_names`. A subject is the file if each of its digests that can decide agrees.
        """
        matched = tuple(subject for subject in self.subjects if _is_file(subject, digests))
        if not matched:
            raise Rejected("digest_mismatch", "The statement is not about this file: no subject has its digest.")
        return StatementFacts(
            self.predicate_type, self.subjects, matched, _builder(self.predicate_type, self.predicate), self.predicate
        )


def _is_file(subject: StatementSubject, digests: Mapping[str, bytes]) -> bool:
    decisive = {name: text for name, text in subject.digests.items() if name in _DIGEST_OCTETS}
    return bool(decisive) and all(digests[name].hex() == text for name, text in decisive.items())


def parse_statement(payload: bytes) -> Statement:
    """Reads a payload whose signature holds. Rejected if it is not a strict Statement."""
    try:
        members = parse_object(payload)
        kind = members.get("_type")
        if not isinstance(kind, str):
            raise ValueError("its _type is not a text")
        if kind not in STATEMENT_TYPES:
            raise Rejected("type_mismatch", f"The payload is of type {kind!r}, not an in-toto Statement.")
        check_members(members, "the statement", exactly=_MEMBERS)
        return Statement(
            _text(members, "predicateType"),
            _subjects(members["subject"]),
            MappingProxyType(_object(members, "predicate")),
        )
    except ValueError as error:
        raise Rejected("malformed", f"The signed statement is malformed: {error}.") from error


def _subjects(value: JsonValue) -> tuple[StatementSubject, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("subject is not a list of at least one file")
    return tuple(_subject(each) for each in value)


def _subject(value: JsonValue) -> StatementSubject:
    members = object_of(value, "a subject", required={"name", "digest"})
    digests = _object(members, "digest")
    if not digests:
        raise ValueError("a subject has no digest")
    found: dict[str, str] = {}
    for name, text in digests.items():
        if not isinstance(text, str) or not _HEX.fullmatch(text):
            raise ValueError("a subject's digest is not lower-case hex")
        if len(text) != 2 * _DIGEST_OCTETS.get(name, len(text) // 2):
            raise ValueError(f"a subject's {name} has another length")
        found[name] = text
    return StatementSubject(_text(members, "name"), MappingProxyType(found))


def _builder(predicate_type: str, predicate: Mapping[str, JsonValue]) -> str | None:
    """`runDetails.builder.id` of SLSA provenance, None where there is none: the signer's word."""
    if predicate_type != SLSA_PROVENANCE:
        return None
    details = predicate.get("runDetails")
    builder = details.get("builder") if isinstance(details, dict) else None
    identity = builder.get("id") if isinstance(builder, dict) else None
    return identity if isinstance(identity, str) else None


def _text(members: dict[str, JsonValue], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is not a text")
    return value


def _object(members: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    value = members[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    return value
