"""Two servers that are asked alike: ours, and what else is a `Server`; and a load made ready for one of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from tools.bench.operations import CONTEXT, NATIVE, Checker
from tools.bench.wire import AwsKms
from tools.service import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.bench.load import Measured
    from tools.bench.operations import Item, Wire
    from tools.bench.workloads import Workload
    from tools.service import Service

USER: Final = "role/bench"


class Server(Protocol):
    """A server under load. `url` is http and a port; `session` the one of all its processes, for /proc; `token` the
    bearer token of who asks."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def session(self) -> int: ...
    @property
    def token(self) -> str: ...
    def make_key(self, alias: str, workload: Workload) -> bytes:
        """Makes the load's key; its published half in DER, or nothing."""
        ...

    def wire(self, workload: Workload) -> Wire:
        """How the load's calls are written and read."""
        ...

    def decrypt(self, alias: str, ciphertext: str) -> str:
        """What a ciphertext of that key holds, in base64."""
        ...


class Sealmark:
    """The service as shipped, with a key user who has an access key too."""

    name: Final = "sealmark"

    def __init__(self, service: Service) -> None:
        self.service = service
        self.url = service.url
        self.session = service.process.pid
        self.token = service.enrolled(USER, "key-user")
        with service.caller(self.token) as caller:
            made = caller.json("POST", f"/v1/principals/{USER}/access-keys", {})
        self._aws = AwsKms(str(made["access_key_id"]), str(made["secret_access_key"]))

    def make_key(self, alias: str, workload: Workload) -> bytes:
        operation, secret = workload.operation, workload.spec == "SYMMETRIC_DEFAULT"
        wanted = {"alias": alias, "spec": workload.spec, "purpose": operation.purpose, "users": [USER]}
        with self.service.caller(self.service.token_of("key-admin")) as administrator:
            published = {} if secret else {"published": True}
            administrator.json("POST", "/v1/keys", {**wanted, **operation.members, **published})
            return b"" if secret else administrator.content(f"/v1/keys/{alias}/public-key?format=der")

    def wire(self, workload: Workload) -> Wire:
        return self._aws if workload.aws else NATIVE

    def decrypt(self, alias: str, ciphertext: str) -> str:
        with self.service.caller(self.token) as caller:
            asked = {"ciphertext": ciphertext, "context": CONTEXT}
            return str(caller.json("POST", f"/v1/keys/{alias}/decrypt", asked)["results"][0]["plaintext"])


@dataclass(frozen=True, slots=True)
class Target:
    """A load made ready for a server: what is asked with which key, and how its answers are checked."""

    server: Server
    workload: Workload
    alias: str
    checker: Checker
    payloads: tuple[tuple[bytes, ...], ...]
    items: tuple[list[Item], ...]

    def requests(self) -> tuple[bytes, ...]:
        """Whole HTTP requests, made when they are wanted: signed ones do not live long."""
        address, wire = urlsplit(self.server.url).netloc, self.server.wire(self.workload)
        return wire.requests(address, self.server.token, self.alias, self.workload.operation, self.items)

    def check(self, seen: Sequence[Measured], *, may_refuse: bool = False) -> int:
        """Checks every result of the answers that were kept; how many.

        Raises: `ServiceError` where requests failed or nothing was kept, and what the check of a wrong result raises.
        """
        failures = sum(one.failures for one in seen)
        if failures:
            said = next(one.first_failure for one in seen if one.failures)
            raise ServiceError(f"{self.server.name}: {failures} requests failed; the first: {said}")
        if (refused := sum(one.refused for one in seen)) and not may_refuse:
            raise ServiceError(f"{self.server.name}: {refused} requests were told to come again")
        wire, checked = self.server.wire(self.workload), 0
        for place, answer in (kept for one in seen for kept in one.kept):
            for payload, result in zip(self.payloads[place], wire.results(answer), strict=True):
                self.workload.operation.check(self.checker, payload, result)
                checked += 1
        if not checked:
            raise ServiceError(f"{self.server.name}: no answer was kept to be checked")
        return checked


def prepare(server: Server, workload: Workload) -> Target:
    """Makes the key and the bodies."""
    operation = workload.operation
    alias = f"bench-{operation.path}-{workload.spec.lower().replace('_', '-')}-{workload.batch}-{secrets.token_hex(4)}"
    public_key = server.make_key(alias, workload)
    payloads = tuple(tuple(secrets.token_bytes(32) for _ in range(workload.batch)) for _ in range(workload.prepared))
    items = tuple([operation.item(each, workload.algorithm) for each in batch] for batch in payloads)
    return Target(server, workload, alias, Checker(public_key, partial(server.decrypt, alias)), payloads, items)
