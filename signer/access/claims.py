"""Claims of a workload's token → role: conditions, patterns, and which mappings are too wide to be stored.

Pure: values in, values out. A claim is named by itself (`repository`), or by a JSON Pointer (RFC 6901) where it lies
deeper (`/kubernetes.io/namespace`). It is compared with its type: the text "1" is not the number 1. Of a claim that is
a list of texts, one must fit. A claim that is missing fits nothing.

In a pattern `*` stands for one whole segment, `**` at the end for one or more; segments lie between `/` and `:`. A star
beside other characters is refused: `octo/app*` would let `octo/app-evil` in.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keystore.trust import ClaimValue, RoleMapping

_SEPARATORS: Final = re.compile(r"([/:])")
ONE: Final = "*"
REST: Final = "**"
# What every accepted token has, or what is checked elsewhere: as conditions they would only look like some.
_CHECKED_ELSEWHERE: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
# Issuers that sign for everybody who has an account: of these claims one must say whose. The number is how many
# segments of a pattern must be written out (GitHub: "About security hardening with OpenID Connect"; GitLab: "ID token
# authentication").
# A reusable workflow (`job_workflow_ref`) says nothing of whose repository called it.
_GITHUB: Final = {
    "repository": 1,
    "repository_owner": 1,
    "repository_id": 1,
    "repository_owner_id": 1,
    "enterprise": 1,
    "enterprise_id": 1,
    "sub": 2,
}
_GITLAB: Final = {"project_path": 1, "namespace_path": 1, "sub": 2, "project_id": 1, "namespace_id": 1}
_OPEN_ISSUERS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "token.actions.githubusercontent.com": _GITHUB,
        "gitlab.com": _GITLAB,
        "accounts.google.com": {"sub": 1, "email": 1, "hd": 1},
    }
)


def roles_of(mappings: Iterable[RoleMapping], claims: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Every role whose mapping fits, with the claims that decided it."""
    roles: dict[str, dict[str, object]] = {}
    for mapping in mappings:
        if all(_fits(values, claim_at(claims, claim)) for claim, values in mapping.conditions.items()):
            decided = roles.setdefault(mapping.role, {})
            decided.update({claim: claim_at(claims, claim) for claim in mapping.conditions})
    return roles


def claim_at(claims: Mapping[str, object], claim: str) -> object:
    """The claim's value, or None."""
    if not claim.startswith("/"):
        return claims.get(claim)
    found: object = claims
    for part in _pointer(claim):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def _pointer(claim: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in claim.split("/")[1:]]


def _fits(values: tuple[ClaimValue, ...], claim: object) -> bool:
    if isinstance(claim, list):
        return bool(claim) and any(isinstance(each, str) and _fits(values, each) for each in claim)
    return any(_equals(value, claim) for value in values)


def _equals(value: ClaimValue, claim: object) -> bool:
    if isinstance(value, str) and isinstance(claim, str):
        return _matches(value, claim) if ONE in value else value == claim
    return type(value) is type(claim) and value == claim


def _matches(pattern: str, text: str) -> bool:
    wanted, found = _SEPARATORS.split(pattern), _SEPARATORS.split(text)
    if wanted[-1] == REST:
        # What stands before it, then at least one character of a segment.
        head = wanted[:-1]
        rest = found[len(head) :]
        return len(rest) > 0 and rest[0] != "" and _pairwise(head, found[: len(head)])
    return _pairwise(wanted, found)


def _pairwise(wanted: list[str], found: list[str]) -> bool:
    if len(wanted) != len(found):
        return False
    return all(part != "" if star == ONE else star == part for star, part in zip(wanted, found, strict=True))


def flaw_of_claim(claim: str) -> str | None:
    """Why this cannot be a condition's claim; None if it can."""
    if claim in _CHECKED_ELSEWHERE or claim.lstrip("/") in _CHECKED_ELSEWHERE:
        return f"{claim} is no condition: every token has it, and it is checked anyway"
    if not claim.isprintable():
        return "a claim's name has no control characters"
    if claim.startswith("/") and re.search(r"~(?![01])", claim):
        return "in a JSON Pointer (RFC 6901) ~ is written ~0 and / is written ~1"
    return None


def flaw_of_value(value: ClaimValue) -> str | None:
    """Why this cannot be a condition's value; None if it can."""
    if not isinstance(value, str):
        return None
    if not value or not value.isprintable():
        return "a value is a text without control characters"
    segments = _SEPARATORS.split(value)
    if REST in segments[:-1]:
        return "** stands at the end alone"
    if any(ONE in segment and segment not in (ONE, REST) for segment in segments):
        return (
            "a star is a whole segment between / and : (octo/*, refs/tags/*), or ** at the end: "
            "octo/app* would let octo/app-evil in too"
        )
    return None


def flaw_of_mapping(url: str, mapping: RoleMapping) -> str | None:
    """Why these conditions would let strangers in; None if they do not."""
    written_out = {claim: min(map(_segments_written_out, values)) for claim, values in mapping.conditions.items()}
    if not any(written_out.values()):
        return "at least one condition must say who, not * alone: this would give the role to every token of the issuer"
    needed = _needed(url)
    if needed is not None and not any(written_out.get(claim, 0) >= least for claim, least in needed.items()):
        names = ", ".join(sorted(needed))
        return (
            f"everybody can get a token of {url}: one condition must say whose it is, by one of {names}, "
            "with the owner written out (such as repository: octo/app)"
        )
    return None


def _needed(url: str) -> Mapping[str, int] | None:
    host = (urlsplit(url).hostname or "").lower()
    return _OPEN_ISSUERS.get(host)


def _segments_written_out(value: ClaimValue) -> int:
    """How many segments a value begins with that are no star. A value without stars is written out as a whole."""
    if not isinstance(value, str) or ONE not in value:
        return 1000
    segments = _SEPARATORS.split(value)[::2]
    return next(number for number, segment in enumerate(segments) if ONE in segment)
