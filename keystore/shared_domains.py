"""The ceremony that carries a domain of multi-region keys from one region to another.

Region keys differ, and a domain key leaves an HSM only under its region key. So `export_domain` writes what is in the
database anyway, the domain key and its link key as wrapped by the region key there, sealed by the link key;
`adopt_domain` unwraps both in the officer's session of the other HSM, by a twin of that region key which enough
custodians' shares of the first region make for the moment. Without those shares the file is worth nothing.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keystore import shares as custody
from keystore.clock import system_clock
from keystore.domains import Deployment, deployment_row, finish_rotation, has_older_roots, open_deployment
from keystore.errors import CeremonyError
from keystore.hierarchy import WrappedRoot, adopt_domain_key, destroy_domain_key
from keystore.hsm.connection import read_pin
from keystore.hsm.labels import DOMAIN_NAME, domain_label, link_label
from keystore.hsm.officer import open_ceremony
from keystore.roots import ACTIVE, TABLE, root_values
from keystore.sealing import encode_field
from keystore.state_files import write_secret
from keystore.values import stored_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from keystore.sealing import SealedRow

DOMAIN_FILE_FORMAT: Final = "sealmark-domain/1"
LARGEST_FILE: Final = 16 * 1024  # octets
_SEAL_DOMAIN: Final = b"sealmark carried domain v1"
_TEXTS: Final = ("account", "domain", "format", "link", "region", "seal", "wrapped")


@dataclass(frozen=True, slots=True)
class AdoptedDomain:
    """What was carried here: the domain, the version of its key, and the region that it came from."""

    name: str
    version: int
    home_region: str


@dataclass(frozen=True, slots=True)
class CarriedDomain:
    """A domain on its way. `account` and `region` are those of the deployment that makes its keys."""

    account: str
    region: str
    domain: str
    version: int
    wrapped: bytes
    link: bytes
    seal: bytes = b""

    @property
    def message(self) -> bytes:
        """What the seal is over."""
        texts = (self.account, self.region, self.domain, str(self.version))
        return b"".join(map(encode_field, (_SEAL_DOMAIN, *map(str.encode, texts), self.wrapped, self.link)))


def export_domain(state: Path, name: str, officer_pin: bytes, out: Path) -> int:
    """Writes a domain of multi-region keys to a new file for another region, and returns the version of its key.

    Raises: `CeremonyError` if there is no such domain, its keys are made elsewhere, or a rotation of it is unfinished.
    """
    if out.exists():
        raise CeremonyError(f"{out} is there already: name another file")
    with open_deployment(state) as deployment:
        here = deployment_row(deployment)
        domain = _multi_region_domain(deployment, name)
        if domain.text("home_region") != here.text("region"):
            raise CeremonyError(
                f"the keys of domain {name!r} are made in {domain.text('home_region')}: export it there"
            )
        version = domain.number("current_version")
        if has_older_roots(deployment, name, version):
            raise CeremonyError(f"a rotation of domain {name!r} was cut short: finish it (domain rotate) first")
        _prove_officer(deployment, officer_pin)
        carried = CarriedDomain(
            account=here.text("account"),
            region=here.text("region"),
            domain=name,
            version=version,
            wrapped=_blob(deployment, domain_label(name, version)),
            link=_blob(deployment, link_label(name)),
        )
        seal = deployment.token.link_seal(name, carried.message)
    write_secret(out, _written(carried, seal))
    return version


def adopt_domain(
    state: Path,
    file: Path,
    shares: Sequence[str],
    officer_pin: bytes,
    progress: Callable[[int, int], None] | None = None,
) -> AdoptedDomain:
    """Takes a domain of another region in, or a newer key of one that is here, and wraps all its keys by it.

    `shares` are the custodians' of the region that it comes from. Cut short, it is run again. `progress` is told
    (done, total) backing keys. Raises: `CeremonyError`, and whatever the HSM or the database fails with.
    """
    carried = _read(file)
    region_key = custody.combine(shares)
    try:
        with open_deployment(state) as deployment:
            _require_fit(deployment, carried)
            domain = deployment.store.get("domains", carried.domain)
            if domain is None or domain.number("current_version") < carried.version:
                _take_in(deployment, carried, domain, region_key, officer_pin)
            finish_rotation(deployment, carried.domain, carried.version, officer_pin, progress)
    finally:
        region_key[:] = bytes(len(region_key))
    return AdoptedDomain(carried.domain, carried.version, carried.region)


def _multi_region_domain(deployment: Deployment, name: str) -> SealedRow:
    domain = deployment.store.get("domains", name)
    if domain is None:
        raise CeremonyError(f"there is no domain {name!r}")
    if domain.optional_text("home_region") is None:
        raise CeremonyError(
            f"domain {name!r} holds keys of this region alone; one that can be carried is made with --multi-region"
        )
    return domain


def _prove_officer(deployment: Deployment, officer_pin: bytes) -> None:
    configuration = deployment.configuration
    with (
        open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony,
        ceremony.as_officer(),
    ):
        pass


def _blob(deployment: Deployment, label: str) -> bytes:
    row = deployment.store.get(TABLE, label)
    if row is None or row.text("state") != ACTIVE:
        raise CeremonyError(f"the database does not hold {label!r}")
    return row.octets("wrapped")


def _require_fit(deployment: Deployment, carried: CarriedDomain) -> None:
    here = deployment_row(deployment)
    if carried.account != here.text("account"):
        raise CeremonyError(f"the domain is of account {carried.account}, this deployment of {here.text('account')}")
    if carried.region == here.text("region"):
        raise CeremonyError(f"the domain is of {carried.region}, as this deployment: it is carried to another region")
    domain = deployment.store.get("domains", carried.domain)
    if domain is None:
        return
    home, version = domain.optional_text("home_region"), domain.number("current_version")
    if home != carried.region:
        raise CeremonyError(f"there is a domain {carried.domain!r} already, which is not of {carried.region}")
    if version > carried.version:
        raise CeremonyError(
            f"this is version {carried.version} of domain {carried.domain!r}; version {version} is here"
        )
    if version == carried.version and not has_older_roots(deployment, carried.domain, version):
        raise CeremonyError(f"version {version} of domain {carried.domain!r} is here already")


def _take_in(
    deployment: Deployment, carried: CarriedDomain, domain: SealedRow | None, region_key: bytearray, officer_pin: bytes
) -> None:
    """From this commit on the domain's keys are wrapped by the carried key."""
    key = WrappedRoot(domain_label(carried.domain, carried.version), carried.wrapped)
    link = WrappedRoot(link_label(carried.domain), carried.link)
    known_link = deployment.store.get(TABLE, link.label)
    configuration = deployment.configuration
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
        # What an earlier attempt left on the token without a row is of nobody.
        destroy_domain_key(ceremony, key.label)
        if known_link is None:
            destroy_domain_key(ceremony, link.label)
        adopted = adopt_domain_key(ceremony, region_key, key, link, carried.message, carried.seal)
    with deployment.store.transaction() as transaction:
        if domain is None:
            now = stored_time(system_clock())
            version, home = carried.version, carried.region
            transaction.insert(
                "domains", carried.domain, {"current_version": version, "created_at": now, "home_region": home}
            )
        else:
            transaction.update(domain, {"current_version": carried.version})
        for root in adopted:
            if root.link is None or known_link is None:
                transaction.insert(TABLE, root.label, root_values(root))


