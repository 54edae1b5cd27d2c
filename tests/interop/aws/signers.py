"""Independent signers of Signature Version 4, none of which is ours; run by their own environment.

Reads `{"url", "region", "key": {"id", "secret", "token"}}` from standard input, has each signer sign the same requests,
sends them, and prints a list of `{"signer", "request", "status", "answer"}`. It imports nothing of Sealmark.
"""

from __future__ import annotations

import http.client
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import awscrt.auth
import awscrt.http
import httpx
import requests
from aws_requests_auth.aws_auth import AWSRequestsAuth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from httpx_aws_auth import AwsCredentials, AwsSigV4Auth
from requests_aws4auth import AWS4Auth

SERVICE = "kms"
LIFE = 300
TIMEOUT = 30


@dataclass(frozen=True)
class Given:
    """Where to send to, and as whom."""

    url: str
    region: str
    id: str
    secret: str
    token: str | None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Asked:
    """One request, whoever signs it."""

    name: str
    target: str
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    body: bytes = b""

    def all_headers(self) -> dict[str, str]:
        return dict(self.headers or {})


Result = tuple[int, str]
JSON = {"Content-Type": "application/json"}
QUESTION = json.dumps({"principal": "role/ci", "action": "SignArtifact", "key": "release"}).encode()
LOOK = Asked("look", "/v1/whoami")
QUERY = Asked("query", "/v1/whoami?a=%2Fz&a=x%20y&b=2&c=&name=%C3%A9")
UNSORTED = Asked("query in another order", "/v1/whoami?c=&b=2&a=x%20y&a=%2Fz")
SPACES = Asked("spaces", "/v1/whoami", headers={"X-Amz-Meta": "a   b"})
BODY = Asked("body", "/v1/access/explain", "POST", JSON, QUESTION)
ALL = (LOOK, QUERY, UNSORTED, SPACES, BODY)


def sent(given: Given, asked: Asked, target: str, headers: Mapping[str, str]) -> Result:
    connection = http.client.HTTPConnection(given.host, timeout=TIMEOUT)
    connection.request(asked.method, target, asked.body or None, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def by_botocore(given: Given, asked: Asked) -> Result:
    return _botocore(given, asked, SigV4Auth)


def by_botocore_presigned(given: Given, asked: Asked) -> Result:
    return _botocore(given, asked, SigV4QueryAuth, expires=LIFE)


def _botocore(given: Given, asked: Asked, signer: Any, **more: int) -> Result:
    request = AWSRequest(asked.method, given.url + asked.target, headers=asked.all_headers(), data=asked.body)
    signer(Credentials(given.id, given.secret, given.token), SERVICE, given.region, **more).add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    return sent(given, asked, f"{parts.path}?{parts.query}".rstrip("?"), prepared.headers)


def by_crt(given: Given, asked: Asked) -> Result:
    return _crt(given, asked, awscrt.auth.AwsSignatureType.HTTP_REQUEST_HEADERS, None)


def by_crt_presigned(given: Given, asked: Asked) -> Result:
    return _crt(given, asked, awscrt.auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS, LIFE)


def _crt(given: Given, asked: Asked, kind: Any, life: int | None) -> Result:
    headers = awscrt.http.HttpHeaders([("Host", given.host), *asked.all_headers().items()])
    body = io.BytesIO(asked.body) if asked.body else None
    provider = awscrt.auth.AwsCredentialsProvider.new_static(given.id, given.secret, given.token)
    config = awscrt.auth.AwsSigningConfig(
        algorithm=awscrt.auth.AwsSigningAlgorithm.V4,
        signature_type=kind,
        credentials_provider=provider,
        region=given.region,
        service=SERVICE,
        date=datetime.now(UTC),
        expiration_in_seconds=life,
    )
    request = awscrt.http.HttpRequest(asked.method, asked.target, headers, body)
    signed = awscrt.auth.aws_sign_request(request, config).result(TIMEOUT)
    return sent(given, asked, signed.path, dict(signed.headers))


def by_aws4auth(given: Given, asked: Asked) -> Result:
    return _requests(given, asked, AWS4Auth(given.id, given.secret, given.region, SERVICE, session_token=given.token))


def by_aws_requests_auth(given: Given, asked: Asked) -> Result:
    auth = AWSRequestsAuth(given.id, given.secret, given.host, given.region, SERVICE, given.token)
    return _requests(given, asked, auth)


def _requests(given: Given, asked: Asked, auth: Any) -> Result:
    url = given.url + asked.target
    answer = requests.request(
        asked.method, url, headers=asked.all_headers(), data=asked.body or None, auth=auth, timeout=TIMEOUT
    )
    return answer.status_code, answer.text


def by_httpx(given: Given, asked: Asked) -> Result:
    credentials = AwsCredentials(access_key=given.id, secret_key=given.secret, session_token=given.token)
    auth = AwsSigV4Auth(credentials=credentials, region=given.region, service=SERVICE)
    with httpx.Client(timeout=TIMEOUT, trust_env=False, auth=auth) as client:
        answer = client.request(
            asked.method, given.url + asked.target, headers=asked.all_headers(), content=asked.body or None
        )
    return answer.status_code, answer.text


def by_curl(given: Given, asked: Asked) -> Result:
    headers = asked.all_headers() | ({} if given.token is None else {"X-Amz-Security-Token": given.token})
    command = ["curl", "-sS", "-X", asked.method, "--user", f"{given.id}:{given.secret}", "-w", "\n%{http_code}"]
    command += ["--aws-sigv4", f"aws:amz:{given.region}:{SERVICE}", given.url + asked.target]
    command += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    command += ["--data-binary", asked.body.decode()] if asked.body else []
    answer, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), answer


# What each signs of these: some leave out headers that a request to this service must have signed, botocore moves a
# presigned request's body into its query, and curl before 8 does not sort a query.
SIGNERS: dict[str, tuple[Callable[[Given, Asked], Result], tuple[Asked, ...]]] = {
    "botocore": (by_botocore, ALL),
    "botocore, presigned": (by_botocore_presigned, (LOOK, QUERY, UNSORTED, SPACES)),
    "awscrt": (by_crt, ALL),
    "awscrt, presigned": (by_crt_presigned, ALL),
    "requests-aws4auth": (by_aws4auth, ALL),
    "aws-requests-auth": (by_aws_requests_auth, (LOOK, QUERY, UNSORTED)),
    "httpx-aws-auth": (by_httpx, (LOOK, QUERY, UNSORTED)),
    "curl": (by_curl, (LOOK, QUERY, SPACES, BODY)),
}


def main() -> None:
    """Prints what came of each signer's requests."""
    asked = json.load(sys.stdin)
    given = Given(asked["url"], asked["region"], **asked["key"])
    results = []
    for signer, (sign, requested) in SIGNERS.items():
        for one in requested:
            # What two of them sign of one request in one second is the same request, which is taken once.
            sole = replace(one, target=f"{one.target}?by={quote(signer)}") if one is BODY else one
            status, answer = sign(given, sole)
            results.append({"signer": signer, "request": one.name, "status": status, "answer": answer})
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
