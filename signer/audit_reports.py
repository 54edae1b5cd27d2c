"""Reports for auditors: who uses each key for what, and which keys lack a use, a review, a certificate or a rotation.

What is counted comes from the trail's columns (`signer.audit.reporting`), what a key is from the keystore's sealed
rows.

A policy review is that somebody who may judge the policy has read it or set it: `GetKeyPolicy` or `PutKeyPolicy` that
succeeded; only auditors and the key's own administrators have them. A key is new for as many days as are asked about:
it lacks nothing yet but a certificate.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from keystore.algorithms import Purpose
from keystore.api import KeyState
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import WrongState
from keystore.lifecycle import current_version
from signer.access import Action, Duty
from signer.access.documents import compiled_key_policy
from signer.access.duties import USERS_ACTIONS
from signer.access.grants import grant_facts
from signer.access.visibility import Standing
from signer.administration.certificates import summary
from signer.administration.separation import compiled
from signer.audit.reporting import Counted, Range, counts, newest, uses_by_period
from signer.audit.trail import REPEATED
from signer.auditing import bounds, moment_of
from signer.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from keystore.api import CertificateRecord, Key, PrincipalRecord
    from keystore.keystore import Keystore
    from signer.audit_questions import ReportQuery

_KEYS_A_READ: Final = 200
_PEOPLE_A_READ: Final = 500
MOST_PERIODS: Final = 1_000
REVIEWS: Final = (Action.GET_KEY_POLICY.value, Action.PUT_KEY_POLICY.value)
POLICY_CHANGES: Final = tuple(
    action.value
    for action in (
        *(Action.PUT_KEY_POLICY, Action.CREATE_GRANT, Action.RETIRE_GRANT, Action.REVOKE_GRANT),
        *(Action.PUT_APPROVAL_RULE, Action.DELETE_APPROVAL_RULE),
    )
)
_USES: Final = tuple(sorted(action.value for action in USERS_ACTIONS))
_OF_THE_AUTHORITY: Final = (Action.ISSUE_CERTIFICATE.value, Action.SIGN_REVOCATION_LIST.value)
_USE_OF: Final[Mapping[Purpose, Action]] = {
    Purpose.ARTIFACT: Action.SIGN_ARTIFACT,
    Purpose.JWT: Action.ISSUE_TOKEN,
    Purpose.SAML: Action.ISSUE_ASSERTION,
    Purpose.GENERAL: Action.SIGN,
}


@dataclass(frozen=True, slots=True)
class _Last:
    """What happened to a key last, of all time."""

    use: datetime | None
    review: Mapping[str, Any] | None
    change: Mapping[str, Any] | None


class AuditReports:
    """One per worker."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def report(self, query: ReportQuery, after: str | None, limit: int) -> tuple[dict[str, object], str | None]:
        """Reports of at most `limit` keys by id, beyond the id `after`, and the id after which to go on (None: no
        more). Raises `NotFound` for a key that never was, `Unprocessable`."""
        now = self._keystore.clock()
        since = now - timedelta(days=query.days)
        within = Range(*bounds(query))
        told: dict[str, object] = {"from": query.begin, "to": query.end, "days": query.days, "at": now}
        if query.key is not None:
            key = self._key(query.key)
            (shown,) = self._reports([key], within, since, now)
            return told | {"keys": [shown | self._in_full(key, query, within, since)]}, None
        found: list[dict[str, object]] = []
        for page in self._pages(after):
            for shown in self._reports(page, within, since, now):
                if query.without is not None and query.without not in shown["lacks"]:
                    continue
                if len(found) == limit:
                    return told | {"keys": found}, str(found[-1]["key_id"])
                found.append(shown)
        return told | {"keys": found}, None

    def _pages(self, after: str | None) -> Iterator[list[Key]]:
        """Keys that are not deleted: of one that is there is nothing left to do."""
        while keys := self._keystore.list_keys(after=after, limit=_KEYS_A_READ):
            yield [key for key in keys if key.state is not KeyState.DELETED]
            after = keys[-1].id

    def _key(self, reference: str) -> Key:
        try:
            return self._keystore.get_key(reference)
        except NoSuchRow as absent:
            msg = "there is no such key, and never was"
            raise NotFound(msg, field="key") from absent

    def _reports(self, keys: Sequence[Key], within: Range, since: datetime, now: datetime) -> Iterator[dict[str, Any]]:
        names = {name: key.id for key in keys for name in (*key.aliases, key.id)}
        database = self._keystore.database
        counted: dict[str, list[Counted]] = defaultdict(list)
        for row in counts(database, names, within):
            counted[row.key].append(row)
        reviews, changes = newest(database, names, REVIEWS), newest(database, names, POLICY_CHANGES)
        kinds = set() if within == Range() else {_uses_of(key) for key in keys}
        ever = {uses: newest(database, names, uses) for uses in kinds}
        for key in keys:
            made = [row.last for row in counted[key.id] if _is_use(key, row)]
            known = ever.get(_uses_of(key), {}).get(key.id)
            used = max([*made, *([known["time"]] if known else [])], default=None)
            last = _Last(moment_of(used), _event(reviews.get(key.id)), _event(changes.get(key.id)))
            yield self._report(key, counted[key.id], last) | {"lacks": self._lacks(key, last, since, now)}

    def _report(self, key: Key, rows: Sequence[Counted], last: _Last) -> dict[str, Any]:
        made = [row for row in rows if _is_use(key, row)]
        newest_version = key.versions[-1] if key.versions else None  # none, where material is still to be imported
        return {
            "key_id": key.id,
            "alias": key.alias,
            "purpose": key.purpose.value,
            "spec": key.spec,
            "state": key.state.value,
            "created_at": key.created_at,
            "created_by": key.created_by,
            "uses": sum(row.calls for row in made),
            "denied": sum(row.calls for row in rows if row.outcome == "denied"),
            "failed": sum(row.calls for row in rows if row.outcome in ("failed", "unknown")),
            "first_use": moment_of(min((row.first for row in made), default=None)),
            "last_use": last.use,
            "principals": _principals(rows),
            "policy_revision": key.policy.revision,
            "last_policy_change": last.change,
            "last_policy_review": last.review,
            "certificate": self._certificate(key),
            "last_rotation": newest_version and {"version": newest_version.number, "at": newest_version.created_at},
        }

    def _lacks(self, key: Key, last: _Last, since: datetime, now: datetime) -> list[str]:
        moments = {
            "use": last.use,
            "policy-review": None if last.review is None else last.review["at"],
            "rotation": max((version.created_at for version in key.versions), default=None),
        }
        lacking = [name for name, moment in moments.items() if max(moment or key.created_at, key.created_at) < since]
        certificate = self._found_certificate(key)
        valid = (
            certificate is not None
            and certificate.revoked_at is None
            and certificate.not_before <= now < certificate.not_after
        )
        return lacking if valid or not key.published else [*lacking, "certificate"]

    def _certificate(self, key: Key) -> dict[str, object] | None:
        found = self._found_certificate(key)
        return None if found is None else summary(found)

    def _found_certificate(self, key: Key) -> CertificateRecord | None:
        """Of the version that signs now, valid or not."""
        try:
            return self._keystore.find_certificate(current_version(key.versions, self._keystore.clock()).id)
        except WrongState:  # no version signs: the one that would is revoked, or is not active yet
            return None

    def _in_full(self, key: Key, query: ReportQuery, within: Range, since: datetime) -> dict[str, object]:
        """Of one key alone: how its use is spread over time, and who may use it."""
        names = [key.id, *key.aliases]
        found = uses_by_period(self._keystore.database, names, _uses_of(key), within, query.per, MOST_PERIODS + 1)
        periods = [
            {"from": moment_of(begin), "uses": uses, "denied": denied} for begin, uses, denied in found[:MOST_PERIODS]
        ]
        return {
            "per": query.per,
            "periods": periods,
            "periods_left_out": len(found) > MOST_PERIODS,
            "may_use": self._may_use(key, since),
        }

    def _may_use(self, key: Key, since: datetime) -> list[dict[str, object]]:
        """Everybody whom a policy or a grant could let use the key, and when each last did."""
        action = _USE_OF.get(key.purpose)
        if action is None:
            return []
        policy = compiled_key_policy(key.policy.document, self._keystore.account)
        grants = [grant_facts(grant) for grant in self._keystore.list_grants(key.id)]
        used = self._last_uses(key)
        found: list[dict[str, object]] = []
        for person in self._users():
            own = [grant for grant in grants if grant.grantee == person.name]
            policies = compiled(person.policies)
            standing = Standing(person.name, self._keystore.account, key.arn, policy, policies, own)
            by = standing.allowed_by(action.policy_name)
            if by is not None:
                last = used.get(person.name)
                idle = last is None or last < since
                found.append({"principal": person.name, "by": by, "last_use": last, "idle": idle})
        return found

    def _last_uses(self, key: Key) -> dict[str, datetime | None]:
        used: dict[str, int] = {}
        for row in counts(self._keystore.database, {key.id: key.id}, Range()):
            if _is_use(key, row):
                used[row.principal] = max(row.last, used.get(row.principal, 0))
        return {name: moment_of(time) for name, time in used.items()}

    def _users(self) -> Iterator[PrincipalRecord]:
        after: str | None = None
        while page := self._keystore.list_principals(after=after, limit=_PEOPLE_A_READ):
            yield from (person for person in page if person.state != "deleted" and person.duty == Duty.KEY_USER)
            after = page[-1].name


def _uses_of(key: Key) -> tuple[str, ...]:
    """What counts as use: of the authority's key what the service signs with it, of others what callers ask for."""
    return _OF_THE_AUTHORITY if key.purpose is Purpose.CA else _USES


def _is_use(key: Key, row: Counted) -> bool:
    """Whether these calls made something that was given out."""
    return row.action in _uses_of(key) and row.outcome == "succeeded" and row.code != REPEATED


def _principals(rows: Iterable[Counted]) -> list[dict[str, object]]:
    """Who did what, the busiest first."""
    by_name: dict[str, list[Counted]] = defaultdict(list)
    for row in rows:
        by_name[row.principal].append(row)
    return [
        {
            "principal": name,
            "actions": [
                {
                    "action": row.action,
                    "outcome": row.outcome,
                    "code": row.code,
                    "count": row.calls,
                    "first": moment_of(row.first),
                    "last": moment_of(row.last),
                }
                for row in sorted(own, key=lambda row: (row.action, row.outcome, row.code or ""))
            ],
        }
        for name, own in sorted(by_name.items(), key=lambda item: (-sum(row.calls for row in item[1]), item[0]))
    ]


def _event(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"at": moment_of(found["time"]), "by": found["principal"], "action": found["action"]}
