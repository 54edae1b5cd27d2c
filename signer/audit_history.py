"""The history of the configuration: who changed what, when and to what, from the records of the changes themselves.

A change is shown with what its record says of it, and a policy's change with the version that began to count, from the
policies' own history. What was tried and refused is no change; what a dead worker left open may have been one.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from signer.access import Action
from signer.administration.policies import version_summary
from signer.audit.searching import Search, find_entries
from signer.auditing import AuditReading, bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.access import PolicyVersion
    from keystore.keystore import Keystore
    from signer.audit_questions import HistoryOf, HistoryQuery

# Nobody's call: done by the service itself, or where the HSM is.
DELETE_KEY: Final = "DeleteKey"
DELETE_EXPIRED_MATERIAL: Final = "DeleteExpiredKeyMaterial"
ENROL: Final = "Enrol"
CREATE_DOMAIN: Final = "CreateDomain"
ROTATE_DOMAIN: Final = "RotateDomain"
EXPORT_DOMAIN: Final = "ExportDomain"
ADOPT_DOMAIN: Final = "AdoptDomain"
BEGIN_LOG: Final = "BeginLog"
CHANGES: Final[Mapping[HistoryOf, tuple[str, ...]]] = MappingProxyType(
    {
        "policies": (
            *(Action.PUT_KEY_POLICY.value, Action.PUT_PRINCIPAL_POLICY.value),
            *(Action.PUT_APPROVAL_RULE.value, Action.DELETE_APPROVAL_RULE.value),
        ),
        "grants": (Action.CREATE_GRANT.value, Action.RETIRE_GRANT.value, Action.REVOKE_GRANT.value),
        "principals": (*(Action.CREATE_PRINCIPAL.value, Action.UPDATE_PRINCIPAL.value, Action.DELETE_PRINCIPAL.value),),
        "credentials": (
            *(Action.CREATE_ENROLMENT.value, ENROL, Action.CREATE_CREDENTIAL.value),
            *(Action.UPDATE_CREDENTIAL.value, Action.REVOKE_CREDENTIAL.value),
        ),
        "issuers": (
            *(Action.CREATE_ISSUER.value, Action.CREATE_TRUSTED_ISSUER.value),
            *(Action.UPDATE_TRUSTED_ISSUER.value, Action.DELETE_TRUSTED_ISSUER.value),
        ),
        "keys": (
            *(Action.CREATE_KEY.value, Action.ROTATE_KEY.value, Action.DISABLE_KEY.value, Action.ENABLE_KEY.value),
            *(Action.SCHEDULE_KEY_DELETION.value, Action.CANCEL_KEY_DELETION.value, DELETE_KEY),
            *(Action.IMPORT_KEY_MATERIAL.value, Action.DELETE_IMPORTED_KEY_MATERIAL.value, DELETE_EXPIRED_MATERIAL),
            *(Action.CREATE_ALIAS.value, Action.UPDATE_ALIAS.value, Action.DELETE_ALIAS.value),
            *(Action.TAG_RESOURCE.value, Action.UNTAG_RESOURCE.value, Action.UPDATE_KEY_DESCRIPTION.value),
            *(Action.ENABLE_KEY_ROTATION.value, Action.DISABLE_KEY_ROTATION.value, Action.ROTATE_KEY_ON_DEMAND.value),
            *(Action.REPLICATE_KEY.value, Action.UPDATE_PRIMARY_REGION.value),
            Action.SYNCHRONIZE_MULTI_REGION_KEY.value,
        ),
        "certificates": (
            *(Action.INSTALL_CERTIFICATE.value, Action.RENEW_CERTIFICATE.value, Action.REVOKE_CERTIFICATE.value),
        ),
        "domains": (CREATE_DOMAIN, ROTATE_DOMAIN, EXPORT_DOMAIN, ADOPT_DOMAIN, BEGIN_LOG),
    }
)
_OF: Final = MappingProxyType({action: of for of, actions in CHANGES.items() for action in actions})


class AuditHistory:
    """One per worker."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore
        self._reading = AuditReading(keystore)

    def history(
        self, query: HistoryQuery, cursor: str | None, limit: int
    ) -> tuple[list[dict[str, object]], str | None]:
        """A page of changes as JSON members, and the cursor for what comes next. Raises as `AuditReading.search`."""
        begin, end = bounds(query)
        search = Search(
            keys=() if query.key is None else self._reading.names_of_key(query.key),
            actions=tuple(_OF) if query.of is None else CHANGES[query.of],
            outcomes=("succeeded", "unknown"),
            either=query.principal,
            begin=begin,
            end=end,
            kinds=("decision",),
            order=query.order,
        )
        found = find_entries(self._keystore.database, search, cursor, limit)
        return [self._change(entry) for entry in self._reading.shown(found)], found.next_cursor

    def _change(self, entry: Mapping[str, Any]) -> dict[str, object]:
        record = entry["record"]
        return {
            "log": entry["log"],
            "index": entry["index"],
            "of": _OF[record["action"]],
            "time": record["time"],
            "action": record["action"],
            "principal": record.get("principal"),
            "outcome": record["outcome"],
            "key_id": record.get("key_id"),
            "key_alias": entry["key_alias"],
            "subject": record.get("subject"),
            "approval": record.get("approval"),
            "request_id": record.get("request_id"),
            "detail": record.get("detail"),
            "policy": self._policy(record),
        }

    def _policy(self, record: Mapping[str, Any]) -> dict[str, object] | None:
        """The version that the change began, if it was one of a policy."""
        detail = record.get("detail") or {}
        revision = detail.get("revision")
        if not isinstance(revision, int):
            return None
        if record["action"] == Action.PUT_KEY_POLICY.value:
            version = self._keystore.find_policy_version(record["key_id"], revision)
        elif record["action"] == Action.PUT_PRINCIPAL_POLICY.value:
            version = self._of_principal(str(record.get("subject")), revision)
        else:
            return None
        if version is None:
            return None
        document = None if version.document is None else json.loads(version.document)
        return {**version_summary(version), "policy": document}

    def _of_principal(self, name: str, revision: int) -> PolicyVersion | None:
        found = self._keystore.list_identity_policy_versions(name, revision - 1, 1)
        return found[0] if found and found[0].revision == revision else None
