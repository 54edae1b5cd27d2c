"""Measures the service as shipped beside the bare loop: in one run, on the same cores, and writes down what it saw.

Exit status 0 only if every request succeeded, every result sampled is right and, in the full form, the ratios reach
their floors.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import secrets
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from tools.bench import bare
from tools.bench.access import CEILING, AccessCost, measure_access
from tools.bench.load import Load, Measured, drive
from tools.bench.operations import DATA_KEY, ENCRYPT, NATIVE, SIGN, Checker, Operation, Wire
from tools.bench.report import Figures, write_report
from tools.bench.wire import AwsKms
from tools.service import ServiceError, running_service

if TYPE_CHECKING:
    from tools.service import Service

ROOT: Final = Path(__file__).resolve().parents[2]
PROCESSES: Final = 2
CLIENTS: Final = 16
LEAD_SECONDS: Final = 1.0  # for processes to start in before they begin together
USER: Final = "role/bench"


@dataclass(frozen=True, slots=True)
class Workload:
    """One load: which operation by which key, how many items a request holds, and the ratio to the bare loop that it
    must reach (0: none is set). `bare` names the bare loop, the key's spec unless given; `native` the load of the same
    operation natively, where this one speaks AWS's protocol."""

    name: str
    spec: str
    algorithm: str
    batch: int
    prepared: int
    floor: float
    operation: Operation = SIGN
    bare: str | None = None
    native: str | None = None


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long, in seconds, and how often."""

    warm_up: float
    seconds: float
    bare: float
    rounds: int

    def of(self, workload: Workload) -> Lengths:
        """A load without a floor is measured for a third of the time."""
        if workload.floor:
            return self
        return replace(self, warm_up=self.warm_up / 3, seconds=self.seconds / 3, bare=self.bare / 3)


WORKLOADS: Final = (
    Workload("P-256, batches of 100", "ECC_NIST_P256", "ECDSA_SHA_256", batch=100, prepared=64, floor=0.4),
    Workload("RSA-2048, singly", "RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256", batch=1, prepared=256, floor=0.3),
    Workload("P-256, singly", "ECC_NIST_P256", "ECDSA_SHA_256", batch=1, prepared=256, floor=0.0),
    Workload("Encrypt", "SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT", 1, 256, 0.0, ENCRYPT),
    Workload("GenerateDataKey", "SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT", 1, 256, 0.0, DATA_KEY, bare.DATA_KEY),
    Workload("Sign, AWS KMS", "ECC_NIST_P256", "ECDSA_SHA_256", 1, 256, 0.0, native="P-256, singly"),
    Workload("Encrypt, AWS KMS", "SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT", 1, 256, 0.0, ENCRYPT, native="Encrypt"),
    Workload(
        "GenerateDataKey, AWS KMS",
        "SYMMETRIC_DEFAULT",
        "SYMMETRIC_DEFAULT",
        1,
        256,
        0.0,
        DATA_KEY,
        bare.DATA_KEY,
        "GenerateDataKey",
    ),
)

ONE_BY_ONE: Final = WORKLOADS[2]


@dataclass(frozen=True, slots=True)
class Target:
    """A workload made ready: the key's public half (empty for a secret key), and what is sent."""

    workload: Workload
    wire: Wire
    alias: str
    public_key: bytes
    payloads: tuple[tuple[bytes, ...], ...]
    items: tuple[list[dict[str, object]], ...]

    def requests(self, service: Service, token: str) -> tuple[bytes, ...]:
        """Whole HTTP requests, made when they are wanted: signed ones do not live long."""
        address = urlsplit(service.url).netloc
        return self.wire.requests(address, token, self.alias, self.workload.operation, self.items)


