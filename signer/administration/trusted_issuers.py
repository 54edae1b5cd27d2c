"""Trusted issuers: whose tokens are exchanged for sessions, of which role and under which conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import WrongState as NotEnabled
from keystore.trust import RoleMapping, TrustedIssuer
from keystore.values import stored_json
from signer.access.claims import flaw_of_claim, flaw_of_mapping, flaw_of_value
from signer.access.duties import DUTIES_OF, Action
from signer.administration.issuers import require_endpoint, require_issuer_url
from signer.authn.token_keys import parse_key_set
from signer.errors import Conflict, NotFound, Unprocessable

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.request import ClaimMapping, NewTrustedIssuer, TrustedIssuerBody

LARGEST_KEY_SET = 256 * 1024
_ABSENT = "there is no trusted issuer {name}"


class TrustedIssuerAdministration:
    """Every change to trusted issuers. Each ends the sessions that began by what was there before."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def create(self, permit: Permit, body: NewTrustedIssuer) -> TrustedIssuer:
        """Raises `Unprocessable` for what is unsafe or makes no sense, `Conflict` if name or URL are taken."""
        if body.revision is not None:
            msg = "revision belongs to a change of a trusted issuer that is there"
            raise Unprocessable(msg, field="revision")
        issuer = self._checked(permit, body, body.name)
        try:
            return self._keystore.create_trusted_issuer(issuer)
        except Taken as taken:
            raise Conflict(str(taken), field="url" if "URL" in str(taken) else "name") from taken
        except (NoSuchRow, NotEnabled) as gone:
            raise Unprocessable(_ROLE, field="mappings") from gone

    def update(self, permit: Permit, name: str, body: TrustedIssuerBody) -> TrustedIssuer:
        """The whole of it anew. Raises as `create`, and `NotFound`."""
        self.get(name)
        issuer = self._checked(permit, body, name)
        try:
            return self._keystore.update_trusted_issuer(issuer, replaces=body.revision)
        except Taken as taken:
            raise Conflict(str(taken), field="url" if "URL" in str(taken) else "revision") from taken
        except NoSuchRow as gone:
            self.get(name)
            raise Unprocessable(_ROLE, field="mappings") from gone
        except NotEnabled as disabled:
            raise Unprocessable(_ROLE, field="mappings") from disabled

    def delete(self, permit: Permit, name: str) -> None:
        """Raises `NotFound`."""
        try:
            self._keystore.delete_trusted_issuer(name, permit.principal.name, self._keystore.clock())
        except NoSuchRow as gone:
            raise NotFound(_ABSENT.format(name=name), field="name") from gone

    def get(self, name: str) -> TrustedIssuer:
        """Raises `NotFound`."""
        issuer = self._keystore.find_trusted_issuer(name)
        if issuer is None:
            raise NotFound(_ABSENT.format(name=name), field="name")
        return issuer

    def _checked(self, permit: Permit, body: TrustedIssuerBody, name: str) -> TrustedIssuer:
        require_issuer_url(body.url)
        if body.jwks_url is not None:
            require_endpoint(body.jwks_url, "jwks_url")
        if body.jwks_url is not None and body.jwks is not None:
            msg = "give jwks_url or a pinned jwks, not both"
            raise Unprocessable(msg, field="jwks")
        for audience in body.audiences:
            if not audience.isprintable() or "*" in audience:
                msg = "an audience is one exact text, such as this service's URL"
                raise Unprocessable(msg, field="audiences")
        mappings = tuple(self._mapping(body.url, mapping, number) for number, mapping in enumerate(body.mappings))
        moment, actor = self._keystore.clock(), permit.principal.name
        return TrustedIssuer(
            name=name,
            url=body.url,
            audiences=tuple(dict.fromkeys(body.audiences)),
            algorithms=tuple(dict.fromkeys(body.algorithms)),
            mappings=mappings,
            max_token_age=body.max_token_age,
            session_lifetime=body.session_lifetime,
            created_at=moment,
            created_by=actor,
            updated_at=moment,
            updated_by=actor,
            jwks_url=body.jwks_url,
            jwks=None if body.jwks is None else _pinned(body.jwks),
        )

    def _mapping(self, url: str, body: ClaimMapping, number: int) -> RoleMapping:
        where = f"mappings[{number}]"
        for claim, values in body.conditions.items():
            flaws = [flaw_of_claim(claim), *map(flaw_of_value, values)]
            if flaw := next((flaw for flaw in flaws if flaw is not None), None):
                raise Unprocessable(flaw, field=f"{where}.conditions.{claim}")
        mapping = RoleMapping(body.role, {claim: tuple(values) for claim, values in body.conditions.items()})
        if flaw := flaw_of_mapping(url, mapping):
            raise Unprocessable(flaw, field=f"{where}.conditions")
        self._require_role(body.role, f"{where}.role")
        return mapping

    def _require_role(self, name: str, field: str) -> None:
        owner = self._keystore.find_principal(name)
        allowed = DUTIES_OF[Action.EXCHANGE_TOKEN]
        if not name.startswith("role/") or owner is None or owner.state != "enabled" or owner.duty not in allowed:
            raise Unprocessable(_ROLE, field=field)


_ROLE = "role is a role/NAME that is there and enabled, with the duty key-user or auditor: no workload administers"


def _pinned(document: dict[str, object]) -> str:
    """A key set that is written down: every key of it must be usable. Raises `Unprocessable`."""
    try:
        text = stored_json(document)
        keys = parse_key_set(text.encode())
    except (ValueError, RecursionError) as reason:
        msg = f"jwks: {reason}"
        raise Unprocessable(msg, field="jwks") from reason
    if len(text) > LARGEST_KEY_SET:
        msg = f"jwks is larger than {LARGEST_KEY_SET} characters"
        raise Unprocessable(msg, field="jwks")
    if keys.left_out or not keys.keys:
        msg = f"jwks: {'; '.join(keys.left_out) or 'it has no key'}"
        raise Unprocessable(msg, field="jwks")
    return text


def described(issuer: TrustedIssuer) -> dict[str, object]:
    """A trusted issuer as JSON members."""
    return {
        "name": issuer.name,
        "url": issuer.url,
        "audiences": list(issuer.audiences),
        "mappings": [
            {"role": mapping.role, "conditions": {claim: list(each) for claim, each in mapping.conditions.items()}}
            for mapping in issuer.mappings
        ],
        "jwks_url": issuer.jwks_url,
        "jwks": None if issuer.jwks is None else msgspec.json.decode(issuer.jwks),
        "algorithms": list(issuer.algorithms),
        "max_token_age": issuer.max_token_age,
        "session_lifetime": issuer.session_lifetime,
        "revision": issuer.revision,
        "created_at": issuer.created_at,
        "created_by": issuer.created_by,
        "updated_at": issuer.updated_at,
        "updated_by": issuer.updated_by,
    }
