"""`sealmark monitor`: a signature made as any caller's, and judged as any relying party would judge it.

Random octets are signed through the service by an ordinary principal, and the standalone verifier holds the answer with
its proof against the published trust, or the operator's own. So what is watched is what people get.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from signer.cli.client import Client, open_client, open_public_client
from signer.cli.errors import CommandFailed
from signer.cli.files import write_whole
from signer.cli.options import KEY, connection_options, current_settings
from signer.cli.proofs import proof_of
from signer.cli.results import error_of, results_of
from signer.cli.retry import RetryLimits
from signer.cli.signing import Order, Scene, made_signatures, set_scene, version_of
from signer.cli.verification import Stated

if TYPE_CHECKING:
    from signer.cli.verification import ArtifactFormat
    from verifier import FileDigests

NAME: Final = "sealmark-monitor"
CONTEXT: Final = {"purpose": "monitor"}
_ONCE: Final = RetryLimits(attempts=1)  # a failure is what is looked for
_METRICS: Final = {
    "success": "1: the last look found nothing wrong.",
    "seconds": "From the call until the signature was there.",
    "certificate_seconds_left": "Of the first certificate of the key's chain to end.",
    "crl_seconds_left": "Of the revocation list.",
    "log_entries": "Size of the log by the signature's own proof.",
    "log_seconds": "Between the log's entry and this machine's clock.",
    "last_look_timestamp_seconds": "When it was looked.",
}


@dataclass(slots=True)
class Look:
    """What was found at one time: figures by name, and what is wrong by code."""

    at: datetime
    key: str
    figures: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def described(self) -> dict[str, object]:
        """As JSON."""
        wrong = [{"code": code, "message": message} for code, message in self.wrong.items()]
        moment = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"time": moment, "key": self.key, "ok": not wrong, **self.figures, "wrong": wrong}

    def line(self) -> str:
        """For a person."""
        said = [f"{code}: {message}" for code, message in self.wrong.items()] or ["ok"]
        took = self.figures.get("seconds")
        return f"{self.at:%H:%M:%S}  {'; '.join(said)}" + ("" if took is None else f"  ({took * 1000:.0f} ms)")


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where on it is wrong."""

    seconds: float
    certificate_days: float
    log_seconds: float


@click.command()
@click.option("--key", required=True, type=KEY, help="An artifact key that the caller may use.")
@click.option(
    "--trust", "trust_file", type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Your own trust.json, kept from before.  [default: what the service publishes now]",
)  # fmt: skip
@click.option("--every", type=click.FloatRange(1, 86_400), help="Seconds between looks.  [default: look once]")
@click.option("--count", type=click.IntRange(1), help="With --every: end after so many looks.")
@click.option("--textfile", type=click.Path(path_type=Path, dir_okay=False), help="Write metrics for Prometheus there.")
@click.option(
    "--longest",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds a call may take.",
)
@click.option(
    "--certificate-days", type=click.FloatRange(0), default=14.0, show_default=True, help="Wrong if fewer are left."
)
@click.option(
    "--log-seconds",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    help="How far the log's time and the clock may be apart.",
)
@connection_options
@click.pass_context
def monitor(
    context: click.Context,
    key: str,
    trust_file: Path | None,
    every: float | None,
    count: int | None,
    textfile: Path | None,
    longest: float,
    certificate_days: float,
    log_seconds: float,
) -> None:
    """Sign, verify as others do, and say what is wrong.

    A signature of random octets is made and held, with its proof, against the trust by the standalone verifier.
    Besides: how long it took, whether every part is ready, when certificates and the revocation list end, and whether
    the log goes on. With --json a line for each look.

    \b
    Exit codes: 0 nothing is wrong, 1 something is (at any look), 2 wrong usage.

    \b
    Examples:
      sealmark monitor --key release --token-file monitor.token
      sealmark monitor --key release --every 30 --json --textfile sealmark.prom
    """
    if count is not None and every is None:
        raise click.UsageError("--count goes with --every")
    trust = None if trust_file is None else trust_file.read_bytes()
    bounds = Bounds(longest, certificate_days, log_seconds)
    bad, largest = False, 0.0
    try:
        for _ in _times(every, count):
            look = look_once(key, trust, bounds, largest)
            largest = max(largest, look.figures.get("log_entries", 0.0))
            bad = bad or bool(look.wrong)
            click.echo(dumps(look.described()) if current_settings().as_json else look.line(), err=False)
            if textfile is not None:
                write_whole(textfile, text_of(look).encode(), replace=True, mode=0o644)
    except KeyboardInterrupt:
        pass
    context.exit(int(bad))


def _times(every: float | None, count: int | None) -> Iterator[int]:
    """Once, or again and again; a look that takes long is not made up for."""
    yield 0
    made = 1
    while every is not None and (count is None or made < count):
        time.sleep(every)
        yield made
        made += 1


def look_once(key: str, trust: bytes | None, bounds: Bounds, largest: float) -> Look:
    """One look. `largest` is the size of the log at the largest that was seen before."""
    look = Look(datetime.now(UTC), key)
    look.figures["last_look_timestamp_seconds"] = look.at.timestamp()
    _noted(look, "not_ready", _look_at_readiness)
    _noted(look, "signature", lambda: _look_at_signature(look, trust, bounds, largest))
    _noted(look, "crl", lambda: _look_at_crl(look))
    look.figures["success"] = float(not look.wrong)
    return look


