"""Files, and words of command lines."""

from __future__ import annotations

import base64
import contextlib
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import click

from keystore import backup_files, shared_domains, shares
from keystore.errors import KeystoreError
from keystore.token_uri import parse_token_uri
from signer.cli.audit_filters import Digest, When
from signer.cli.documents import read_document
from signer.cli.errors import CommandFailed
from signer.cli.found_signatures import found_signatures
from signer.cli.sums import read_sums
from signer.witness.errors import Refusal as WitnessRefusal
from signer.witness.protocol import parse_request
from tests.hostile.parser import (
    ACCOUNT,
    DEEP,
    JSON_TROUBLE,
    KEY_ID,
    Parser,
    json_of,
    text_of,
)
from tests.hostile.parsers_of_bodies import policies
from tests.hostile.parsers_of_callers import token_seeds


def on_file(
    name: str, read: Callable[[Path], object], folder: Callable[[], Path] | None = None
) -> Callable[[bytes], None]:
    """A parser of octets out of one of a file."""

    def one(data: bytes) -> None:
        place = _folder() if folder is None else folder()
        (place / name).write_bytes(data)
        read(place / name)

    return one


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="parsers-")


def _folder() -> Path:
    return Path(_temporary().name)


def _manifests() -> list[bytes]:
    end = backup_files.LogEnd("sign.example/log", 7, "AAAA")
    files = (backup_files.BackedUpFile(backup_files.CONFIGURATION, "0" * 64, 10, 0),)
    left = (backup_files.LeftOut("key", KEY_ID, "on the token", "app", "RSA_2048"),)
    made = backup_files.Manifest(
        account=ACCOUNT,
        region="us-east-1",
        made_at="2026-11-26T12:00:00Z",
        schema="initial_0001",
        seal_key_id="seal",
        log=end,
        carried=3,
        files=files,
        left_out=left,
        seal=bytes(32),
    )
    odd = made.encoded().replace(b'"us-east-1"', b'"\\ud800"')
    return [made.encoded(), odd, *JSON_TROUBLE]


def _carried_domains() -> list[bytes]:
    carried = shared_domains.CarriedDomain(ACCOUNT, "us-east-1", "shared", 1, b"w" * 40, b"l" * 40, b"")
    return [f"{shared_domains._written(carried, bytes(32))}\n".encode(), *JSON_TROUBLE]


def filters(data: bytes) -> None:
    """Words of the command line."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(click.BadParameter):
        Digest().convert(text, None, None)
    When().convert(text, None, None)


def share(data: bytes) -> None:
    """What custodians type."""
    shares.combine(data.decode("utf-8", "replace").split("\n"))


@cache
def _shares() -> list[bytes]:
    return ["\n".join(shares.split(bytearray(b"\x05" * 32), custodians=3, threshold=2)).encode()]


def _found_seeds() -> list[bytes]:
    proof = b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(json_of({"signatures": [{"sha256": "00"}]}))
    deep = b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(DEEP)
    xml = b'<a xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Signature><ds:SignatureValue>AA==</ds:SignatureValue></ds:Signature></a>'
    return [proof + b"\n\n", deep + b"\n\n", xml, token_seeds()[0], base64.b64encode(xml), *JSON_TROUBLE]


PARSERS: Final = (
    Parser(
        "token-uris",
        lambda: [b"pkcs11:token=a%20b;serial=1?module-path=/m.so&pin-source=file:p"],
        lambda data: parse_token_uri(text_of(data)),
        (KeystoreError,),
    ),
    Parser(
        "witness-requests",
        lambda: [
            b"old 1\n"
            + base64.b64encode(bytes(32))
            + b"\n\nsign.example/log\n2\n"
            + base64.b64encode(bytes(32))
            + b"\n\n\xe2\x80\x94 sign.example/log AAAAAAAA\n"
        ],
        parse_request,
        (WitnessRefusal,),
    ),
    Parser(
        "manifests",
        _manifests,
        on_file(backup_files.MANIFEST, lambda path: backup_files.BackupFolder(path.parent)),
        (KeystoreError,),
    ),
    Parser("carried-domains", _carried_domains, on_file("domain", shared_domains._read), (KeystoreError,)),
    Parser("shares", _shares, share, (KeystoreError,)),
    Parser(
        "filters",
        lambda: [
            b"7d",
            b"2026-11-25T18:00:00Z",
            b"2026-11-25",
            b"a" * 64,
            b"99999999999w",
            b"2026-W01-1",
            b"0001-01-01T00:00:00+23:59",
        ],
        filters,
        (click.BadParameter,),
    ),
    Parser(
        "sums",
        lambda: [b"0" * 64 + b"  sums\n" + b"1" * 64 + b" *domain\n"],
        on_file("sums", read_sums),
        (CommandFailed,),
    ),
    Parser("documents", lambda: [*policies()], on_file("document", read_document), (CommandFailed,)),
    Parser("found-signatures", _found_seeds, found_signatures, ()),
)