def prepare(service: Service, token: str, workload: Workload, wire: Wire = NATIVE) -> Target:
    """Makes the key and the requests."""
    operation, secret = workload.operation, workload.spec == "SYMMETRIC_DEFAULT"
    alias = f"bench-{operation.path}-{workload.spec.lower().replace('_', '-')}-{workload.batch}-{secrets.token_hex(4)}"
    wanted = {"alias": alias, "spec": workload.spec, "purpose": operation.purpose, "users": [USER]}
    with service.caller(service.token_of("key-admin")) as administrator:
        administrator.json("POST", "/v1/keys", wanted if secret else {**wanted, "published": True})
        published = b"" if secret else administrator.content(f"/v1/keys/{alias}/public-key?format=der")
    payloads = tuple(tuple(secrets.token_bytes(32) for _ in range(workload.batch)) for _ in range(workload.prepared))
    items = tuple([operation.item(each, workload.algorithm) for each in batch] for batch in payloads)
    return Target(workload, wire, alias, published, payloads, items)


def bare_rate(token: bare.BareToken, workload: Workload, seconds: float) -> float:
    """How often a second the bare loop goes round, two processes."""
    loop = workload.bare or workload.spec
    with _pool() as pool:
        begin = time.monotonic() + LEAD_SECONDS
        futures = [pool.submit(bare.sign_and_verify, token, loop, begin, seconds) for _ in range(PROCESSES)]
        rates = [future.result() for future in futures]
    return sum(rate.signatures / rate.seconds for rate in rates)


def service_load(service: Service, token: str, target: Target, lengths: Lengths) -> list[Measured]:
    """One round over HTTP; what each of the two processes saw."""
    address = urlsplit(service.url)
    with _pool() as pool:
        load = Load(
            host=address.hostname or "127.0.0.1",
            port=address.port or 80,
            requests=target.requests(service, token),
            clients=CLIENTS // PROCESSES,
            begin=time.monotonic() + LEAD_SECONDS,
            warm_up=lengths.warm_up,
            seconds=lengths.seconds,
        )
        return [future.result() for future in [pool.submit(drive, load) for _ in range(PROCESSES)]]


def _pool() -> ProcessPoolExecutor:
    # Spawned, not forked: a PKCS#11 module must not be inherited.
    return ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn"))


def check_samples(service: Service, token: str, target: Target, measured: list[Measured]) -> int:
    """Checks every result of the answers that were kept; how many. Raises: `InvalidSignature`, `ServiceError`."""
    checked = 0
    with service.caller(token) as caller:
        checker = Checker(target.alias, target.public_key, caller)
        for place, answer in (kept for one in measured for kept in one.kept):
            for payload, result in zip(target.payloads[place], target.wire.results(answer), strict=True):
                target.workload.operation.check(checker, payload, result)
                checked += 1
    if not checked:
        raise ServiceError("no answer was kept to be checked")
    return checked


def access_cost(service: Service, token: str, seconds: float) -> AccessCost:
    """Authentication and decision as a part of one client's P-256 requests."""
    target = prepare(service, token, ONE_BY_ONE)
    address = urlsplit(service.url)
    alone = Load(
        host=address.hostname or "127.0.0.1",
        port=address.port or 80,
        requests=target.requests(service, token),
        clients=1,
        begin=time.monotonic(),
        warm_up=1,
        seconds=seconds,
    )
    seen = drive(alone)
    if seen.failures:
        raise ServiceError(f"{seen.failures} requests failed; the first: {seen.first_failure}")
    check_samples(service, token, target, [seen])
    body = json.dumps(target.items[0][0]).encode()
    return measure_access(service.state, token, target.alias, body, statistics.median(seen.latencies))


