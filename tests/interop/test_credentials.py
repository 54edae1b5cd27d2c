"""Real clients before a running `sealmark serve` with TLS: curl with certificates, directly and behind a proxy;
requests signed by npm's http-message-signatures, by openssl and curl, and by the `sealmark` command itself."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.databases import hand
from tests.interop.client_pki import make_key, make_pki, openssl, revoke
from tests.interop.conftest import ROOT
from tests.interop.loopback import NPM, node
from tests.interop.tls_proxy import ADDRESS, HEADER, escaped, structured, tls_proxy
from tests.live import blocks
from tools.service import PROGRAMS, Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNING_PATH: Final = "/v1/keys/device/signatures"
BODY: Final = '{"message": "aGVsbG8K"}'
ADDRESSES: Final = (f"127.1.{high}.{low}" for high in range(256) for low in range(1, 255))  # all are this machine's


@dataclass(frozen=True)
class Place:
    """The service, the certificates, and the ids of what `role/ci` may show."""

    service: Service
    pki: Path
    token: str
    ids: dict[str, str]

    def curl(self, path: str, *arguments: str, url: str | None = None, who: str | None = None) -> tuple[int, Any]:
        """Status and answer; status 0 where TLS refused the connection. Each call comes from an address of its own, so
        that none waits for the failures of others."""
        shown = ("--cert", f"{who}.crt", "--key", f"{who}.key") if who else ()
        words = [
            "curl",
            "-sS",
            "--interface",
            next(ADDRESSES),
            "--cacert",
            "ca.crt",
            *shown,
            "-w",
            "\n%{http_code}",
            *arguments,
        ]
        done = subprocess.run(
            [*words, (url or self.service.url) + path], cwd=self.pki, capture_output=True, text=True, timeout=60
        )
        content, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(content) if content else done.stderr

    def bind(self, **body: object) -> str:
        """What an administrator binds to `role/ci`; its id."""
        with self.service.caller(self.service.token_of("admin")) as administrator:
            path = "/v1/principals/role/ci/public-credentials"
            return str(administrator.json("POST", path, body)["id"])

    def sealmark(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        known = {"SEALMARK_URL": self.service.url, "SSL_CERT_FILE": str(self.pki / "ca.crt")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALMARK")}
        return subprocess.run(
            [str(PROGRAMS / "sealmark"), *arguments],
            cwd=self.pki,
            env={**environment, **known, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def records(self, request_id: str) -> list[dict[str, Any]]:
        with hand(self.service.state / "sealmark.db") as database:
            return [
                row
                for table in ("audit_intents", "log_entries")
                for row in database.records(f"SELECT * FROM {table} WHERE request_id = ?", request_id)  # noqa: S608
            ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("credentials")
    pki = make_pki(folder / "pki")
    openssl(pki, "genpkey", "-algorithm", "ed25519", "-out", "request.pem")
    (pki / "request.pem").chmod(0o600)
    (pki / "request.pub").write_bytes(openssl(pki, "pkey", "-in", "request.pem", "-pubout"))
    settings = [
        f'tls_certificate = "{pki}/server.crt"',
        f'tls_key = "{pki}/server.key"',
        f'client_ca = "{pki}/ca.crt"',
        f'client_crl = "{pki}/ca.crl"',
        f'trusted_proxies = ["{ADDRESS}"]',
        f'client_certificate_header = "{HEADER}"',
    ]
    with running_service(folder, settings, authority=pki / "ca.crt") as service:
        token = service.enrolled("role/ci", "key-user")
        with service.caller(service.token_of("key-admin")) as keeper:
            body = {"alias": "device", "spec": "ECC_NIST_P256", "purpose": "general", "users": ["role/ci"]}
            keeper.json("POST", "/v1/keys", body)
        made = Place(service, pki, token, {})
        for name in ("revoked", "expired", "servers"):
            made.bind(match="dns", name=f"{name}.shop.example")
        made.ids["named"] = made.bind(match="uri", name="spiffe://shop.example/named")
        for name, arguments in (
            ("ci", ("add-certificate", "role/ci", "--certificate", "ci.crt", "--key", "ci.key")),
            ("request", ("add-key", "role/ci", "--key", "request.pem", "--label", "docs")),
        ):
            done = made.sealmark("credentials", *arguments, "--json", SEALMARK_TOKEN=token)
            assert done.returncode == 0, done.stderr
            made.ids[name] = json.loads(done.stdout)["id"]
        yield made


@pytest.mark.parametrize("who", ["ci", "named"])
@pytest.mark.parametrize("tls", ["--tlsv1.3", "--tls-max"])
def test_curl_with_a_certificate_is_its_principal(place: Place, who: str, tls: str) -> None:
    version = (tls, "1.2") if tls == "--tls-max" else (tls,)
    status, me = place.curl("/v1/whoami", *version, who=who)
    assert (status, me["name"], me["kind"]) == (200, "role/ci", "certificate")


def test_what_is_signed_with_a_certificate_is_recorded_with_it(place: Place) -> None:
    status, answer = place.curl(SIGNING_PATH, "--json", BODY, who="ci")
    assert status == 200, answer
    intent, outcome = place.records(answer["results"][0]["request_id"])
    assert intent["credential"] == outcome["credential"] == f"certificate:{place.ids['ci']}"
    shown = openssl(place.pki, "x509", "-in", "ci.crt", "-noout", "-fingerprint", "-sha256").decode()
    proof = json.loads(intent["proof"])
    assert proof["certificate_sha256"] == shown.strip().partition("=")[2].replace(":", "").lower()
    assert proof["matched"].startswith("public-key:")


def test_callers_with_tokens_go_on_working_and_carry_no_certificate_beside(place: Place) -> None:
    bearer = ("-H", f"Authorization: Bearer {place.token}")
    assert place.curl("/v1/whoami", *bearer)[0] == 200
    assert place.curl("/v1/whoami")[0] == 401
    for path, more in (("/v1/whoami", ()), (SIGNING_PATH, ("--json", BODY))):
        status, answer = place.curl(path, *bearer, *more, who="ci")
        assert (status, answer["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("who", ["stranger", "expired", "for-servers"])
def test_tls_refuses_what_the_authority_does_not_vouch_for(place: Place, who: str) -> None:
    status, words = place.curl("/v1/whoami", who=who)
    assert status == 0
    assert "alert" in words or "reset" in words or "closed" in words, words


def test_a_certificate_that_is_bound_to_nobody_is_refused_like_every_other(place: Place) -> None:
    status, unbound = place.curl("/v1/whoami", who="unbound")
    assert (status, unbound["code"]) == (401, "unauthenticated")
    assert place.curl("/healthz", who="unbound")[0] == 200


def test_tls_1_1_is_refused(place: Place) -> None:
    ciphers = ("--ciphers", "DEFAULT@SECLEVEL=0")
    assert place.curl("/healthz", "--tlsv1.0", "--tls-max", "1.1", *ciphers)[0] == 0


def test_a_new_revocation_list_counts_from_the_next_connection_on(place: Place) -> None:
    assert place.curl("/v1/whoami", who="revoked")[0] == 200
    revoke(place.pki, "revoked")
    assert place.curl("/v1/whoami", who="revoked")[0] == 0
    assert place.curl("/v1/whoami", who="ci")[0] == 200
    listed = (place.pki / "ca.crl").read_bytes()
    (place.pki / "ca.crl").write_text("spoilt")
    try:  # callers with tokens go on; no certificate is believed
        assert place.curl("/v1/whoami", "-H", f"Authorization: Bearer {place.token}")[0] == 200
        assert place.curl("/v1/whoami", who="revoked")[0] == 401
        assert place.curl("/v1/whoami", who="ci")[0] == 401
    finally:
        (place.pki / "ca.crl").write_bytes(listed)
    assert "client_crl_unusable" in place.service.log.read_text(encoding="utf-8")


def test_the_header_of_proxies_is_refused_from_everybody_else(place: Place) -> None:
    der = openssl(place.pki, "x509", "-in", "ci.crt", "-outform", "DER")
    bearer = ("-H", f"Authorization: Bearer {place.token}")
    for path, more in (("/v1/whoami", ()), ("/healthz", ()), (SIGNING_PATH, ("--json", BODY))):
        for value in (structured(der), escaped(der), "x"):
            for name in (HEADER, HEADER.lower(), HEADER.upper()):
                status, answer = place.curl(path, *bearer, *more, "-H", f"{name}: {value}")
                assert (status, answer["code"]) == (403, "insecure_transport")
    # Underscores are other names, which the server drops: no certificate is seen.
    assert place.curl("/v1/whoami", "-H", f"Client_Cert: {structured(der)}")[0] == 401
    assert "client_certificate_header_refused" in place.service.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("write", [structured, escaped])
def test_a_named_proxy_speaks_for_callers_certificates(place: Place, write: Any) -> None:
    der = openssl(place.pki, "x509", "-in", "ci.crt", "-outform", "DER")
    with tls_proxy(place.pki, place.service.url, write) as proxy:
        status, me = place.curl("/v1/whoami", url=proxy, who="ci")
        assert (status, me["name"], me["kind"]) == (200, "role/ci", "certificate")
        status, answer = place.curl(SIGNING_PATH, "--json", BODY, "--interface", "127.2.0.1", url=proxy, who="named")
        assert status == 200, answer
        intent, _ = place.records(answer["results"][0]["request_id"])
        assert (intent["source"], intent["credential"]) == ("127.2.0.1", f"certificate:{place.ids['named']}")
        assert place.curl("/v1/whoami", url=proxy, who="unbound")[0] == 401
        assert place.curl("/v1/whoami", url=proxy, who="expired")[0] == 0  # the proxy's own TLS
        bearer = ("-H", f"Authorization: Bearer {place.token}")
        assert place.curl("/v1/whoami", *bearer, url=proxy)[0] == 200
        assert place.curl("/v1/whoami", *bearer, url=proxy, who="ci")[0] == 401
        assert place.curl("/v1/whoami", "-H", f"{HEADER}: {structured(der)}", url=proxy)[0] == 401  # overwritten
    with tls_proxy(place.pki, place.service.url, write, overwrites=False) as careless:
        # Let through beside the proxy's own statement: two are none.
        forged = ("-H", f"{HEADER}: {structured(der)}")
        assert place.curl("/v1/whoami", *forged, url=careless, who="unbound")[0] == 401
        for value in ("x", ":x:", structured(der)[:-4] + ":", "%00"):
            assert place.curl("/v1/whoami", "-H", f"{HEADER}: {value}", url=careless)[0] == 401


def npm_requests(place: Place, name: str, algorithm: str, asked: list[dict[str, object]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(node()), str(NPM / "sign_request.mjs"), str(place.pki / f"{name}.pem"), algorithm, place.ids[name]],
        input=json.dumps(asked),
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(place.pki / "ca.crt"), "LOCAL_ADDRESS": next(ADDRESSES)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


KEYS: Final = {
    "ed25519": ("-algorithm", "ed25519"),
    "ecdsa-p256-sha256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ecdsa-p384-sha384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "rsa-pss-sha512": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_npms_http_message_signatures_signs_requests_that_are_taken(place: Place, algorithm: str) -> None:
    name = f"npm-{algorithm}"
    openssl(place.pki, "genpkey", *KEYS[algorithm], "-out", f"{name}.pem")
    (place.pki / f"{name}.pem").chmod(0o600)
    public = openssl(place.pki, "pkey", "-in", f"{name}.pem", "-pubout").decode()
    place.ids[name] = place.bind(match="request-key", public_key=public)
    asked: dict[str, object] = {
        "method": "POST",
        "url": f"{place.service.url}{SIGNING_PATH}",
        "body": BODY,
        "headers": {"Idempotency-Key": f"once-{algorithm}"},
    }
    otherwise: list[dict[str, object]] = [
        {"body": BODY + " "},
        {"url": f"{place.service.url}/v1/keys/Device/signatures"},
        {"url": f"{place.service.url}{SIGNING_PATH}?x=1"},
        {"method": "PUT", "url": f"{place.service.url}/v1/keys/device/policy"},
        {"headers": {"Idempotency-Key": "another"}},
        {"headers": {"X-Request-Id": "added"}},
        {"headers": {"Authorization": f"Bearer {place.token}"}},
        {"headers": {"Signature-Input": ""}},
    ]
    first, *others = npm_requests(place, name, algorithm, [asked, *({**asked, "sent": sent} for sent in otherwise)])
    assert first["status"] == 200, first
    intent, outcome = place.records(first["answer"]["results"][0]["request_id"])
    assert intent["credential"] == outcome["credential"] == f"signed-request:{place.ids[name]}"
    assert [other["status"] for other in others] == [401] * len(otherwise)


def test_openssl_and_curl_by_hand_as_the_page_says_and_the_record_checked_as_it_says(place: Place) -> None:
    page = ROOT / "docs" / "credentials.md"
    signing, checking = blocks(page)
    variables = {
        **os.environ,
        "KEYID": place.ids["request"],
        "SEALMARK_URL": place.service.url,
        "CURL_OPTIONS": f"--cacert ca.crt --interface {next(ADDRESSES)}",
    }

    def shell(script: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(words, cwd=place.pki, env=variables, capture_output=True, text=True, timeout=60)

    answer = json.loads(shell(signing).stdout)
    intent, _ = place.records(answer["results"][0]["request_id"])
    (place.pki / "proof.json").write_text(intent["proof"])
    checked = shell(checking)
    assert (checked.returncode, "Verified Successfully" in checked.stdout) == (0, True), checked.stderr
    asked = (place.pki / "asked.txt").read_text()
    assert asked == (place.pki / "base.txt").read_text()
    (place.pki / "proof.json").write_text(intent["proof"].replace("device", "devicE"))
    assert shell(checking).returncode != 0
    der = openssl(place.pki, "pkey", "-pubin", "-in", "request.pub", "-outform", "DER")
    hashed = openssl(place.pki, "dgst", "-sha256", "-r", given=der).decode().split()[0]
    assert json.loads(intent["proof"])["public_key_sha256"] == hashed
    again = "curl -sS" + signing.rpartition("curl -sS")[2].rstrip()
    # The very same octets once more, then with a header doubled: by what stood in base.txt.
    sent = {line.split(": ", 1)[0].strip('"'): line.split(": ", 1)[1] for line in asked.splitlines()}
    prepared = f"body='{BODY}' digest='{sent['content-digest']}' target='{sent['@target-uri']}' "
    prepared += f"parameters='{sent['@signature-params']}'\n"
    for script in (
        again,
        again.rstrip() + ' -H "Content-Digest: $digest"',
        again.rstrip() + ' -H "Signature: sig=:AA==:"',
    ):
        assert json.loads(shell(prepared + script).stdout)["code"] == "unauthenticated"


def test_every_command_can_be_sent_with_a_certificate_or_signed(place: Place) -> None:
    certificate = ("--client-cert", "ci.crt", "--client-key", "ci.key")
    signed = {"SEALMARK_SIGNING_KEY": "request.pem", "SEALMARK_SIGNING_KEY_ID": place.ids["request"]}
    for done in (
        place.sealmark("whoami", "--json", *certificate),
        place.sealmark("whoami", "--json", **signed),
        place.sealmark("whoami", "--json", *certificate, **signed),  # the command line counts before the environment
    ):
        assert json.loads(done.stdout)["name"] == "role/ci", done.stderr
    listed = place.sealmark("credentials", "list", "role/ci", "--json", **signed)
    assert set(place.ids.values()) <= {one["id"] for one in json.loads(listed.stdout)["public_credentials"]}
    make_key(place.pki, "own")
    added = place.sealmark("credentials", "add-key", "role/ci", "--key", "own.key", "--days", "2", "--json", **signed)
    made = json.loads(added.stdout)
    assert made["created_by"] == "role/ci"
    own = {"SEALMARK_SIGNING_KEY": "own.key", "SEALMARK_SIGNING_KEY_ID": made["id"]}
    assert place.sealmark("credentials", "revoke", "role/ci", made["id"], "--yes", **own).returncode == 0
    refused = place.sealmark("whoami", **own)
    assert (refused.returncode, "unauthenticated" in refused.stderr) == (1, True)


def test_a_signed_request_passes_a_proxy_that_keeps_host_and_scheme(place: Place) -> None:
    with tls_proxy(place.pki, place.service.url, structured) as proxy:
        signed = {"SEALMARK_SIGNING_KEY": "request.pem", "SEALMARK_SIGNING_KEY_ID": place.ids["request"]}
        done = place.sealmark("whoami", "--json", **{**signed, "SEALMARK_URL": proxy})
        assert json.loads(done.stdout)["name"] == "role/ci", done.stderr


def test_no_secret_stands_in_the_log(place: Place) -> None:
    logged = place.service.log.read_text(encoding="utf-8")
    keys = [path.read_text() for path in place.pki.glob("*.key")]
    for secret in (*place.service.secrets(), place.token, *("".join(key.splitlines()[1:-1]) for key in keys)):
        assert secret not in logged
        assert base64.b64encode(secret.encode()).decode() not in logged
