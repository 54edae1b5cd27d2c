"""What AWS Signature Version 4 signs: a request's canonical form, and the signature over it. Pure: octets in, octets
out.

Source: IAM User Guide, "Create a signed AWS API request" (steps 1 to 4) and "Elements of an AWS API request signature".
Every service but S3 escapes the path that was sent once more, and takes `.`, `..` and doubled slashes out of it first
(RFC 3986 section 5.2.4).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
SIGNATURE_PARAMETER: Final = b"X-Amz-Signature"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_SPACES: Final = re.compile(rb"[ \t\r\n\f\v]+")


def canonical_request(
    method: str, target: bytes, headers: Mapping[str, str], signed: Sequence[str], payload_hash: str
) -> bytes:
    """The canonical request of what was sent.

    `target` is the path and query as they were sent; `headers` have lower-case names, and the octets of their values as
    Latin-1; `signed` are the names of those that are signed, in their order; `payload_hash` is lower-case hex, or what
    stands for it.
    """
    path, _, query = target.partition(b"?")
    lines = [f"{name}:".encode() + canonical_value(headers[name].encode("latin-1")) for name in signed]
    return b"\n".join(
        [
            method.encode("ascii"),
            canonical_path(path),
            canonical_query(query),
            *lines,
            b"",
            ";".join(signed).encode(),
            payload_hash.encode("ascii"),
        ]
    )


def canonical_path(path: bytes) -> bytes:
    """The path without dots and doubled slashes, escaped once more, as sent otherwise."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    last = b"/" if kept and path.endswith(b"/") else b""
    return b"/" + b"/".join(_escaped(segment) for segment in kept) + last


def canonical_query(query: bytes) -> bytes:
    """Names and values unescaped as the service itself reads them (`+` is a space), escaped by RFC 3986, sorted by name
    and then by value; without the signature that a presigned request holds."""
    pairs = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if part and name != SIGNATURE_PARAMETER:
            pairs.append((_escaped(_unescaped(name)), _escaped(_unescaped(value))))
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))


def canonical_value(value: bytes) -> bytes:
    """A header's value without spaces around it, runs of them as one; a folded line is a run (RFC 9112 section 5.2)."""
    return _SPACES.sub(b" ", value).strip(b" ")


def string_to_sign(moment: str, scope: str, canonical: bytes) -> str:
    """`moment` as in X-Amz-Date; `scope` without the access key's id."""
    return "\n".join([ALGORITHM, moment, scope, hashlib.sha256(canonical).hexdigest()])


def signing_key(secret: bytes, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service, 32 octets."""
    key = b"AWS4" + secret
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


def signature(key: bytes, text: str) -> str:
    """Lower-case hex."""
    return hmac.digest(key, text.encode(), hashlib.sha256).hex()


def _unescaped(octets: bytes) -> bytes:
    return unquote_to_bytes(octets.replace(b"+", b" "))


def _escaped(octets: bytes) -> bytes:
    # Python never escapes letters, digits and _.-~ (RFC 3986 section 2.3).
    return quote(octets, safe="").encode("ascii")
