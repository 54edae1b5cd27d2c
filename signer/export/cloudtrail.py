"""A record in the shape of an AWS CloudTrail event, for tools that read those.

Members and their meaning: AWS CloudTrail user guide, "CloudTrail record contents for management, data, and network
activity events". The event source is `sealmark`, since no service of AWS is meant; what has no place there (the
place in the log, outcomes, approvals) stands in `additionalEventData`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

Event = dict[str, object]
EVENT_VERSION: Final = "1.11"
EVENT_SOURCE: Final = "sealmark"
_LOOKS: Final = ("Get", "List", "Describe", "Explain", "WhoAmI", "Read")
_USES: Final = ("Sign", "Issue", "Encrypt", "Decrypt", "Generate", "Verify")


def event(record: Mapping[str, Any], leaf_hash: bytes, *, index: int, origin: str, account: str, region: str) -> Event:
    """The event of a record. `leaf_hash` (32 octets) makes its id: the same record always has the same one."""
    action = str(record.get("action", record.get("code", "")))
    made: Event = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": _identity(record, account),
        "eventTime": f"{record['time'][:19]}Z",  # whole seconds there; the exact one is in additionalEventData
        "eventSource": EVENT_SOURCE,
        "eventName": action,
        "awsRegion": region,
        "sourceIPAddress": record.get("source", EVENT_SOURCE),
        "userAgent": EVENT_SOURCE,
        "requestParameters": _parameters(record),
        "responseElements": None,
        "additionalEventData": _additional(record, index, origin),
        "requestID": record.get("request_id", ""),
        "eventID": str(uuid.UUID(bytes=leaf_hash[:16], version=4)),
        "readOnly": action.startswith(_LOOKS),
        "eventType": "AwsApiCall",
        "managementEvent": not action.startswith(_USES),
        "recipientAccountId": account,
        "eventCategory": "Data" if action.startswith(_USES) else "Management",
    }
    if "key_id" in record:
        arn = f"arn:aws:kms:{region}:{account}:key/{record['key_id']}"
        made["resources"] = [{"accountId": account, "type": "AWS::KMS::Key", "ARN": arn}]
    if record.get("outcome") != "succeeded" and "code" in record:
        made["errorCode"] = record["code"]
        made["errorMessage"] = f"{record.get('outcome', 'refused')}: {record['code']}"
    return made


def _identity(record: Mapping[str, Any], account: str) -> Event:
    principal = record.get("principal")
    if principal is None:
        return {"type": "Unknown", "accountId": account}
    kind, _, name = str(principal).partition("/")
    identity: Event = {
        "type": "AssumedRole" if kind == "role" else "IAMUser" if kind == "user" else "AWSService",
        "principalId": principal,
        "arn": f"arn:aws:iam::{account}:{principal}",
        "accountId": account,
        "userName": name,
    }
    if "credential" in record:
        identity["accessKeyId"] = record["credential"]
    return identity


def _parameters(record: Mapping[str, Any]) -> Event | None:
    given: Event = {
        shown: record[name]
        for shown, name in (
            ("keyId", "key_id"),
            ("signingAlgorithm", "algorithm"),
            ("encryptionContext", "context"),
            ("subject", "subject"),
        )
        if name in record
    }
    return given or None


def _additional(record: Mapping[str, Any], index: int, origin: str) -> Event:
    shown = {
        *(
            "time",
            "outcome",
            "signatures",
            "key_version",
            "policy_revision",
            "decided_by",
            "approval",
            "detail",
            "about",
        ),
        *("caller_request_id", "item", "proof", "domain", "purpose"),
    }
    return {"logOrigin": origin, "logIndex": index, **{name: record[name] for name in sorted(shown & record.keys())}}
