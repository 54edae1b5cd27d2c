"""Keys: described, listed, enabled, disabled, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from keystore.api import KeyState
from keystore.lifecycle import DEFAULT_WAIT, LONGEST_WAIT, SHORTEST_WAIT
from signer.access import Action
from signer.access.duties import USERS_ACTIONS
from signer.audit.last_use import begun_at, last_use
from signer.call import Answer, Call
from signer.held import deletion_details
from signer.kms.errors import invalid
from signer.kms.grant_tokens import require_grant_tokens
from signer.kms.metadata import key_metadata, state_name
from signer.kms.operation import KmsOperation
from signer.kms.paging import after, page
from signer.kms.references import administered, described
from signer.kms.shapes import Description, GrantTokens, KeyId, Limit, Marker, Request
from signer.kms.states import require_labelled, require_state
from signer.kms.translation import Translated
from signer.listing import visible_keys
from signer.pipeline import present
from signer.request import Deletion, Empty, KeyDescription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_USUAL_PAGE: Final = 100
# What AWS calls the uses that it has not.
_USES: Final[Mapping[Action, str]] = {
    Action.SIGN_ARTIFACT: "Sign",
    Action.ISSUE_TOKEN: "Sign",
    Action.ISSUE_ASSERTION: "Sign",
    Action.RE_ENCRYPT_FROM: "ReEncrypt",
    Action.RE_ENCRYPT_TO: "ReEncrypt",
}
_TRACKED: Final = {action.value: _USES.get(action, action.value) for action in (*USERS_ACTIONS, Action.VERIFY)}


class DescribeKeyRequest(Request):
    """`DescribeKey`"""

    key_id: KeyId
    grant_tokens: GrantTokens | None = None


class KeyRequest(Request):
    """What names a key and nothing else."""

    key_id: KeyId


class ListKeysRequest(Request):
    """`ListKeys`"""

    limit: Limit | None = None
    marker: Marker | None = None
    resource_owners: (
        Annotated[list[Literal["SELF", "OTHER_ACCOUNTS_VIA_RAM"]], Meta(min_length=1, max_length=2)] | None
    ) = None


class ScheduleKeyDeletionRequest(Request):
    """`ScheduleKeyDeletion`"""

    key_id: KeyId
    pending_window_in_days: Annotated[int, Meta(ge=1, le=365)] | None = None


class UpdateKeyDescriptionRequest(Request):
    """`UpdateKeyDescription`"""

    key_id: KeyId
    description: Description


def describe_key(services: Services, call: Call) -> Answer:
    """`DescribeKey`"""

    def work(_permit: Permit, key: Key | None, body: DescribeKeyRequest) -> Answer:
        require_grant_tokens(body.grant_tokens, services.keystore)
        return Answer({"KeyMetadata": key_metadata(present(key), services.keystore.clock())})

    def reference(body: DescribeKeyRequest) -> str:
        return described(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.DESCRIBE_KEY, DescribeKeyRequest, work, reference)


def list_keys(services: Services, call: Call) -> Answer:
    """`ListKeys`: those that the caller may describe."""

    def work(permit: Permit, _key: Key | None, body: ListKeysRequest) -> Answer:
        if body.resource_owners is not None and "SELF" not in body.resource_owners:
            return Answer(page("Keys", [], None))  # no other account shares keys here
        found, last = visible_keys(services, permit, call, after(body.marker, "Keys"), body.limit or _USUAL_PAGE)
        return Answer(page("Keys", [{"KeyId": key.id, "KeyArn": key.arn} for key in found], last))

    return services.pipeline.look(call, Action.LIST_KEYS, ListKeysRequest, work)


def enable_key(services: Services, call: Call) -> Answer:
    """`EnableKey`: also of a key that is enabled, as AWS has it."""
    return _switched(services, call, Action.ENABLE_KEY, KeyState.ENABLED)


def disable_key(services: Services, call: Call) -> Answer:
    """`DisableKey`: also of a key that is disabled, as AWS has it."""
    return _switched(services, call, Action.DISABLE_KEY, KeyState.DISABLED)


def _switched(services: Services, call: Call, action: Action, wanted: KeyState) -> Answer:
    asked = Translated(KeyRequest, lambda _request: Empty())

    def before(_permit: Permit, key: Key | None, _body: Empty) -> None:
        require_state(present(key), services.keystore.clock(), KeyState.ENABLED, KeyState.DISABLED)

    def work(_permit: Permit, key: Key | None, _body: Empty) -> Answer:
        found = present(key)
        change = services.keystore.enable if wanted is KeyState.ENABLED else services.keystore.disable
        changed = found if found.state is wanted else change(found.id)
        return Answer(None, recorded={"state": changed.state.value})

    return services.pipeline.change(
        asked.of(call),
        action,
        Empty,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        before=before,
    )


def schedule_key_deletion(services: Services, call: Call) -> Answer:
    """`ScheduleKeyDeletion`"""
    asked = Translated(ScheduleKeyDeletionRequest, _deletion)

    def work(_permit: Permit, key: Key | None, body: Deletion) -> Answer:
        changed = services.keystore.schedule_deletion(present(key).id, days=body.days)
        content = {
            "KeyId": changed.arn,
            "DeletionDate": changed.deletion_at,
            "KeyState": state_name(changed, services.keystore.clock()),
            "PendingWindowInDays": body.days,
        }
        told = {"state": changed.state.value, "deletion_at": changed.deletion_at}
        return Answer(content, recorded={name: value for name, value in told.items() if value is not None})

    def reference(_body: Deletion) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(
        asked.of(call), Action.SCHEDULE_KEY_DELETION, Deletion, work, reference, deletion_details
    )


def _deletion(request: ScheduleKeyDeletionRequest) -> Deletion:
    days = DEFAULT_WAIT if request.pending_window_in_days is None else request.pending_window_in_days
    if not SHORTEST_WAIT <= days <= LONGEST_WAIT:
        msg = f"PendingWindowInDays must be between {SHORTEST_WAIT} and {LONGEST_WAIT}, inclusive."
        raise invalid(msg, field="pendingWindowInDays")
    return Deletion(days=days)


def cancel_key_deletion(services: Services, call: Call) -> Answer:
    """`CancelKeyDeletion`"""
    asked = Translated(KeyRequest, lambda _request: Empty())

    def work(_permit: Permit, key: Key | None, _body: Empty) -> Answer:
        kept = services.keystore.cancel_deletion(present(key).id)
        return Answer({"KeyId": kept.arn}, recorded={"state": kept.state.value})

    def reference(_body: Empty) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(asked.of(call), Action.CANCEL_KEY_DELETION, Empty, work, reference)


def update_key_description(services: Services, call: Call) -> Answer:
    """`UpdateKeyDescription`"""
    asked = Translated(UpdateKeyDescriptionRequest, lambda request: KeyDescription(description=request.description))

    def before(_permit: Permit, key: Key | None, _body: KeyDescription) -> None:
        require_labelled(present(key), services.keystore.clock())

    def work(_permit: Permit, key: Key | None, body: KeyDescription) -> Answer:
        services.labels.describe(present(key), body.description)
        return Answer(None, recorded={"description": body.description})

    def reference(_body: KeyDescription) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(
        asked.of(call), Action.UPDATE_KEY_DESCRIPTION, KeyDescription, work, reference, before=before
    )


def get_key_last_usage(services: Services, call: Call) -> Answer:
    """`GetKeyLastUsage`: as the log has it, since it began."""

    def work(_permit: Permit, key: Key | None, _body: KeyRequest) -> Answer:
        found, database = present(key), services.keystore.database
        used = last_use(database, found.id, _TRACKED)
        usage = (
            {}
            if used is None
            else {
                "Operation": _TRACKED[used.action],
                "Timestamp": used.time,
                "CloudTrailEventId": used.intent,
                "KmsRequestId": used.request_id,
            }
        )
        begun = max(begun_at(database) or found.created_at, found.created_at)
        dates = {"TrackingStartDate": begun, "KeyCreationDate": found.created_at}
        return Answer({"KeyId": found.id, "KeyLastUsage": usage, **dates})

    def reference(body: KeyRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.GET_KEY_LAST_USAGE, KeyRequest, work, reference)


OPERATIONS: Final = (
    KmsOperation("DescribeKey", DescribeKeyRequest, describe_key, (Action.DESCRIBE_KEY,)),
    KmsOperation("ListKeys", ListKeysRequest, list_keys, (Action.LIST_KEYS,)),
    KmsOperation("EnableKey", KeyRequest, enable_key, (Action.ENABLE_KEY,)),
    KmsOperation("DisableKey", KeyRequest, disable_key, (Action.DISABLE_KEY,)),
    KmsOperation(
        "ScheduleKeyDeletion", ScheduleKeyDeletionRequest, schedule_key_deletion, (Action.SCHEDULE_KEY_DELETION,)
    ),
    KmsOperation("CancelKeyDeletion", KeyRequest, cancel_key_deletion, (Action.CANCEL_KEY_DELETION,)),
    KmsOperation(
        "UpdateKeyDescription", UpdateKeyDescriptionRequest, update_key_description, (Action.UPDATE_KEY_DESCRIPTION,)
    ),
    KmsOperation("GetKeyLastUsage", KeyRequest, get_key_last_usage, (Action.GET_KEY_LAST_USAGE,)),
)