def measure(folder: Path, lengths: Lengths) -> tuple[list[Figures], AccessCost]:
    """All rounds of all workloads, bare loop and service in turn, so that both see the same machine."""
    bare_token = bare.make_token(folder / "bare")
    with running_service(folder) as service:
        token = service.enrolled(USER, "key-user")
        aws = _access_key(service, token)
        targets = [prepare(service, token, workload, aws if workload.native else NATIVE) for workload in WORKLOADS]
        rounds: dict[str, list[Figures]] = {workload.name: [] for workload in WORKLOADS}
        for number in range(1, lengths.rounds + 1):
            for target in targets:
                workload = target.workload
                rate = bare_rate(bare_token, workload, lengths.of(workload).bare)
                seen = service_load(service, token, target, lengths.of(workload))
                checked = check_samples(service, token, target, seen)
                native = rounds[workload.native][-1].service_per_second if workload.native else None
                figures = _figures(target, rate, seen, lengths.of(workload), checked, native)
                rounds[workload.name].append(figures)
                click.echo(f"round {number}/{lengths.rounds}: {figures.line()}")
        access = access_cost(service, token, min(lengths.seconds, 10))
        click.echo(access.line())
    return [_median(found) for found in rounds.values()], access


def _access_key(service: Service, token: str) -> AwsKms:
    with service.caller(token) as caller:
        made = caller.json("POST", f"/v1/principals/{USER}/access-keys", {})
    return AwsKms(str(made["access_key_id"]), str(made["secret_access_key"]))


def _figures(
    target: Target, bare_loop: float, seen: list[Measured], lengths: Lengths, checked: int, native: float | None
) -> Figures:
    latencies = sorted(latency for one in seen for latency in one.latencies)
    failures = [one.first_failure for one in seen if one.failures]
    if failures or len(latencies) < 2:
        raise ServiceError(f"{sum(one.failures for one in seen)} requests failed; the first: {failures}")
    rate = len(latencies) * target.workload.batch / lengths.seconds
    return Figures(
        name=target.workload.name,
        bare_per_second=bare_loop,
        service_per_second=rate,
        ratio=rate / bare_loop,
        of_native=None if native is None else rate / native,
        floor=target.workload.floor,
        requests=len(latencies),
        p50_milliseconds=statistics.quantiles(latencies, n=100, method="inclusive")[49] * 1e3,
        p99_milliseconds=statistics.quantiles(latencies, n=100, method="inclusive")[98] * 1e3,
        longest_milliseconds=latencies[-1] * 1e3,
        load_processor_share=sum(one.processor_seconds for one in seen) / lengths.seconds,
        reconnections=sum(one.reconnections for one in seen),
        results_checked=checked,
    )


def _median(rounds: list[Figures]) -> Figures:
    """The round whose ratio is the median: its figures belong together."""
    return sorted(rounds, key=lambda figures: figures.ratio)[len(rounds) // 2]


@click.command()
@click.option("--short", is_flag=True, help="A few seconds of everything: a check that it runs, not a measurement.")
@click.option("--seconds", type=click.FloatRange(1), default=30, show_default=True, help="Measured time of each load.")
@click.option("--warm-up", type=click.FloatRange(0), default=5, show_default=True, help="Seconds before it.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="The median counts.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "bench-results", help="Without suffix.")
def main(*, short: bool, seconds: float, warm_up: float, rounds: int, output: Path) -> None:
    """Signatures, ciphertexts and data keys per second over HTTP, beside bare loops on the same cores."""
    lengths = Lengths(0.2, 1, 0.5, 1) if short else Lengths(warm_up, seconds, min(seconds, 10), rounds)
    machine = {"processors": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    try:
        with tempfile.TemporaryDirectory(prefix="sealmark-bench-") as folder:
            figures, access = measure(Path(folder), lengths)
    except ServiceError as error:
        raise click.ClickException(str(error)) from error
    write_report(
        output, figures, access, {**machine, "clients": CLIENTS, "seconds": lengths.seconds, "rounds": lengths.rounds}
    )
    if not short and any(one.ratio < one.floor for one in figures):
        raise click.ClickException("a ratio is below its floor")
    if not short and access.share > CEILING:
        raise click.ClickException("authentication and decision take more than their share")


if __name__ == "__main__":
    sys.exit(main())
