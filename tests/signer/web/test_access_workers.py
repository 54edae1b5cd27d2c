"""What one worker changes counts on another with the next request: grants, policies of both kinds, principals."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

import pytest

from keystore.db import open_database
from keystore.keystore import Keystore
from signer.app import application, assemble
from signer.config import ServerConfiguration
from tests.databases import path_of, url_of
from tests.signer.service import ServiceInProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


KEEPER: Final = "user/key-admin"
MESSAGE: Final = {"message": "AAAA"}


@pytest.fixture(scope="module")
def other_worker(service: ServiceInProcess) -> Iterator[ServiceInProcess]:
    """A second worker over the same database, warm: it has signed before anything changes."""
    path = path_of(service.services.keystore.database)
    keystore = Keystore(service.services.keystore._token, open_database(url_of(path)))
    services = assemble(keystore, path.parent, ServerConfiguration())
    try:
        yield ServiceInProcess(services, application(services).test_client(), service.tokens)
    finally:
        services.upkeep.stop()
        services.audit.stop()
        keystore.database.close()


def test_each_change_counts_on_the_other_worker_at_once(
    service: ServiceInProcess, other_worker: ServiceInProcess
) -> None:
    name = f"role/x{uuid.uuid4().hex[:12]}"
    code = service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": "key-user"})["enrolment_code"]
    service.tokens[name] = service.made(None, "POST", "/v1/enrolments", {"code": code})["token"]
    key = service.make_key(f"w{uuid.uuid4().hex[:12]}", purpose="general", users=[])["id"]

    def signs() -> int:
        return other_worker.call(name, "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code

    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "kms:Sign", "Resource": "*"}]}
    policies = f"/v1/principals/{name}/policies/no"
    for _ in range(3):
        assert signs() == 404
        grant = service.made(KEEPER, "POST", f"/v1/keys/{key}/grants", {"grantee": name, "operations": ["Sign"]})
        assert signs() == 200
        service.made("user/admin", "PUT", policies, {"policy": deny})
        assert signs() in (403, 404)
        service.made("user/admin", "DELETE", policies)
        assert signs() == 200
        service.made(KEEPER, "DELETE", f"/v1/keys/{key}/grants/{grant['id']}")
        assert signs() == 404
        service.made(KEEPER, "PUT", f"/v1/keys/{key}/policy", {"administrators": [KEEPER], "users": [name]})
        assert signs() == 200
        service.made(KEEPER, "POST", f"/v1/keys/{key}/policy/versions/1/restore")
    service.made(KEEPER, "POST", f"/v1/keys/{key}/grants", {"grantee": name, "operations": ["Sign"]})
    assert signs() == 200
    service.made("user/admin", "DELETE", f"/v1/principals/{name}")
    assert signs() == 401
