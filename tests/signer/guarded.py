"""Keys that ask for approval, and the people who give it: what the tests of approvals share."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

APPROVERS: Final = ("user/alice", "user/bob", "user/carol")
QUORUM: Final = {"approvers": list(APPROVERS), "needed": 2, "window_seconds": 600}
EVERYTHING: Final = dict.fromkeys(("sign", "policy", "rotation", "deletion"), QUORUM)
CI: Final = "role/ci"
ADMINISTRATOR: Final = "user/key-admin"


def artifacts(content: str = "1") -> dict[str, Any]:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {
        "artifacts": [{"name": "app.tar.gz", "size": 3, "digests": {"sha256": digest}}],
        "formats": ["raw"],
        "context": {"commit": "4f2a91c"},
    }


@dataclass(frozen=True)
class Guarded:
    """A service, and one of its keys, whose rule covers everything unless said otherwise."""

    service: ServiceInProcess
    key: str

    def call(
        self, who: str, method: str, path: str, body: object = None, approval: str | None = None, **headers: str
    ) -> TestResponse:
        """A call about the key: `path` is what follows `/v1/keys/KEY/`."""
        sent = headers | ({} if approval is None else {"Sealmark-Approval": approval})
        return self.service.call(who, method, f"/v1/keys/{self.key}/{path}", body, sent)

    def sign(self, body: object = None, approval: str | None = None, who: str = CI, **headers: str) -> TestResponse:
        return self.call(who, "POST", "artifacts", artifacts() if body is None else body, approval, **headers)

    def ask(self, who: str = CI, operation: str = "artifacts", request: object = None, reason: str = "") -> Any:
        asked = {"operation": operation, "request": artifacts() if request is None else request, "reason": reason}
        return self.service.made(who, "POST", f"/v1/keys/{self.key}/approval-requests", asked)

    def about(self, who: str, request: Any, word: str, body: object = None) -> TestResponse:
        return self.service.call(who, "POST", f"/v1/approval-requests/{request['id']}/{word}", body)

    def approve(self, who: str, request: Any) -> Any:
        answer = self.about(who, request, "approve", {"request_sha256": request["request_sha256"]})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def approved(self, who: str = CI, operation: str = "artifacts", request: object = None) -> str:
        """The id of a request that two have approved."""
        made = self.ask(who, operation, request)
        for approver in [name for name in APPROVERS if name != who][:2]:
            self.approve(approver, made)
        return str(made["id"])


def enrolled(service: ServiceInProcess, name: str, duty: str = "auditor") -> str:
    """Makes a principal and enrols it; its name."""
    made = service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": duty})
    service.tokens[name] = service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})["token"]
    return name


def approvers_there(service: ServiceInProcess) -> None:
    for name in APPROVERS:
        if name not in service.tokens:
            enrolled(service, name)


def guarded_key(
    service: ServiceInProcess, rule: object = None, *, purpose: str = "artifact", **members: Any
) -> Guarded:
    approvers_there(service)
    formats = ["raw"] if purpose == "artifact" else None
    key = service.make_key(f"k{uuid.uuid4().hex[:12]}", purpose=purpose, formats=formats, **members)["id"]
    service.made(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/approval-rule", EVERYTHING if rule is None else rule)
    return Guarded(service, key)
