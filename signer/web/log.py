"""`/log`: the transparency log, for anybody to read and check (C2SP tlog-tiles, https://c2sp.org/tlog-tiles).

`/logs/{log}` is the same for each log that the deployment ever had: another HSM has another log.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flask import request

from signer.audit.tree import TILE_WIDTH
from signer.errors import MalformedRequest, NotFound
from signer.web.endpoints import Endpoint
from signer.web.issuers import cacheable
from signer.web.paging import require_known_parameters

if TYPE_CHECKING:
    from flask import Response

    from signer.call import Call
    from signer.services import Services

_TEXT: Final = "text/plain"  # Werkzeug adds the charset
_OCTETS: Final = "application/octet-stream"
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"  # a cache may keep it, and asks by ETag before it shows it
_LEVEL: Final = re.compile(r"0|[1-9][0-9]?")
# tlog-tiles, "Merkle Tree": groups of three digits, all but the last behind an x; `.p/W` for a tile that is not full.
_TILE: Final = re.compile(r"(?P<number>(?!x000/)(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_NO_TILE: Final = "a tile is named as tlog-tiles says, such as x001/x234/067 or 042.p/17"


def checkpoint(services: Services, _call: Call, log: str | None = None) -> Response:
    require_known_parameters("cosigned")
    asked = request.args.get("cosigned", "false")
    if asked not in ("true", "false"):
        msg = "cosigned is true or false"
        raise MalformedRequest(msg, field="cosigned")
    note = services.published_logs.checkpoint(log, cosigned=asked == "true")
    return cacheable(note.encode(), _TEXT, _ASK_AGAIN)


def tile(services: Services, _call: Call, level: str, tile: str, log: str | None = None) -> Response:
    require_known_parameters()
    number, width = _named_tile(tile)
    if not _LEVEL.fullmatch(level):
        raise NotFound(_NO_TILE)
    hashes = services.published_logs.tile(log, int(level), number, width)
    return cacheable(hashes, _OCTETS, _FOR_EVER)


def entries(services: Services, _call: Call, tile: str, log: str | None = None) -> Response:
    require_known_parameters()
    number, width = _named_tile(tile)
    return cacheable(services.published_logs.bundle(log, number, width), _OCTETS, _FOR_EVER)


def proof(services: Services, _call: Call, index: str, log: str | None = None) -> Response:
    require_known_parameters()
    if not _INDEX.fullmatch(index):
        msg = "an entry is named by its index, a whole number"
        raise NotFound(msg, field="index")
    return cacheable(services.published_logs.proof(log, int(index)).encode(), _TEXT, _ASK_AGAIN)


def key(services: Services, _call: Call, log: str | None = None) -> Response:
    require_known_parameters()
    return cacheable(f"{services.published_logs.verifier_key(log)}\n".encode(), _TEXT, _ASK_AGAIN)


def _named_tile(name: str) -> tuple[int, int]:
    """A tile's number, and how many of its entries are meant. Raises `NotFound`."""
    found = _TILE.fullmatch(name)
    width = TILE_WIDTH if found is None or found["width"] is None else int(found["width"])
    if found is None or (found["width"] is not None and width >= TILE_WIDTH):
        raise NotFound(_NO_TILE)
    return int(found["number"].replace("x", "").replace("/", "")), width


def _readable(base: str, which: str) -> tuple[Endpoint, ...]:
    return (
        Endpoint(
            "GET",
            f"{base}/checkpoint",
            f"The newest signed checkpoint of {which}",
            checkpoint,
            media_type=_TEXT,
            query={"cosigned": "true: the newest that witnesses have cosigned"},
            tag="log",
        ),
        Endpoint(
            "GET",
            f"{base}/tile/<level>/<path:tile>",
            f"256 hashes of the tree of {which}",
            tile,
            media_type=_OCTETS,
            tag="log",
        ),
        Endpoint(
            "GET",
            f"{base}/tile/entries/<path:tile>",
            f"256 entries of {which}",
            entries,
            media_type=_OCTETS,
            tag="log",
        ),
        Endpoint(
            "GET", f"{base}/proof/<index>", f"The proof of an entry of {which}", proof, media_type=_TEXT, tag="log"
        ),
        Endpoint("GET", f"{base}/key", f"The key that signs {which}", key, media_type=_TEXT, tag="log"),
    )


ENDPOINTS: Final = (*_readable("/log", "the log"), *_readable("/logs/<log>", "a log, also of a former HSM"))
