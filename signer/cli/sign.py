"""`sealmark sign`: the command that CI jobs run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from signer.cli.approval_wait import approval_options
from signer.cli.client import open_client
from signer.cli.errors import CommandFailed
from signer.cli.one_statement import sign_one_statement
from signer.cli.options import KEY, PAIR, connection_options, current_settings, pairs_once
from signer.cli.output import console, print_json, print_table
from signer.cli.proofs import SUFFIX, proof_beside
from signer.cli.signing import OVER_STATEMENT, SUFFIXES, Job, Order, Outcome, Progress, sign_files
from signer.cli.sums import read_sums
from signer.cli.verification import ArtifactFormat, Stated

_FORMATS: tuple[ArtifactFormat, ...] = ("cms", "raw", "bundle", "dsse", "attestation")
_READABLE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_READABLE)
@click.option("--key", "key", type=KEY, required=True, help="An artifact key's alias or id.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    default=("cms",),
    show_default="cms",
    help="cms writes FILE.p7s (DER, with the certificates), raw FILE.sig, bundle FILE.sigstore.json (Sigstore), dsse "
    "FILE.intoto.jsonl (in-toto statement), attestation FILE.intoto.sigstore.json (the same in a bundle); repeat.",
)
@click.option(
    "--sums",
    type=_READABLE,
    help="Sign the files that this SHA256SUMS names, by the digests in it: they are read only where the key needs "
    "another digest.",
)
@click.option(
    "--output-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where to write the signatures.  [default: beside each file]",
)
@click.option(
    "--context", "context", type=PAIR, multiple=True, help="Recorded with each signature, NAME=VALUE; repeat."
)
@click.option("--predicate", type=_READABLE, help="dsse, attestation: state this JSON object, not SLSA provenance.")
@click.option("--predicate-type", help="The URI that says what the predicate is.")
@click.option(
    "--one-statement",
    "statement",
    metavar="NAME",
    help="dsse, attestation: one statement over all files, written to NAME.intoto.jsonl or NAME.intoto.sigstore.json.",
)
@click.option(
    "--material",
    type=click.Choice(("public-key", "certificate")),
    help="bundle, attestation: name the key by a hint or by its certificate.  [default: public-key]",
)
@click.option("--trust", type=_READABLE, help="Verify with this trust file.  [default: what the service publishes]")
@click.option("--no-proof", is_flag=True, help="Write no FILE.tlog-proof, and do not ask that there is a proof.")
@click.option("--force", is_flag=True, help="Sign again and write over signatures that exist.")
@approval_options
@connection_options
def sign(
    files: Sequence[Path],
    key: str,
    formats: Sequence[ArtifactFormat],
    sums: Path | None,
    output_dir: Path | None,
    context: Sequence[tuple[str, str]],
    predicate: Path | None,
    predicate_type: str | None,
    statement: str | None,
    material: str | None,
    trust: Path | None,
    no_proof: bool,
    force: bool,
) -> None:
    """Sign files, which are hashed here and never uploaded.

    Each signature is verified before it is written. A file that has its signature already, and a valid one, is
    skipped, so that a run that was cut short can be repeated; anything else in the way is refused without --force.

    Beside the signatures goes FILE.tlog-proof, which proves that they are in the service's transparency log. Where
    that proves older signatures of FILE already, the new ones have SIGNATURE.tlog-proof each.

    Many files go to the service in one call. Where some fail the others are signed, the table says which, and the
    exit code is 1. A service that is busy is asked again, patiently, under one Idempotency-Key for each call, so that
    a call whose answer was lost is not signed twice.

    \b
    Examples:
      sealmark sign app.tar.gz --key release
      sealmark sign dist/* --key release --format cms --format dsse --context commit=4f2a91c
      sealmark sign --sums SHA256SUMS --key release --format attestation --one-statement app-1.2.0
      sealmark sign app.img --key release --format dsse --predicate sbom.json \\
        --predicate-type https://spdx.dev/Document/v2.3
    """
    wanted = tuple(dict.fromkeys(formats))
    _check_options(wanted, predicate, predicate_type, statement, material)
    stated = Stated(pairs_once(context, "--context"), predicate_type, _read_predicate(predicate))
    order = Order(key, wanted, force, stated, material, None if trust is None else trust.read_bytes(), not no_proof)
    digests = _inputs(files, sums)
    if statement is None:
        jobs = plan(digests, wanted, output_dir, with_proofs=not no_proof)
        with open_client() as client, _progress(jobs) as progress:
            outcomes = sign_files(client, order, jobs, progress)
    else:
        targets = {name: (output_dir or Path()) / f"{statement}{SUFFIXES[name]}" for name in wanted}
        shared = None if no_proof else (output_dir or Path()) / f"{statement}{SUFFIX}"
        jobs = _plan_one(digests, targets, shared)
        with open_client() as client, _progress(jobs) as progress:
            outcomes = sign_one_statement(client, order, jobs, targets, progress, shared)
    _report(outcomes)


def _check_options(
    wanted: Sequence[ArtifactFormat],
    predicate: Path | None,
    predicate_type: str | None,
    statement: str | None,
    material: str | None,
) -> None:
    if (predicate is None) != (predicate_type is None):
        raise click.UsageError("--predicate and --predicate-type go together")
    if predicate is not None and not OVER_STATEMENT & set(wanted):
        raise click.UsageError("--predicate belongs to --format dsse and attestation")
    if material is not None and not {"bundle", "attestation"} & set(wanted):
        raise click.UsageError("--material belongs to --format bundle and attestation")
    if statement is None:
        return
    if not set(wanted) <= OVER_STATEMENT:
        raise click.UsageError("--one-statement goes with --format dsse or attestation alone")
    if not statement or "/" in statement or statement.startswith("."):
        raise click.UsageError("--one-statement takes a name, not a path: --output-dir says where it goes")


def _read_predicate(path: Path | None) -> Mapping[str, object] | None:
    if path is None:
        return None
    from verifier.strict_json import parse_object

    try:
        return parse_object(path.read_bytes())
    except ValueError as exc:
        raise CommandFailed(f"{path} is not a predicate: {exc}", code="malformed_predicate") from exc


def _inputs(files: Sequence[Path], sums: Path | None) -> dict[Path, str | None]:
    """The files to sign, with the SHA-256 of each where a SHA256SUMS has it."""
    if bool(files) == (sums is not None):
        raise click.UsageError("name the files to sign, or give --sums, not both")
    if sums is not None:
        return dict(read_sums(sums))
    found: dict[Path, str | None] = dict.fromkeys(files)
    if len({file.resolve() for file in files}) != len(files):
        raise click.UsageError("a file is given twice")
    return found


def plan(
    files: Mapping[Path, str | None],
    formats: Sequence[ArtifactFormat],
    output_dir: Path | None,
    *,
    with_proofs: bool = True,
) -> list[Job]:
    """One job for each file. What cannot be written in the end is refused here, before anything is signed."""
    inputs = {file.resolve() for file in files}
    jobs = []
    taken: set[Path] = set()
    for file, sha256 in files.items():
        _check_file(file)
        folder = output_dir if output_dir is not None else file.parent
        targets = {name: folder / f"{file.name}{SUFFIXES[name]}" for name in formats}
        proof = folder / f"{file.name}{SUFFIX}" if with_proofs else None
        for target in _written(targets, proof):
            place = target.parent.resolve() / target.name
            if place in taken:
                raise click.UsageError(f"two files would have their signature or its proof in {target}")
            if place in inputs:
                raise click.UsageError(f"{target} is both a file to sign and a signature or proof to write")
            taken.add(place)
        jobs.append(Job(file, targets, sha256, proof))
    return jobs


def _written(targets: Mapping[ArtifactFormat, Path], proof: Path | None) -> list[Path]:
    """Every name that may be written."""
    signatures = list(targets.values())
    return signatures if proof is None else [*signatures, proof, *map(proof_beside, signatures)]


def _plan_one(
    files: Mapping[Path, str | None], targets: Mapping[ArtifactFormat, Path], proof: Path | None
) -> list[Job]:
    """The jobs of one statement, which names each file by a name of its own."""
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        raise click.UsageError("two files have one name: a statement could not tell them apart")
    inputs = {file.resolve() for file in files}
    for target in _written(targets, proof):
        if target.parent.resolve() / target.name in inputs:
            raise click.UsageError(f"{target} is both a file to sign and the statement or proof to write")
    for file in files:
        _check_file(file)
    return [Job(file, {}, sha256) for file, sha256 in files.items()]


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
    paths = [str(path) for path in (*outcome.written.values(), *outcome.proofs)]
    if outcome.skipped:
        missing = "; it has no proof beside it: --force signs again" if outcome.unproved else ""
        return outcome.file, f"signed already, verified and left as it is{missing}", paths
    version = outcome.result.get("key_version")
    return outcome.file, f"signed and verified, version {version}", paths
