"""Measures the service as shipped beside the bare loop and beside OpenBao: in one run, on the same cores.

Exit status 0 only if every request succeeded, every result sampled is right and, in the full form, every floor holds.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from cryptography.exceptions import InvalidSignature

from tools.bench import bare
from tools.bench.access import measure_share
from tools.bench.curve import measure_curve, plot
from tools.bench.driving import drivers
from tools.bench.generation import measure_generation
from tools.bench.openbao import running_openbao
from tools.bench.report import Report
from tools.bench.rounds import measure_loads
from tools.bench.scaling import measure_scaling
from tools.bench.stage import Stage
from tools.bench.targets import Sealmark
from tools.bench.workloads import CLIENTS, Lengths
from tools.figures.record import RESULTS, machine, record
from tools.service import ServiceError, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# In this order, whatever order they are asked for in.
PARTS: Final[dict[str, Callable[[Stage], None]]] = {
    "loads": measure_loads,
    "access": measure_share,
    "generation": measure_generation,
    "scaling": measure_scaling,
    "curve": measure_curve,
}
SHORT: Final = Lengths(0.05, 0.3, 0.1, 1)


@contextlib.contextmanager
def _stage(folder: Path, lengths: Lengths, *, short: bool) -> Iterator[Stage]:
    with (
        running_service(folder) as service,
        running_openbao(folder / "openbao") as peer,
        drivers(bare.make_token(folder / "bare")) as both,
    ):
        circumstances = {
            "machine": machine(),
            "peer": f"OpenBao {peer.version}",
            "clients": CLIENTS,
            "seconds": lengths.seconds,
            "rounds": lengths.rounds,
        }
        yield Stage(Report(circumstances, short), both, Sealmark(service), peer, lengths, folder, short)


def _parts(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    asked = [part.strip() for part in value.split(",")]
    if unknown := sorted(set(asked) - set(PARTS)):
        raise click.BadParameter(f"no part is named {unknown[0]!r}; there are {', '.join(PARTS)}")
    return [part for part in PARTS if part in asked]


@click.command()
@click.option("--short", is_flag=True, help="Everything for a moment: whether it runs and is right, not a measurement.")
@click.option("--parts", default=",".join(PARTS), show_default=True, callback=_parts, help="Which, with commas.")
@click.option("--seconds", type=click.FloatRange(0.1), default=7, show_default=True, help="Measured time of each load.")
@click.option("--warm-up", type=click.FloatRange(0), default=2, show_default=True, help="Seconds before it.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="The median counts.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    help="The folder for bench.json, bench.md, the plots, and a file for each figure that was asked for.",
)
def main(*, short: bool, parts: list[str], seconds: float, warm_up: float, rounds: int, output: Path) -> None:
    """Signatures, tokens, ciphertexts and data keys per second over HTTP, beside bare loops and OpenBao's Transit.

    \b
    Parts:
      loads       each load at 16 clients: rates, latency, memory, processor time
      access      what it costs to know the caller and to decide
      generation  signing while RSA-4096 keys are made
      scaling     one worker and two
      curve       latency against load, 1 to 64 clients, with plots
    """
    lengths = SHORT if short else Lengths(warm_up, seconds, min(seconds, 4), rounds)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sealmark-bench-") as folder,
            _stage(Path(folder), lengths, short=short) as stage,
        ):
            report = stage.report
            for part in parts:
                PARTS[part](stage)
                report.write(output)  # what comes later may fail
        report.show()
        click.echo(f"written: {output.name}/bench.json, {output.name}/bench.md")
        if "curve" in parts:
            for path in plot(output):
                click.echo(f"written: {output.name}/{path.name}")
    except (ServiceError, InvalidSignature) as error:
        raise click.ClickException(str(error) or "a signature is wrong") from error
    if short:
        return
    command = f"make bench ARGS='--parts {','.join(parts)}'" if list(PARTS) != parts else "make bench"
    for name, (value, note) in report.figures.items():
        record(name, value, command=command, note=note, folder=output)
    if missed := report.missed():
        raise click.ClickException("these floors do not hold:\n  " + "\n  ".join(missed))


if __name__ == "__main__":
    sys.exit(main())
