"""The whole service with a witness that must cosign: what a caller gets, and what it gets while the witness is away."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from keystore.keystore import Keystore
from signer.audit import witnessing
from signer.audit.checkpoints import NoteSigner
from signer.audit.cosignatures import parse_witness_key
from signer.config import LogConfiguration, OutsideWitness, ServerConfiguration
from signer.witness.state import create_state
from tests.keystore.support import make_database, own_texts
from tests.signer.audit.test_cosigned_heads import OneWitness
from tests.signer.service import ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused
from tests.signer.witness.test_client import serving
from verifier import parse_trust
from verifier.log_proofs import verify_log_proof
from verifier.notes import cosigned_at, parse_key, parse_note

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.hsm import Token

FILE = {"name": "app", "size": 1, "digests": {"sha256": hashlib.sha256(b"x").hexdigest()}}
BODY = {"formats": ["cms"], "artifacts": [FILE]}


def log_key(token: Token, folder: Path) -> str:
    """The verifier key of the log that a service over this token has."""
    with own_texts(token) as own:
        database = make_database(folder / "another.db", own)
        log = Keystore(own, database).log
        database.close()
    return NoteSigner(log.origin, log.public_key).verifier_key


def sign(service: ServiceInProcess) -> Any:
    return service.call("role/ci", "POST", "/v1/keys/release/artifacts", BODY)


def test_a_witness_that_must_cosign(token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "REST", 0.0)
    monkeypatch.setattr(witnessing, "TIME_LIMIT", 20.0)  # however busy this machine is
    one = OneWitness(create_state(tmp_path / "witness", "witness.example/w1"))
    one.state.store.add_log(parse_key(log_key(token, tmp_path)))
    with serving(one) as url:
        outside = OutsideWitness(url, parse_witness_key(str(one.key)))
        configuration = ServerConfiguration(log=LogConfiguration((outside,), 1))
        with running_service(token, tmp_path, configuration=configuration) as service:
            service.make_key("release")
            (result,) = service.made("role/ci", "POST", "/v1/keys/release/artifacts", BODY)["results"]
            note = result["proof"].partition("\n\n")[2]
            assert set(cosigned_at(parse_note(note.encode()), [one.key])) == {"witness.example/w1"}
            trust = parse_trust(service.call(None, "GET", "/v1/trust").data)
            found = verify_log_proof(result["proof"], trust.logs, clock=service.services.keystore.clock())
            assert found.proven_at is not None  # the published trust asks for the cosignature, and the proof has it
            newest = parse_note(service.call(None, "GET", "/log/checkpoint?cosigned=true").data)
            assert set(cosigned_at(newest, [one.key])) == {"witness.example/w1"}
            one.reachable = False
            refused = sign(service)
            assert_refused(refused, 503, "audit_unavailable")
            assert "signatures" not in refused.get_data(as_text=True)
            one.state.store.remove_log(service.services.audit.log.signer.name)
            one.reachable = True
            assert_refused(sign(service), 503, "audit_unavailable")
            one.state.store.add_log(parse_key(service.services.audit.log.signer.verifier_key))
            assert sign(service).status_code == 200
