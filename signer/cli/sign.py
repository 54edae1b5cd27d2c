"""`sealmark sign`: the command that CI jobs run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from signer.cli.client import open_client
from signer.cli.errors import CommandFailed
from signer.cli.options import KEY, PAIR, connection_options, current_settings, pairs_once
from signer.cli.output import console, print_json, print_table
from signer.cli.signing import SUFFIXES, Job, Order, Outcome, Progress, sign_files
from signer.cli.verification import ArtifactFormat

_FORMATS: tuple[ArtifactFormat, ...] = ("cms", "raw")


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option("--key", "key", type=KEY, required=True, help="An artifact key's alias or id.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    default=("cms",),
    show_default="cms",
    help="cms writes FILE.p7s (DER, with the certificates), raw writes FILE.sig; repeat for both.",
)
@click.option(
    "--output-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where to write the signatures.  [default: beside each file]",
)
@click.option(
    "--context", "context", type=PAIR, multiple=True, help="Recorded with each signature, NAME=VALUE; repeat."
)
@click.option("--force", is_flag=True, help="Write over signatures that exist.")
@connection_options
def sign(
    files: Sequence[Path],
    key: str,
    formats: Sequence[ArtifactFormat],
    output_dir: Path | None,
    context: Sequence[tuple[str, str]],
    force: bool,
) -> None:
    """Sign files, which are hashed here and never uploaded.

    Each signature is verified before it is written.

    Many files go to the service in one call. Where some fail the others are signed, the table says which, and the
    exit code is 1.

    \b
    Examples:
      sealmark sign app.tar.gz --key release
      sealmark sign dist/* --key release --format cms --format raw --context commit=4f2a91c
    """
    wanted = tuple(dict.fromkeys(formats))
    jobs = plan(files, wanted, output_dir, force=force)
    order = Order(key, wanted, pairs_once(context, "--context"), replace=force)
    with open_client() as client, _progress(jobs) as progress:
        outcomes = sign_files(client, order, jobs, progress)
    _report(outcomes)


def plan(
    files: Sequence[Path], formats: Sequence[ArtifactFormat], output_dir: Path | None, *, force: bool
) -> list[Job]:
    """One job for each file. What cannot be written in the end is refused here, before anything is signed."""
    inputs = {file.resolve() for file in files}
    if len(inputs) != len(files):
        raise click.UsageError("a file is given twice")
    jobs = []
    taken: set[Path] = set()
    for file in files:
        _check_file(file)
        folder = output_dir if output_dir is not None else file.parent
        targets = {name: folder / f"{file.name}{SUFFIXES[name]}" for name in formats}
        for target in targets.values():
            place = target.parent.resolve() / target.name
            if place in taken:
                raise click.UsageError(f"two files would have their signature in {target}")
            if place in inputs:
                raise click.UsageError(f"{target} is both a file to sign and a signature to write")
            taken.add(place)
        jobs.append(Job(file, targets))
    existing = [target for job in jobs for target in job.targets.values() if target.is_symlink() or target.exists()]
    if existing and not force:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise CommandFailed(
            f"{existing[0]}{others} exists already: nothing was signed; --force writes over it", code="exists"
        )
    return jobs


def _check_file(file: Path) -> None:
    if not file.is_file():
        # It is read twice, to hash and to verify.
        raise click.UsageError(f"{file} is not a regular file")
    try:
        file.name.encode("utf-8")
    except UnicodeEncodeError:
        raise click.UsageError(f"the name of {file!r} is not UTF-8") from None


@contextlib.contextmanager
def _progress(jobs: Sequence[Job]) -> Iterator[Progress]:
    shown = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bars:
        hashing = bars.add_task(f"Hashing {len(jobs)} files", total=sum(job.file.stat().st_size for job in jobs))
        signing = bars.add_task("Signing and verifying", total=len(jobs))
        yield Progress(lambda count: bars.advance(hashing, count), lambda count: bars.advance(signing, count))


def _report(outcomes: Sequence[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if current_settings().as_json:
        print_json({"results": [outcome.described() for outcome in outcomes]})
    else:
        print_table(("file", "result", "signatures"), [_row(outcome) for outcome in outcomes])
    if failed:
        raise CommandFailed(f"{len(failed)} of {len(outcomes)} files were not signed", code="partly_failed")


def _row(outcome: Outcome) -> tuple[object, object, object]:
    if outcome.error is not None:
        return outcome.file, outcome.error.format_message(), None
    version = outcome.result.get("key_version")
    return outcome.file, f"signed and verified, version {version}", [str(path) for path in outcome.written.values()]
