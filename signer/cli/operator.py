"""`sealmark init` and `sealmark serve`: what is done where the HSM is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from signer.cli.extra import server_parts
from signer.cli.options import current_settings, json_option
from signer.cli.output import note, print_json, print_record, print_table

STATE_VARIABLE = "SEALMARK_STATE"

state_option = click.option(
    "--state",
    "state",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar=STATE_VARIABLE,
    show_envvar=True,
    help="The service's folder.",
)

_PIN_SOURCE = "file:"

Command = TypeVar("Command", bound=Callable[..., object])


def hsm_options(command: Command) -> Command:
    """`--hsm-uri` and `--officer-pin-source`: another HSM than the embedded SoftHSM."""
    uri = click.option(
        "--hsm-uri",
        metavar="URI",
        help="An initialised token (RFC 7512, with module-path and pin-source).  [default: an embedded SoftHSM]",
    )
    pin = click.option(
        "--officer-pin-source",
        metavar="file:PATH",
        help="With --hsm-uri: where its security officer's PIN is. The PIN itself is never an argument.",
    )
    return uri(pin(command))


def database_options(command: Command) -> Command:
    """`--database-url` and `--database-password-file`: a PostgreSQL database instead of DIR/sealmark.db."""
    url = click.option(
        "--database-url",
        metavar="URL",
        help="An empty PostgreSQL database: postgresql://USER@HOST:PORT/NAME?sslmode=verify-full, without a password.  "
        "[default: DIR/sealmark.db]",
    )
    password = click.option(
        "--database-password-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="The file that holds the password of that database's user, mode 0600.",
    )
    return url(password(command))


def pin_file(source: str | None) -> Path | None:
    """The file that a PIN source names. A PIN given by value is wrong usage: it would stand in the shell's history."""
    if source is None:
        return None
    if not source.startswith(_PIN_SOURCE) or source == _PIN_SOURCE:
        raise click.BadParameter("it must be of the form file:PATH", param_hint="--officer-pin-source")
    return Path(source.removeprefix(_PIN_SOURCE))


_WRITTEN = (
    ("sealmark.toml", "the configuration"),
    ("sealmark.db", "the database"),
    ("hsm", "the embedded HSM's token"),
    ("hsm.pin", "the PIN with which the service uses the HSM"),
    ("admin.token", "the token of user/admin, who makes identities"),
    ("key-admin.token", "the token of user/key-admin, who makes keys"),
)
_CARRIED_AWAY = (
    ("so.pin", "the security officer's PIN: for ceremonies alone"),
    ("custodian-*.share", "a share of the region key, for this custodian alone"),
    ("root.token", "the token of the disabled user/root: break glass"),
)


class RegionType(click.ParamType[str]):
    """A region's name, as it stands in ARNs."""

    name = "region"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself, or a usage error."""
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(value)):
            self.fail(f"{value!r} is not a region's name such as us-east-1", param, ctx)
        return str(value)


class AccountType(click.ParamType[str]):
    """Twelve digits, as in ARNs."""

    name = "account"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The digits themselves, or a usage error."""
        if not re.fullmatch(r"[0-9]{12}", str(value)):
            self.fail(f"{value!r} is not 12 digits", param, ctx)
        return str(value)


class BindType(click.ParamType[str]):
    """HOST:PORT, with an IPv6 address in brackets, or unix:PATH."""

    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself, or a usage error."""
        if str(value).removeprefix("unix:") not in ("", str(value)):
            return str(value)
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", str(value))
        if not found or not 0 < int(found[2]) < 1 << 16:
            self.fail(f"{value!r} is neither HOST:PORT nor unix:PATH", param, ctx)
        return str(value)


@click.command()
@state_option
@click.option("--account", type=AccountType(), default="000000000000", show_default=True, help="12 digits, for ARNs.")
@click.option("--region", type=RegionType(), default="us-east-1", show_default=True, help="For ARNs.")
@click.option("--custodians", type=click.IntRange(2, 16), default=5, show_default=True, help="How many shares to make.")
@click.option(
    "--threshold", type=click.IntRange(2, 16), default=3, show_default=True, help="How many shares bring the key back."
)
@click.option("--issuer-url", help="The iss of the default issuer's tokens.  [default: the service's own]")
@click.option(
    "--ca-constraint",
    metavar="NAME",
    help="The built-in CA certifies subjects below this name alone, such as O=Example.",
)
@database_options
@hsm_options
@json_option
def init(
    state: Path,
    account: str,
    region: str,
    custodians: int,
    threshold: int,
    issuer_url: str | None,
    ca_constraint: str | None,
    database_url: str | None,
    database_password_file: Path | None,
    hsm_uri: str | None,
    officer_pin_source: str | None,
) -> None:
    """Set up a new service: the first ceremony.

    It makes the token, the keys of the hierarchy, the custodians' shares, the database and the first people.

    DIR must be missing or empty. Secrets are written to files that only you can read, never printed; those in
    DIR/ceremony are to be carried away before the service is used.

    \b
    Examples:
      sealmark init --state /var/lib/sealmark --account 123456789012 --region eu-central-1
      sealmark init --state /var/lib/sealmark --database-url postgresql://sealmark@db.example:5432/sealmark \\
          --database-password-file /etc/sealmark/database.password
    """
    if threshold > custodians:
        raise click.UsageError("--threshold must not be more than --custodians: nobody could bring the key back")
    with server_parts():
        from keystore.ceremony import InitOptions
        from signer.people import initialise_service
    options = InitOptions(
        account,
        region,
        custodians,
        threshold,
        hsm_uri,
        pin_file(officer_pin_source),
        database_url,
        database_password_file,
    )
    initialise_service(state, options, issuer_url=issuer_url, authority_constraint=ca_constraint)
    _report(state, threshold)


def _found(folder: Path, table: tuple[tuple[str, str], ...]) -> list[tuple[Path, str]]:
    return [(path, meaning) for pattern, meaning in table for path in sorted(folder.glob(pattern))]


def _report(state: Path, threshold: int) -> None:
    written = _found(state, _WRITTEN)
    carried = _found(state / "ceremony", _CARRIED_AWAY)
    if current_settings().as_json:
        members = {"written": written, "carry_away": carried}
        listed = {name: [str(path) for path, _ in rows] for name, rows in members.items()}
        print_json({"state": str(state), **listed, "threshold": threshold})
        return
    print_table(("written", "what it is"), written)
    print_table(("carry away now", "what it is"), carried)
    print_record({"shares that bring the keys to another HSM": threshold})
    note(f"Next: carry {state / 'ceremony'} away, then: sealmark serve --state {state}")


@click.command()
@state_option
@click.option("--bind", type=BindType(), default="127.0.0.1:8200", show_default=True, help="HOST:PORT or unix:PATH")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes.  [default: the configuration's]")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of each process.  [default: the configuration's]")
def serve(state: Path, bind: str, workers: int | None, threads: int | None) -> None:
    """Run the service.

    It runs until it is told to stop (SIGTERM or Ctrl-C), which loses no request.

    \b
    Example:
      sealmark serve --state /var/lib/sealmark --bind 127.0.0.1:8200 --workers 4
    """
    with server_parts():
        from signer.server import serve as serve_until_stopped
    serve_until_stopped(state, bind, workers, threads)
