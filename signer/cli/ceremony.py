"""`sealmark ceremony …`: what needs the security officer's PIN or the custodians' shares, where the HSM is.

Neither is ever an argument: they come from files that only their owner reads, or from a prompt that does not echo.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from signer.cli.credentials import read_private_text, secret_from_text
from signer.cli.errors import CommandFailed
from signer.cli.extra import server_parts
from signer.cli.files import refuse_existing
from signer.cli.operator import pin_file, state_option
from signer.cli.options import SLUG, current_settings, json_option
from signer.cli.output import note, print_json, print_record
from signer.cli.progress import progress_shown

officer_pin_option = click.option(
    "--officer-pin-source",
    metavar="file:PATH",
    help="Where the security officer's PIN is.  [default: DIR/ceremony/so.pin if it is there, else a prompt]",
)


@click.group()
def ceremony() -> None:
    """Domains; break glass.

    Needs the security officer's PIN or the custodians' shares. So does `sealmark restore`.

    \b
    Example:
      sealmark ceremony domain create payments --state /var/lib/sealmark
    """


@ceremony.group()
def domain() -> None:
    """Domains hold keys: one for each tenant, team or environment.

    One of multi-region keys is carried from its region to others: export it there, adopt it here.

    \b
    Examples:
      sealmark ceremony domain create payments --state /var/lib/sealmark
      sealmark ceremony domain rotate payments --state /var/lib/sealmark
      sealmark ceremony domain export global --state /var/lib/sealmark --out /media/global.domain
    """


@domain.command("create")
@click.argument("name", type=SLUG)
@click.option("--multi-region", is_flag=True, help="For multi-region keys alone, to be carried to other regions.")
@state_option
@officer_pin_option
@json_option
def create(name: str, multi_region: bool, state: Path, officer_pin_source: str | None) -> None:
    """Make a domain: a key in the HSM that wraps other keys.

    \b
    Examples:
      sealmark ceremony domain create payments --state /var/lib/sealmark --officer-pin-source file:/media/so.pin
      sealmark ceremony domain create global --multi-region --state /var/lib/sealmark
    """
    with server_parts():
        from keystore.ceremony import create_domain
        from signer.audit_history import CREATE_DOMAIN
        from signer.ceremonies import record_ceremony
    create_domain(state, name, officer_pin(state, officer_pin_source), multi_region=multi_region)
    record_ceremony(state, CREATE_DOMAIN, {"domain": name, "multi_region": multi_region})
    _say({"domain": name, "state": "created"})


@domain.command("rotate")
@click.argument("name", type=SLUG)
@state_option
@officer_pin_option
@json_option
def rotate(name: str, state: Path, officer_pin_source: str | None) -> None:
    """Give a domain a new key and re-wrap its keys by it.

    It is done inside the HSM, while the service runs. Broken off, it goes on when run again.

    \b
    Example:
      sealmark ceremony domain rotate payments --state /var/lib/sealmark
    """
    with server_parts():
        from keystore.ceremony import rotate_domain
        from signer.audit_history import ROTATE_DOMAIN
        from signer.ceremonies import record_ceremony
    pin = officer_pin(state, officer_pin_source)
    with progress_shown({"keys": f"Re-wrapping the keys of {name}"}) as told:
        version = rotate_domain(state, name, pin, lambda done, total: told("keys", done, total))
    record_ceremony(state, ROTATE_DOMAIN, {"domain": name, "version": version})
    _say({"domain": name, "state": "rotated", "version": version})


@domain.command("export")
@click.argument("name", type=SLUG)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write it (mode 0600): a file that is not there yet, to be carried to the other region.",
)
@state_option
@officer_pin_option
@json_option
def export(name: str, out: Path, state: Path, officer_pin_source: str | None) -> None:
    """Write a domain to a file, for another region.

    The file is worth nothing without enough of this region's custodians' shares.

    \b
    Example:
      sealmark ceremony domain export global --state /var/lib/sealmark --out /media/global.domain
    """
    refuse_existing(out, "nothing was written; choose another --out")
    with server_parts():
        from keystore.ceremony import export_domain
        from signer.audit_history import EXPORT_DOMAIN
        from signer.ceremonies import record_ceremony
    version = export_domain(state, name, officer_pin(state, officer_pin_source), out)
    record_ceremony(state, EXPORT_DOMAIN, {"domain": name, "version": version})
    _say({"domain": name, "state": "exported", "version": version, "file": str(out)})


@domain.command("adopt")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--share",
    "shares",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A share file of a custodian of the region that the domain is of; repeat. Else they are prompted for.",
)
@state_option
@officer_pin_option
@json_option
def adopt(file: Path, shares: tuple[Path, ...], state: Path, officer_pin_source: str | None) -> None:
    """Take in a domain that another region has exported.

    Or a newer key of one that is here: then all its keys are wrapped by it, while the service runs. Broken off, it goes
    on when run again.

    \b
    Example:
      sealmark ceremony domain adopt /media/global.domain --state /var/lib/sealmark \\
          --share a/custodian-1.share --share b/custodian-3.share --share c/custodian-5.share
    """
    with server_parts():
        from keystore.ceremony import adopt_domain
        from signer.audit_history import ADOPT_DOMAIN
        from signer.ceremonies import record_ceremony
    words = [share_from_file(path) for path in shares] if shares else shares_from_prompt()
    adopted = adopt_domain(state, file, words, officer_pin(state, officer_pin_source))
    told = {"domain": adopted.name, "version": adopted.version, "home_region": adopted.home_region}
    record_ceremony(state, ADOPT_DOMAIN, told)
    _say({"domain": adopted.name, "state": "adopted", "version": adopted.version, "home_region": adopted.home_region})


@ceremony.group()
def root() -> None:
    """Break glass: let user/root call for some hours.

    It administers identities and keys, and never signs. It is disabled, and enabled here alone. Every use of it is
    recorded and stands out in the log.

    \b
    Examples:
      sealmark ceremony root enable --state /var/lib/sealmark --hours 2
      sealmark ceremony root disable --state /var/lib/sealmark
    """


@root.command("enable")
@click.option(
    "--hours", type=click.IntRange(1, 24), default=4, show_default=True, help="After these it is disabled by itself."
)
@state_option
@officer_pin_option
@json_option
def enable_root(state: Path, hours: int, officer_pin_source: str | None) -> None:
    """Let user/root call, for some hours.

    Its token is in the ceremony folder that was carried away. The running service sees the change at once.

    \b
    Example:
      sealmark ceremony root enable --state /var/lib/sealmark --hours 2 --officer-pin-source file:/media/so.pin
    """
    with server_parts():
        from signer import break_glass
    until = break_glass.enable_root(state, officer_pin(state, officer_pin_source), hours)
    _say({"principal": "user/root", "state": "enabled", "until": until.isoformat(timespec="seconds")})


@root.command("disable")
@state_option
@officer_pin_option
@json_option
def disable_root(state: Path, officer_pin_source: str | None) -> None:
    """Stop user/root before its hours are over.

    \b
    Example:
      sealmark ceremony root disable --state /var/lib/sealmark --officer-pin-source file:/media/so.pin
    """
    with server_parts():
        from signer import break_glass
    break_glass.disable_root(state, officer_pin(state, officer_pin_source))
    _say({"principal": "user/root", "state": "disabled"})


@root.command("new-token")
@click.option(
    "--token-out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write it (mode 0600): a file that is not there yet, to be carried away.",
)
@state_option
@officer_pin_option
@json_option
def new_root_token(state: Path, token_out: Path, officer_pin_source: str | None) -> None:
    """Replace the token of user/root: after it was used, or lost.

    The old one ends at once. Whether user/root is enabled stays as it is.

    \b
    Example:
      sealmark ceremony root new-token --state /var/lib/sealmark --token-out /media/root.token
    """
    refuse_existing(token_out, "nothing was changed; choose another --token-out")
    with server_parts():
        from signer import break_glass
    break_glass.replace_root_token(state, officer_pin(state, officer_pin_source), token_out)
    _say({"principal": "user/root", "token_file": str(token_out)})


def officer_pin(state: Path, source: str | None) -> bytes:
    """The security officer's PIN: from the file that is named, or DIR/ceremony/so.pin, or a prompt."""
    path = pin_file(source)
    default = state / "ceremony" / "so.pin"
    if path is None and not default.exists():
        if not sys.stdin.isatty():
            raise click.UsageError("the officer's PIN is needed: give --officer-pin-source file:PATH")
        prompted = str(click.prompt("Security officer's PIN", hide_input=True, err=True))
        return secret_from_text(prompted, "the PIN").encode("ascii")
    found = default if path is None else path
    return secret_from_text(read_private_text(found), f"the PIN file {found}").encode("ascii")


def share_from_file(path: Path) -> str:
    """A custodian's share."""
    return _checked_share(read_private_text(path), str(path))


def shares_from_prompt() -> list[str]:
    """Custodians' shares, typed one after another."""
    if not sys.stdin.isatty():
        raise click.UsageError("the custodians' shares are needed: give --share FILE for each")
    note("Type the shares one after another; an empty line ends them.")
    shares: list[str] = []
    while True:
        text = str(click.prompt(f"Share {len(shares) + 1}", hide_input=True, default="", show_default=False, err=True))
        if not text.strip():
            break
        shares.append(_checked_share(text, f"share {len(shares) + 1}"))
    if not shares:
        raise click.UsageError("no share was given")
    return shares


def _checked_share(text: str, source: str) -> str:
    words = text.lower().split()
    # SLIP-39: 20 or more words of a list of lower-case English words.
    if len(words) < 20 or not all(word.isascii() and word.isalpha() for word in words):
        raise CommandFailed(f"{source} does not hold one SLIP-39 share", code="bad_secret")
    return " ".join(words)


def _say(members: dict[str, object]) -> None:
    if current_settings().as_json:
        print_json(members)
    else:
        print_record(members)
