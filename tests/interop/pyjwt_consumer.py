"""A relying party on PyJWT's PyJWKClient, with that library's own cache, and a clock that whoever asks it sets.

Called as `pyjwt_consumer.py KEY_SET_URL ISSUER AUDIENCE`; the lines in and out are those of `npm/consumer.mjs`. It
imports nothing of Sealmark.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, tzinfo
from typing import Self

import jwt.api_jwt

ALGORITHMS = ["ES256"]
_present = 0.0  # seconds since 1970


class MovedDatetime(datetime):
    """What PyJWT takes for the time of day, which it compares `exp` with."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(_present, tz or UTC)


def main() -> None:
    """A line of verdicts for each line of tokens."""
    global _present  # noqa: PLW0603 - the clock of this process
    time.monotonic = lambda: _present  # the library's cache and cooldown are measured by this
    setattr(jwt.api_jwt, "datetime", MovedDatetime)  # noqa: B010 - the module does not export it
    url, issuer, audience = sys.argv[1:]
    client = jwt.PyJWKClient(url)  # as shipped: 300 s of cache, 30 s of cooldown
    for line in sys.stdin:
        asked = json.loads(line)
        _present = asked["now"] / 1000
        verdicts = [_verdict(client, token, issuer, audience) for token in asked["tokens"]]
        sys.stdout.write(json.dumps(verdicts) + "\n")
        sys.stdout.flush()


def _verdict(client: jwt.PyJWKClient, token: str, issuer: str, audience: str) -> str:
    try:
        key = client.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=ALGORITHMS, issuer=issuer, audience=audience)
    except jwt.PyJWTError as error:
        return type(error).__name__
    return "verified"


if __name__ == "__main__":
    main()
