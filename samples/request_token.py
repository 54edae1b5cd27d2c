"""An identity provider asks for a token and checks what it got, before it hands it on.

    request_token.py KEY CLAIMS.json ISSUER-NAME ISSUER-URL AUDIENCE

The service is SEALMARK_URL, the credential SEALMARK_TOKEN. Needs sealmark-verifier and the standard library. Prints the
token; exit code 1 says that there is none, and why.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from verifier import VerificationError, parse_jwks, verify_jwt

ATTEMPTS = 4
SECONDS = 10


def main() -> None:
    """Ask, check, print."""
    key, claims, name, issuer, audience = sys.argv[1:]
    url = os.environ["SEALMARK_URL"].rstrip("/")
    body = json.dumps({"claims": json.loads(Path(claims).read_bytes()), "ttl": 300}).encode()
    headers = {
        "Authorization": f"Bearer {os.environ['SEALMARK_TOKEN']}",
        "Content-Type": "application/json",
        # The same for every attempt: a call that is repeated gets the first one's answer.
        "Idempotency-Key": str(uuid.uuid4()),
    }
    answer = json.loads(fetch(urllib.request.Request(f"{url}/v1/keys/{key}/jwts", body, headers)))
    token = answer["results"][0]["token"]
    keys = parse_jwks(fetch(urllib.request.Request(f"{url}/issuers/{name}/jwks.json")))
    try:
        facts = verify_jwt(token, keys, issuer=issuer, audience=audience)
    except VerificationError as reason:
        sys.exit(f"the service's token does not verify: {reason.message}")
    if facts.subject != json.loads(Path(claims).read_bytes())["sub"]:
        sys.exit("the token speaks of somebody else")
    print(token)


def fetch(request: urllib.request.Request) -> bytes:
    """The answer's body. Waits and tries again while the service is busy; any other refusal ends the program."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (429, 503) or attempt == ATTEMPTS:
                problem = json.loads(refusal.read() or b"{}")
                sys.exit(f"refused: {problem.get('code', refusal.code)}: {problem.get('detail', refusal.reason)}")
            time.sleep(min(float(refusal.headers.get("Retry-After", 1)), SECONDS))
        except urllib.error.URLError as fault:
            sys.exit(f"the service cannot be reached: {fault.reason}")
    raise AssertionError("the last attempt returns or exits")


if __name__ == "__main__":
    main()