def _noted(look: Look, what: str, work: Callable[[], None]) -> None:
    """What is found wrong, by its code; of an unforeseen exception its kind, since its words may hold anything."""
    try:
        work()
    except CommandFailed as failure:
        look.wrong.setdefault(failure.code, failure.message)
    except click.UsageError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        look.wrong.setdefault(what, f"it could not be looked at ({type(error).__name__})")


def _look_at_readiness() -> None:
    with open_public_client() as client:
        client.get("/readyz")


def _look_at_signature(look: Look, trust: bytes | None, bounds: Bounds, largest: float) -> None:
    with open_client(limits=_ONCE) as client:
        made_by = client.get(f"/v1/keys/{look.key}")
        makes = made_by.get("formats")
        wanted: ArtifactFormat = "cms" if isinstance(makes, list) and "cms" in makes else "raw"
        if isinstance(makes, list) and not {"cms", "raw"} & set(makes):
            wanted = "bundle" if "bundle" in makes else "dsse"
        scene = set_scene(client, Order(look.key, (wanted,), False, Stated(CONTEXT), trust=trust))
        file = _random_file(scene)
        since = time.perf_counter()
        result = _signed(client, scene, file)
        took = look.figures["seconds"] = time.perf_counter() - since
        _judge(look, scene, wanted, file, result, bounds, largest)
        if took > bounds.seconds:
            look.wrong["slow"] = f"the signature took {took:.2f} s, more than {bounds.seconds:g}"
        _look_at_certificate(look, client, bounds)


def _random_file(scene: Scene) -> FileDigests:
    from verifier import FileDigests

    content = os.urandom(32)
    digests = {name: hashlib.new(name, content).digest() for name in scene.digest_names}
    return FileDigests(NAME, len(content), digests)


def _signed(client: Client, scene: Scene, file: FileDigests) -> Mapping[str, object]:
    digests = {name: digest.hex() for name, digest in file.digests.items()}
    body = scene.order.body([{"name": NAME, "size": file.size, "digests": digests}], scene.order.formats)
    (result,) = results_of(client.post_signing(f"/v1/keys/{scene.order.key}/artifacts", body), 1)
    error = error_of(result)
    if error is not None:
        raise error
    return result


def _judge(
    look: Look,
    scene: Scene,
    wanted: ArtifactFormat,
    file: FileDigests,
    result: Mapping[str, object],
    bounds: Bounds,
    largest: float,
) -> None:
    """The signature and its proof; then what the proof says of the log."""
    from verifier import DecisionLeaf, VerificationError, verify_log_proof

    proof = proof_of(result)
    (signature,) = made_signatures(result, (wanted,)).values()
    scene.judge.check(file, signature, wanted, version=version_of(result), proof=proof)
    try:
        entry = verify_log_proof(proof, scene.judge.trust.logs)
    except VerificationError as refused:  # not after what was just verified
        raise CommandFailed(refused.message, code=refused.code) from refused
    look.figures["log_entries"] = float(entry.checkpoint.size)
    if not isinstance(entry.leaf, DecisionLeaf):
        raise CommandFailed("the proof is of another kind of entry", code="log_entry_mismatch")
    away = abs((datetime.now(UTC) - entry.leaf.time).total_seconds())
    look.figures["log_seconds"] = away
    if away > bounds.log_seconds:
        look.wrong["clock"] = f"the log's entry and this machine's clock are {away:.0f} s apart"
    if entry.checkpoint.size < largest:
        look.wrong["log_went_back"] = f"the log has {entry.checkpoint.size} entries, and had {largest:.0f} before"


def _look_at_certificate(look: Look, client: Client, bounds: Bounds) -> None:
    from cryptography import x509

    chain = x509.load_pem_x509_certificates(client.get_bytes(f"/v1/keys/{look.key}/certificate"))
    left = min((one.not_valid_after_utc - look.at).total_seconds() for one in chain)
    look.figures["certificate_seconds_left"] = left
    if left < bounds.certificate_days * 86_400:
        look.wrong["certificate_ends"] = f"a certificate of the key's chain ends in {left / 86_400:.1f} days"


def _look_at_crl(look: Look) -> None:
    from cryptography import x509

    with open_public_client() as client:
        crl = x509.load_der_x509_crl(client.get_bytes("/v1/ca/crl"))
    ends = crl.next_update_utc
    left = look.figures["crl_seconds_left"] = 0.0 if ends is None else (ends - look.at).total_seconds()
    if left <= 0:
        look.wrong["crl_ended"] = "the revocation list has ended"


def text_of(look: Look) -> str:
    """In Prometheus's text format, for the node exporter's textfile collector."""
    lines = []
    for name, text in _METRICS.items():
        value = look.figures.get(name)
        if value is not None:
            lines += [
                f"# HELP sealmark_monitor_{name} {text}",
                f"# TYPE sealmark_monitor_{name} gauge",
                f'sealmark_monitor_{name}{{key="{look.key}"}} {value}',
            ]
    if look.wrong:
        lines += ["# HELP sealmark_monitor_wrong What is wrong.", "# TYPE sealmark_monitor_wrong gauge"]
        lines += [f'sealmark_monitor_wrong{{key="{look.key}",code="{code}"}} 1' for code in look.wrong]
    return "\n".join([*lines, ""])
