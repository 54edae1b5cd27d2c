"""`sealmark backup` and `sealmark restore`: what is kept for the day on which the HSM or the database is lost.

The custodians' shares and the officer's PIN are never arguments: they come from files that only their owner reads, or
from a prompt that does not echo.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from signer.cli.ceremony import officer_pin, share_from_file, shares_from_prompt
from signer.cli.extra import server_parts
from signer.cli.operator import database_options, hsm_options, pin_file, state_option
from signer.cli.options import current_settings, json_option
from signer.cli.output import note, print_json, print_record, print_table
from signer.cli.progress import progress_shown

if TYPE_CHECKING:
    from keystore.ceremony import RestoreReport
    from signer.recovery import BegunLog

_WORDS = {"rows": "Rows", "keys": "Keys opened"}


@click.command()
@state_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where to: a folder that is missing or empty. It gets mode 0700.",
)
@json_option
def backup(state: Path, out: Path) -> None:
    """Back up a service, while it runs.

    Database and configuration, sealed by the HSM: a backup that was changed is not restored. It holds no PIN and no
    private key in the clear. What is not in it is listed: keys that the HSM cannot wrap are in this HSM alone.

    Keep it apart from the custodians' shares.

    \b
    Examples:
      sealmark backup --state /var/lib/sealmark --out /backup/2026-11-26
      sealmark backup --state /var/lib/sealmark --out /backup/2026-11-26 --json
    """
    with server_parts():
        from signer.logs import configure_logs
        from signer.recovery import back_up_service
    configure_logs("warning")  # to standard error: the service's parts have something to say of themselves
    with progress_shown(_WORDS) as told:
        made, unrecorded = back_up_service(state, out, lambda done, total: told("rows", done, total))
    if unrecorded is not None:
        note(f"The audit trail does not say that this backup was made: {unrecorded}")
    manifest = made.manifest
    log = manifest.log
    rows = sum(file.rows for file in manifest.files)
    left = [
        {"what": each.what, "name": each.name, "alias": each.alias, "spec": each.spec, "why": each.why}
        for each in manifest.left_out
    ]
    facts = {"backup": str(made.folder), "made_at": manifest.made_at, "keys": manifest.carried, "rows": rows}
    facts |= {"log": None if log is None else log.origin, "log_entries": None if log is None else log.size}
    if current_settings().as_json:
        print_json(facts | {"not_in_it": left})
        return
    print_table(
        ("what", "name", "alias", "spec", "why"), [tuple(each.values()) for each in left], title="Not in this backup"
    )
    print_record(facts)


@click.command()
@state_option
@click.option(
    "--backup",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="What `sealmark backup` has made; a copy of the database's file (SQLite) will do too.",
)
@click.option(
    "--share",
    "shares",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A custodian's share file; repeat. Without any, the shares are prompted for.",
)
@click.option("--new-log", is_flag=True, help="Begin another log, where the one of the backup cannot be gone on with.")
@hsm_options
@database_options
@json_option
def restore(
    state: Path,
    source: Path | None,
    shares: tuple[Path, ...],
    new_log: bool,
    hsm_uri: str | None,
    officer_pin_source: str | None,
    database_url: str | None,
    database_password_file: Path | None,
) -> None:
    """Bring a service back from its backup.

    To another HSM: DIR (--state) is missing or empty, and enough custodians bring their shares. Every wrapped key signs
    there as before; what only the old HSM holds is listed, and disabled. To the HSM that it had: DIR is the service's
    own folder, and its database is gone; no share is needed.

    The log goes on only where HSM and witnesses have seen no more of it. Another HSM has no key of it. The service
    signs nothing then, until --new-log begins another log, whose entry 0 says where the former one ended. It needs the
    security officer's PIN, and may be given alone, later.

    \b
    Examples:
      sealmark restore --state /var/lib/sealmark-2 --backup /backup/2026-11-26 --new-log \\
          --share a/custodian-1.share --share b/custodian-2.share --share c/custodian-4.share
      sealmark restore --state /var/lib/sealmark --backup /backup/2026-11-26
      sealmark restore --state /var/lib/sealmark --new-log --officer-pin-source file:/media/so.pin
    """
    if source is None and not new_log:
        raise click.UsageError("give --backup, or --new-log, or both")
    facts: dict[str, object] = {"state": str(state)}
    lost: list[dict[str, object]] = []
    in_place = (state / "sealmark.toml").exists()
    if source is None and (shares or not in_place):
        raise click.UsageError("without --backup, DIR is the folder of a service, and no share is needed")
    if source is not None:
        if in_place:
            if shares or hsm_uri is not None or database_url is not None:
                raise click.UsageError(f"{state} is a service's folder, with HSM and settings: give --backup alone")
            report = _into_its_own_folder(state, source)
        else:
            # In the embedded HSM, which is made now, the officer's PIN is made too; a later --new-log reads it in DIR.
            pin = None if hsm_uri is None else pin_file(officer_pin_source)
            words = [share_from_file(path) for path in shares] if shares else shares_from_prompt()
            report = _to_another_hsm(state, source, words, (hsm_uri, pin, database_url, database_password_file))
        facts |= {"domains": list(report.domains), "keys_carried": report.carried, "rows": report.rows}
        lost = [{"id": key.key_id, "alias": key.alias, "spec": key.spec} for key in report.not_carried]
    if new_log:
        facts |= _begun(_begin_log(state, officer_pin_source))
    if current_settings().as_json:
        print_json(facts | {"not_carried": lost})
        return
    if lost:
        print_table(
            ("id", "alias", "spec"),
            [tuple(each.values()) for each in lost],
            title="Not carried, and disabled: only the HSM that they were made in holds them",
        )
    print_record(facts)
    _say_what_is_next(state, new_log)


def _to_another_hsm(
    state: Path, source: Path, words: list[str], options: tuple[str | None, Path | None, str | None, Path | None]
) -> RestoreReport:
    with server_parts():
        from keystore.ceremony import RestoreOptions
        from keystore.ceremony import restore as restore_service
    with progress_shown(_WORDS) as told:
        return restore_service(state, source, words, RestoreOptions(*options), told)


def _into_its_own_folder(state: Path, source: Path) -> RestoreReport:
    with server_parts():
        from keystore.ceremony import restore_database
    with progress_shown(_WORDS) as told:
        return restore_database(state, source, told)


def _begin_log(state: Path, officer_pin_source: str | None) -> BegunLog:
    with server_parts():
        from signer.logs import configure_logs
        from signer.recovery import begin_log
    configure_logs("warning")
    return begin_log(state, officer_pin(state, officer_pin_source))


def _begun(log: BegunLog) -> dict[str, object]:
    return {
        "log": log.origin,
        "log_key": log.log_key,
        "former_log": log.former,
        "former_entries": log.size,
        "former_root": log.root,
        "entries_lost": log.lost,
        "because": log.reason,
    }


def _say_what_is_next(state: Path, new_log: bool) -> None:
    carried_away = state / "ceremony"
    if not new_log:
        note(
            "The log is gone on with only if HSM and witnesses have seen no more of it; else the service says so, and "
            f"signs nothing until: sealmark restore --state {state} --new-log"
        )
    if new_log:
        note("Give the log's key to those who verify, and to each witness: sealmark witness add-log")
    if carried_away.exists():
        note(f"Next: carry {carried_away} away, then: sealmark serve --state {state}")
