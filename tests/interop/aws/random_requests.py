"""Requests of random shape that botocore has signed; run by its own environment.

Reads `{"host", "region", "keys": [{"id", "secret", "token"}], "moment", "seed", "count"}` from standard input and
prints a list of `{"method", "target", "headers", "body"}` (body: hex). It imports nothing of Sealmark.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

LETTERS = "aZ09-_.~ /+%&=?é;:@!*'()ሴ\"<>,|\\^`{}[]#$"


def word(chosen: random.Random, letters: str = LETTERS) -> str:
    return "".join(chosen.choice(letters) for _ in range(chosen.randrange(9)))


def request(chosen: random.Random, host: str, *, presigned: bool) -> AWSRequest:
    """No dots and no empty segments in the path: those are refused before anybody asks who calls."""
    plain = LETTERS.replace(".", "").replace("/", "")
    segments = [quote(word(chosen, plain) or "x", safe="") for _ in range(chosen.randrange(4))]
    pairs = [f"{quote(word(chosen), safe='')}={quote(word(chosen), safe='')}" for _ in range(chosen.randrange(5))]
    target = f"/{'/'.join(segments)}" + (f"?{'&'.join(pairs)}" if pairs else "")
    method = "GET" if presigned else chosen.choice(["GET", "POST", "PUT", "DELETE"])
    body = b"" if method == "GET" else chosen.randbytes(chosen.randrange(40))
    ascii_letters = LETTERS.encode("ascii", "ignore").decode()
    headers = {f"X-Amz-W{at}": word(chosen, ascii_letters) for at in range(chosen.randrange(3))}
    if body:
        headers["Content-Type"] = "application/json"
    return AWSRequest(method, f"http://{host}{target}", headers=headers, data=body)


def signed(given: dict[str, Any], chosen: random.Random, number: int) -> dict[str, object]:
    key = given["keys"][number % len(given["keys"])]
    credentials = Credentials(key["id"], key["secret"], key["token"])
    presigned = number % 3 == 0
    asked = request(chosen, given["host"], presigned=presigned)
    if not presigned:
        auth.SigV4Auth(credentials, "kms", given["region"]).add_auth(asked)
    else:
        auth.SigV4QueryAuth(credentials, "kms", given["region"], expires=300).add_auth(asked)
    prepared = asked.prepare()
    parts = urlsplit(prepared.url)
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in prepared.headers.items()}
    return {
        "method": asked.method,
        "target": parts.path + (f"?{parts.query}" if parts.query else ""),
        "headers": {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}},
        "body": (asked.data or b"").hex(),
    }


def main() -> None:
    """Prints them."""
    given = json.load(sys.stdin)
    moment = datetime.fromisoformat(given["moment"])
    auth.get_current_datetime = lambda *_, **__: moment
    chosen = random.Random(given["seed"])  # noqa: S311 - any shape will do
    sys.stdout.write(json.dumps([signed(given, chosen, number) for number in range(given["count"])]))


if __name__ == "__main__":
    main()
