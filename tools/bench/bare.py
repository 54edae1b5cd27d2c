"""The bare loops: sign in SoftHSM and verify in software; encrypt (a data key of its random) and open it again. Nothing
else: what the service could reach if it cost nothing.

They have a token of their own and speak to python-pkcs11 directly; each process loads the module itself, after it
started.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import pkcs11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11.mechanisms import GCMParams
from pkcs11.types import DecryptMixin, EncryptMixin, SignMixin
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MODULE_PLACES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
DATA_KEY: Final = "a data key"
_LABEL: Final = "bench"
_DIGEST_INFO_SHA256: Final = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017 section 9.2 note 1


@dataclass(frozen=True, slots=True)
class BareToken:
    """A SoftHSM token of the benchmark's own; its PIN is worth nothing after it."""

    configuration: Path
    pin: str


class Rate(NamedTuple):
    """What one process did in its time. `processor_seconds` is what it had of a processor."""

    signatures: int
    seconds: float
    processor_seconds: float


def make_token(folder: Path) -> BareToken:
    """A fresh SoftHSM token in the folder."""
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin = str(secrets.randbelow(10**12)).zfill(12)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", _LABEL, "--so-pin", pin, "--pin", pin],
        check=True,
        capture_output=True,
        env={**os.environ, "SOFTHSM2_CONF": str(configuration)},
    )
    return BareToken(configuration, pin)


class Loops:
    """One process's session, and a loop for each of these specs of keys (or `DATA_KEY`), for all unless given."""

    def __init__(self, token: BareToken, specs: Iterable[str] | None = None) -> None:
        os.environ["SOFTHSM2_CONF"] = str(token.configuration)
        module = next(place for place in MODULE_PLACES if os.path.exists(place))
        # One process at a time: SoftHSM does not see a token that another process is just opening.
        with token.configuration.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._session = pkcs11.lib(module).get_token(token_label=_LABEL).open(user_pin=token.pin)
        self._loops = {spec: _LOOPS[spec](self._session) for spec in specs or _LOOPS}

    def run(self, spec: str, begin: float, seconds: float) -> Rate:
        """From `begin` (monotonic clock) on. A result that is not right raises."""
        once = self._loops[spec]
        digests = [secrets.token_bytes(32) for _ in range(64)]
        for digest in digests:
            once(digest)
        time.sleep(max(0.0, begin - time.monotonic()))
        started, processor, made = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < seconds:
            for digest in digests:
                once(digest)
            made += len(digests)
        return Rate(made, time.perf_counter() - started, time.process_time() - processor)


def _encrypting_loop(session: pkcs11.Session, *, of_its_random: bool) -> Callable[[bytes], None]:
    key = session.generate_key(pkcs11.KeyType.AES, 256, store=False)
    if not isinstance(key, EncryptMixin) or not isinstance(key, DecryptMixin):
        raise TypeError(f"not a key that encrypts: {key!r}")
    gcm = pkcs11.Mechanism.AES_GCM

    def once(plaintext: bytes) -> None:
        if of_its_random:
            plaintext = session.generate_random(256)
        parameters = GCMParams(session.generate_random(96), b"context", 128)
        made = key.encrypt(plaintext, mechanism=gcm, mechanism_param=parameters)
        if key.decrypt(made, mechanism=gcm, mechanism_param=parameters) != plaintext:
            raise ValueError("the HSM does not open what it has encrypted")

    return once


def _p256_loop(session: pkcs11.Session) -> Callable[[bytes], None]:
    parameters = session.create_domain_parameters(
        pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    )
    public, private = parameters.generate_keypair(store=False)
    published = load_der_public_key(encode_ec_public_key(public))
    if not isinstance(published, ec.EllipticCurvePublicKey) or not isinstance(private, SignMixin):
        raise TypeError(f"not a key pair that signs: {published!r}")
    prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))

    def once(digest: bytes) -> None:
        made = private.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
        r, s = int.from_bytes(made[:32], "big"), int.from_bytes(made[32:], "big")
        published.verify(utils.encode_dss_signature(r, s), digest, prehashed)

    return once


def _rsa_loop(session: pkcs11.Session) -> Callable[[bytes], None]:
    public, private = session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=False)
    published = load_der_public_key(encode_rsa_public_key(public))
    if not isinstance(published, rsa.RSAPublicKey) or not isinstance(private, SignMixin):
        raise TypeError(f"not a key pair that signs: {published!r}")
    prehashed = utils.Prehashed(hashes.SHA256())

    def once(digest: bytes) -> None:
        made = private.sign(_DIGEST_INFO_SHA256 + digest, mechanism=pkcs11.Mechanism.RSA_PKCS)
        published.verify(made, digest, padding.PKCS1v15(), prehashed)

    return once


_LOOPS: Final[dict[str, Callable[[pkcs11.Session], Callable[[bytes], None]]]] = {
    "RSA_2048": _rsa_loop,
    "ECC_NIST_P256": _p256_loop,
    "SYMMETRIC_DEFAULT": partial(_encrypting_loop, of_its_random=False),
    DATA_KEY: partial(_encrypting_loop, of_its_random=True),
}
