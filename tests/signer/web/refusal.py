"""What every refusal must look like, whatever it refuses (RFC 9457 and api.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer.problems import PROBLEMS

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.regions.deployments import Reply


def assert_refused(answer: TestResponse | Reply, status: int, code: str, field: str | None = None) -> str:
    """Holds the answer against what it must be, member by member; gives its `detail`."""
    problem = answer.get_json()
    assert answer.status_code == status, problem
    assert answer.mimetype == "application/problem+json"
    expected = {"type", "title", "status", "code", "detail", "request_id"} | ({"field"} if field else set())
    if code == "service_unavailable":
        expected |= {"parts"} & set(problem)  # of `/readyz`
    assert set(problem) == expected, problem
    assert (problem["status"], problem["code"], problem.get("field")) == (status, code, field), problem
    assert PROBLEMS[code].status == status
    assert problem["type"] == f"urn:sealmark:problem:{code}"
    assert problem["title"] == PROBLEMS[code].title
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    return str(problem["detail"])
