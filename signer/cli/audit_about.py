"""`sealmark audit about`: every entry about what somebody holds."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from signer.cli.audit_output import (
    ENTRY_COLUMNS,
    ENTRY_FIELDS,
    csv_option,
    entry_cells,
    entry_fields,
    wanted_form,
    write_csv,
)
from signer.cli.client import open_client
from signer.cli.errors import CommandFailed
from signer.cli.options import connection_options
from signer.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from signer.cli.found_signatures import Held

_HASHES: Final = ("sha256", "sha384", "sha512")
_CHUNK: Final = 1 << 20


@click.command("about")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@csv_option
@connection_options
def about(file: Path, as_csv: bool) -> None:
    """List every entry about a file, a signature or a token.

    FILE is a signed file, its .p7s, .sig, bundle, envelope or .tlog-proof, a JWT, or a SAML response (- for standard
    input). The file itself is not sent: its digests are, and those of the signatures found in it. Nothing is verified
    here; that is what sealmark-verify is for.

    \b
    Examples:
      sealmark audit about app
      sealmark audit about app.p7s --json
      pbpaste | sealmark audit about -
    """
    form = wanted_form(as_csv)
    digests, held = _looked_at(file)
    asked = [*digests.values(), *(held.signatures if held else ())]
    with open_client() as client:
        query = {"digest": ",".join(dict.fromkeys(asked)), "order": "oldest", "kind": "any"}
        entries = list(client.pages("/v1/audit/entries", "entries", query))
    if form == "json":
        facts = {"kind": held.kind if held else "file", "digests": digests}
        print_json({**facts, "signatures": list(held.signatures) if held else [], "entries": entries})
        return
    if form == "csv":
        write_csv(ENTRY_FIELDS, map(entry_fields, entries))
        return
    print_table(ENTRY_COLUMNS, [entry_cells(entry) for entry in entries])
    if not entries:
        what = f"a {held.kind} with {len(held.signatures)} signature(s)" if held else "a file"
        note(f"taken for {what}: the trail has no entry about it, by its digests or by any signature in it")


def _looked_at(file: Path) -> tuple[dict[str, str], Held | None]:
    """All digests of the file, and the signatures in it if it is small enough to be something that holds them."""
    from signer.cli.found_signatures import LARGEST, found_signatures  # with the verifier's libraries

    hashes = {name: hashlib.new(name) for name in _HASHES}
    kept: bytearray | None = bytearray()
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                for each in hashes.values():
                    each.update(chunk)
                if kept is not None:
                    kept += chunk
                    kept = kept if len(kept) <= LARGEST else None
    except OSError as exc:
        raise CommandFailed(f"{file} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    held = None if kept is None else found_signatures(bytes(kept))
    return {name: each.hexdigest() for name, each in hashes.items()}, held
