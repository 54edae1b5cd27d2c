"""What ceremonies leave in the audit trail: who ran them, where the HSM is, and what they changed."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keystore import open_keystore
from signer.access import Duty
from signer.app import assemble
from signer.audit.identifiers import new_request_id
from signer.audit.records import canonical
from signer.authn.principal import SERVICE, CredentialKind, Principal
from signer.call import Call
from signer.config import load_server_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from signer.services import Services


@contextmanager
def opened(state: Path) -> Iterator[Services]:
    """The service's parts over this state, while the service itself may be running."""
    services = assemble(open_keystore(state), state, load_server_configuration(state))
    try:
        yield services
    finally:
        services.close()


def officer() -> Principal:
    """Whoever has proved to be the security officer, as records name them."""
    proof = canonical({"operating_system_user": _operator(), "proved": "officer's PIN"})
    return Principal(SERVICE, Duty.ROOT, "ceremony:officer", CredentialKind.SERVICE, proof)


def operator() -> Principal:
    """Whoever works where the service's folder is, without the officer's PIN."""
    proof = canonical({"operating_system_user": _operator()})
    return Principal(SERVICE, Duty.ROOT, "operator", CredentialKind.SERVICE, proof)


def ceremony_call() -> Call:
    """A call of nobody's over HTTP."""
    return Call(new_request_id(), None, "ceremony", None, None, b"")


def record_ceremony(state: Path, action: str, detail: Mapping[str, object]) -> None:
    """Records what a ceremony has changed, once it has. Raises `AuditUnavailable` where that cannot be written."""
    with opened(state) as services:
        services.audit.note(officer(), action, ceremony_call(), detail=detail)


def _operator() -> str:
    """Who runs the ceremony, as the operating system knows them."""
    identifier = os.getuid()
    try:
        return pwd.getpwuid(identifier).pw_name
    except KeyError:
        return str(identifier)
