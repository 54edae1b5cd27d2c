"""The end of `init`: first people, the default issuer and the certificate authority.

Runs once, right after the key ceremony, before anybody can call. What it does is recorded in the audit trail like
everything later.
"""

from __future__ import annotations

import os
import shutil
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore import open_keystore
from keystore.algorithms import Purpose
from keystore.api import CredentialRecord, Issuer, KeyPolicy, NewKey, PrincipalRecord
from keystore.ceremony import InitOptions, InitResult, initialise
from keystore.clock import system_clock
from keystore.secrets import NOBODY
from signer.access import Action, Duty
from signer.access.decision import permit_ceremony
from signer.administration.issuers import require_issuer_url
from signer.app import assemble
from signer.audit import Outcome
from signer.audit.identifiers import new_request_id
from signer.authn.principal import ROOT, SERVICE, CredentialKind, Principal
from signer.authn.tokens import new_token, stored_form
from signer.call import Call
from signer.certificates.request import parse_subject
from signer.config import load_server_configuration
from signer.published import DEFAULT_ISSUER

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.x509 import Name

    from keystore.keystore import Keystore
    from signer.services import Services

DEFAULT_ISSUER_URL: Final = "http://127.0.0.1:8200/issuers/default"
AUTHORITY_SPEC: Final = "ECC_NIST_P384"
_FIRST_PEOPLE: Final = (
    ("user/admin", Duty.ADMINISTRATOR, "enabled", "admin.token"),
    ("user/key-admin", Duty.KEY_ADMINISTRATOR, "enabled", "key-admin.token"),
    (ROOT, Duty.ROOT, "disabled", "ceremony/root.token"),
)


def initialise_service(
    state: Path, options: InitOptions, *, issuer_url: str | None = None, authority_constraint: str | None = None
) -> InitResult:
    """The whole of `sealmark init`. Leaves nothing behind if it fails. Raises `CeremonyError`, `Unprocessable` and
    others.

    `authority_constraint` is a name (RFC 4514): the certificate authority then certifies subjects below it alone.
    """
    url = issuer_url or DEFAULT_ISSUER_URL
    require_issuer_url(url)
    within = None if authority_constraint is None else parse_subject(authority_constraint, "authority_constraint")
    existed = state.exists()
    result = initialise(state, options)
    try:
        _settle(state, url, within)
    except BaseException:
        _undo(state, keep_directory=existed)
        raise
    return result


def _settle(state: Path, issuer_url: str, within: Name | None) -> None:
    services = assemble(open_keystore(state), state, load_server_configuration(state))
    try:
        call = Call(new_request_id(), None, "ceremony", None, None, b"")
        principal = Principal(SERVICE, Duty.ROOT, "ceremony", CredentialKind.SERVICE)
        intent = services.audit.open(permit_ceremony(principal, Action.CREATE_PRINCIPAL, None), call, None, 1)
        ends = system_clock() + timedelta(days=services.configuration.longest_token_days)
        for name, duty, condition, file_name in _FIRST_PEOPLE:
            # Break glass must work after years too: its token has no end, its being enabled always has one.
            expires_at = None if name == ROOT else ends
            _make_person(services.keystore, name, duty, condition, state / file_name, expires_at)
        issuer = Issuer(str(uuid.uuid4()), DEFAULT_ISSUER, issuer_url, issuer_url, system_clock())
        services.keystore.create_issuer(issuer)
        services.audit.close([(intent, [Outcome(0, "succeeded")])])
        found_authority(services, principal, call, within)
    finally:
        services.close()


def _make_person(
    keystore: Keystore, name: str, duty: Duty, condition: str, path: Path, expires_at: datetime | None
) -> None:
    token, credential = ceremony_token(name, expires_at)
    keystore.create_principal(
        PrincipalRecord(name, duty.value, condition, credential.created_at, SERVICE), credential=credential
    )
    write_token(path, token)


def ceremony_token(name: str, expires_at: datetime | None) -> tuple[str, CredentialRecord]:
    """A token that a ceremony gives, and what is stored of it."""
    token = new_token()
    stored = stored_form(token)
    moment = system_clock()
    return token, CredentialRecord(
        stored.id, name, stored.digest, "enabled", moment, expires_at, label="ceremony", created_by=SERVICE
    )


def write_token(path: Path, token: str) -> None:
    """A new file of mode 0600."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")


def found_authority(services: Services, principal: Principal, call: Call, within: Name | None = None) -> None:
    """The certificate authority: its key in the HSM, its own certificate, and its first revocation list, so that
    whoever fetches that first does not make the HSM work."""
    root = services.keystore.create_key(
        NewKey(
            spec=AUTHORITY_SPEC,
            purpose=Purpose.CA,
            created_by=SERVICE,
            policy=KeyPolicy(NOBODY),
            description="issues the certificates of published keys",
            published=True,
        )
    )
    permit = permit_ceremony(principal, Action.ISSUE_CERTIFICATE, root)
    services.certification.found(permit, call, root, within=within)
    services.revocation_lists.current(call)


def _undo(state: Path, *, keep_directory: bool) -> None:
    for entry in state.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if not keep_directory:
        state.rmdir()
