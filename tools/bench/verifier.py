"""Measures the verifier beside `openssl dgst -sha256` on one large file in the same run: speed, memory, start-up, size;
and tokens beside bare PyJWT.

Exit status 0 only if the signature verified each time and, in the full form, speed and memory are within their limits.
The file is sparse, made in a temporary folder and removed. Each figure is the best of its rounds: what else runs on the
machine only ever takes away. Where more runs than the machine has cores, the clock says nothing about the two programs;
the limit is then held against their processor time, and the output says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import requires
from pathlib import Path
from typing import Final

import click
from asn1crypto import algos, cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools.bench.tokens import measure as measure_tokens
from tools.figures.record import record

ROOT: Final = Path(__file__).resolve().parents[2]
GIB: Final = 1024**3
MIB: Final = 1024**2
LEAST_RATIO: Final = 0.95  # of openssl's speed
MOST_MEMORY: Final = 64 * MIB


@dataclass(frozen=True, slots=True)
class Run:
    """One command that was run to its end: its time in seconds and its peak of resident memory in bytes."""

    seconds: float
    processor_seconds: float
    peak: int


# A process is charged with the memory of the one that it was forked from: that has to be a small one, which this is.
_LAUNCHER: Final = """
import os, resource, sys, time
begin = time.perf_counter()
out = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
status = os.waitpid(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=out), 0)[1]
seconds = time.perf_counter() - begin
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measure(command: list[str | Path], folder: Path) -> Run:
    """Runs the command. `CalledProcessError` unless it exits with 0."""
    words = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *(str(word) for word in command)]
    done = subprocess.run(words, cwd=folder, env=_environment(), check=True, stdout=subprocess.PIPE, text=True)
    seconds, processor_seconds, peak = done.stdout.split()
    return Run(float(seconds), float(processor_seconds), int(peak))


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}


def best(command: list[str | Path], folder: Path, rounds: int) -> Run:
    """The lowest time and the highest peak of several rounds."""
    return _best([measure(command, folder) for _ in range(rounds)])


def _best(runs: list[Run]) -> Run:
    return Run(
        min(run.seconds for run in runs),
        min(run.processor_seconds for run in runs),
        max(run.peak for run in runs),
    )


def make_signed_file(folder: Path, size: int) -> None:
    """`file`, sparse, `file.p7s` over it by a P-256 key, and `ca.pem` to judge it by."""
    with (folder / "file").open("wb") as stream:
        stream.truncate(size)
    with (folder / "file").open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("bench authority", authority_key, "bench authority", authority_key, is_authority=True)
    leaf = _certificate("bench", key, "bench authority", authority_key, is_authority=False)
    (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (folder / "file.p7s").write_bytes(_cms(digest, leaf, key))


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    subject_name, issuer_name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _cms(digest: bytes, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A DER detached signature (RFC 5652) over a digest."""
    certificate = asn1_x509.Certificate.load(leaf.public_bytes(Encoding.DER))
    attributes = cms.CMSAttributes(
        [
            cms.CMSAttribute({"type": "content_type", "values": ["data"]}),
            cms.CMSAttribute({"type": "message_digest", "values": [digest]}),
        ]
    )
    signer = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                {
                    "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                        {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
                    )
                }
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": attributes,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            "signature": key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
        }
    )
    data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "data"},
            "certificates": [certificate],
            "signer_infos": [signer],
        }
    )
    encoded: bytes = cms.ContentInfo({"content_type": "signed_data", "content": data}).dump()
    return encoded


def wheel_size(folder: Path) -> tuple[int, int]:
    """The size of the verifier's wheel in bytes, and how many Python modules it holds."""
    source = folder / "verifier"
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "verifier", source, ignore=ignored)
    build = f"import setuptools.build_meta as b; b.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        modules = sum(name.endswith(".py") for name in archive.namelist())
    return wheel.stat().st_size, modules


def dependencies() -> tuple[str, ...]:
    """What the wheel asks for directly."""
    return tuple(sorted(requires("sealmark-verifier") or ()))


@click.command()
@click.option("--size", default=4.0, show_default=True, help="Size of the file in GiB.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each command.")
@click.option("--short", is_flag=True, help="A quarter of a GiB, once, and no limits: whether it runs at all.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the temporary folder is to be.")
def main(size: float, rounds: int, short: bool, folder: Path | None) -> None:
    """Measure the verifier beside `openssl dgst -sha256`."""
    size, rounds = (0.25, 1) if short else (size, rounds)
    with tempfile.TemporaryDirectory(prefix="sealmark-bench-", dir=folder) as name:
        here = Path(name)
        make_signed_file(here, int(size * GIB))
        verifier: list[str | Path] = [sys.executable, "-m", "verifier"]
        judge = [*verifier, "artifact", "file", "--signature", "file.p7s", "--trust", "ca.pem"]
        pairs = [(measure(["openssl", "dgst", "-sha256", "file"], here), measure(judge, here)) for _ in range(rounds)]
        openssl, ours = (_best(list(runs)) for runs in zip(*pairs, strict=True))
        (here / "file").unlink()
        make_signed_file(here, 1024)
        helped, small = best([*verifier, "--help"], here, 5), best(judge, here, 5)
        bytes_, modules = wheel_size(here / "wheel")
    tokens = measure_tokens(2 if short else 40)
    busy = os.getloadavg()[0] > (os.cpu_count() or 1) + 0.5
    ratio, processor_ratio = openssl.seconds / ours.seconds, openssl.processor_seconds / ours.processor_seconds
    print(f"file                 {size:g} GiB, best of {rounds}; openssl dgst and sealmark-verify in turn, in one run")
    print(f"speed                {ratio:.3f} of openssl's by the clock, {processor_ratio:.3f} by processor time")
    print(f"peak memory          {ours.peak / MIB:.1f} MiB (openssl {openssl.peak / MIB:.1f} MiB)")
    print(f"start-up, --help     {helped.seconds:.2f} s, {helped.peak / MIB:.1f} MiB")
    print(f"start-up, artifact   {small.seconds:.2f} s, {small.peak / MIB:.1f} MiB (a file of 1 KiB)")
    for cost in tokens:
        print(
            f"JWT, {cost.algorithm:<16}{cost.ratio:.2f} of PyJWT's rate ({cost.ours:.0f} us beside {cost.bare:.0f} us)"
        )
    print(f"wheel                {bytes_ / 1024:.1f} KiB, {modules} modules")
    print(f"dependencies         {len(dependencies())} direct: {', '.join(dependencies())}")
    if busy:
        print(f"busy                 load {os.getloadavg()[0]:.1f}: the limit is held against processor time")
    if not short:
        command, slowest = "python -m tools.bench.verifier", min(tokens, key=lambda cost: cost.ratio)
        record("jwt-verification", round(slowest.ratio, 3), command=command, note=f"{slowest.algorithm}, the slowest")
        record(
            "verifier-start", round(max(helped.seconds, small.seconds), 3), command=command, note="the slower of two"
        )
    if not short and ((processor_ratio if busy else ratio) < LEAST_RATIO or ours.peak >= MOST_MEMORY):
        sys.exit(f"missed: at least {LEAST_RATIO} of openssl's speed and less than {MOST_MEMORY // MIB} MiB are wanted")


if __name__ == "__main__":
    main()
