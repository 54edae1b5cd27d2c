"""SLSA provenance, version 1 (slsa.dev/spec/v1.0/provenance), from what is known of a signing call.

The service did not see the build. It states what it knows: who asked (authenticated), when, with which key, and the
context that the caller gave, word for word. docs/signing.md holds the mapping member by member.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from signer.errors import Unprocessable

if TYPE_CHECKING:
    from collections.abc import Mapping

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:sealmark:build-type:signing-context:v1"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"(https|ssh|git|file)://[\x21-\x7e]+")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class SigningCall:
    """What the service knows by itself: the key's ARN and version, the caller's name, the request's id, the time."""

    key_arn: str
    key_version: int
    caller: str
    request_id: str
    now: datetime


def predicate(call: SigningCall, context: Mapping[str, str]) -> dict[str, Any]:
    """The predicate. Raises: `Unprocessable` for a `started_on` or `finished_on` that is no time."""
    account = call.key_arn.split(":")[4]
    definition: dict[str, Any] = {
        "buildType": BUILD_TYPE,
        "externalParameters": dict(context),
        "internalParameters": {
            "keyArn": call.key_arn,
            "keyVersion": call.key_version,
            "requestId": call.request_id,
        },
    }
    if source := _source(context):
        definition["resolvedDependencies"] = [source]
    metadata = {"invocationId": context.get("run") or call.request_id}
    if (started := _time(context, "started_on")) is not None:
        metadata["startedOn"] = started
    metadata["finishedOn"] = _time(context, "finished_on") or f"{call.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "buildDefinition": definition,
        "runDetails": {"builder": {"id": f"urn:sealmark:{account}:{call.caller}"}, "metadata": metadata},
    }


def _source(context: Mapping[str, str]) -> dict[str, Any] | None:
    """The repository at its commit, where the context names both in a form that a ResourceDescriptor can hold."""
    repository, commit = context.get("repository", ""), context.get("commit", "")
    if not _REPOSITORY.fullmatch(repository) or not _COMMIT.fullmatch(commit):
        return None
    ref = context.get("ref", "")
    return {"uri": f"git+{repository}" + (f"@{ref}" if ref else ""), "digest": {"gitCommit": commit}}


def _time(context: Mapping[str, str], name: str) -> str | None:
    text = context.get(name)
    if text is None:
        return None
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        datetime.fromisoformat(text)
    except ValueError:
        message = f"{name} stands in the provenance and must be RFC 3339 in UTC, such as 2026-01-31T12:00:00Z"
        raise Unprocessable(message, field=f"context.{name}") from None
    return text