def _written(carried: CarriedDomain, seal: bytes) -> str:
    members = {
        "account": carried.account,
        "domain": carried.domain,
        "format": DOMAIN_FILE_FORMAT,
        "link": b64encode(carried.link).decode(),
        "region": carried.region,
        "seal": b64encode(seal).decode(),
        "version": carried.version,
        "wrapped": b64encode(carried.wrapped).decode(),
    }
    return json.dumps(members, indent=2, sort_keys=True)


def _read(file: Path) -> CarriedDomain:
    """What `export_domain` wrote, and nothing else. Raises: `CeremonyError`."""
    try:
        octets = file.read_bytes()
        members = json.loads(octets) if len(octets) <= LARGEST_FILE else None
    except (OSError, ValueError, RecursionError) as error:
        raise CeremonyError(f"{file} cannot be read as a carried domain") from error
    if not isinstance(members, dict) or members.get("format") != DOMAIN_FILE_FORMAT:
        raise CeremonyError(f"{file} is not what `ceremony domain export` writes ({DOMAIN_FILE_FORMAT})")
    texts = {name: members.get(name) for name in _TEXTS}
    version = members.get("version")
    if set(members) != {*_TEXTS, "version"} or not isinstance(version, int) or not 0 < version < 1_000_000:
        raise CeremonyError(f"{file}: members are missing, or there are others")
    checked = {name: text for name, text in texts.items() if isinstance(text, str)}
    if checked.keys() != texts.keys() or not DOMAIN_NAME.fullmatch(checked["domain"]):
        raise CeremonyError(f"{file}: a member is not of its form")
    try:
        wrapped, link, seal = (b64decode(checked[name], validate=True) for name in ("wrapped", "link", "seal"))
    except ValueError as error:
        raise CeremonyError(f"{file}: a member is not base64") from error
    carried = CarriedDomain(checked["account"], checked["region"], checked["domain"], version, wrapped, link, seal)
    if octets != f"{_written(carried, seal)}\n".encode():
        raise CeremonyError(f"{file} is not as `ceremony domain export` writes it")
    return carried
