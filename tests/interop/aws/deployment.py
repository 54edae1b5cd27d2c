"""One service over HTTPS for all clients of AWS KMS, an access key of each of two people, and the keys of one."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from signer.access.short_form import document_of
from tests.interop.client_pki import make_key, openssl
from tests.interop.conftest import ROOT
from tests.interop.loopback import NPM, node
from tools.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.service import Service

PROGRAMS: Final = ROOT / ".venv-aws" / "bin"
ADMINISTRATOR: Final = "user/key-admin"
USER: Final = "role/backup"
ACCOUNT: Final = "000000000000"
REGION: Final = "us-east-1"
NAMES: Final = "subjectAltName=IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True)
class Deployment:
    """A running service, what each person's clients find in their environment, and the keys' ARNs by name."""

    service: Service
    folder: Path
    environments: Mapping[str, Mapping[str, str]] = field(repr=False)
    policy: str
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        return dict(self.made["keys"])

    def run(
        self, *command: str | Path, who: str = USER, given: str = "", place: Path = ROOT, exits: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """A client's program, with nothing of this machine's own settings. `exits` None: with any failure."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=place, env=dict(self.environments[who]), input=given, capture_output=True, text=True, timeout=120
        )
        wrong = done.returncode == 0 if exits is None else done.returncode != exits
        assert not wrong, f"{words}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done

    def python(self, program: str, who: str = USER, **given: object) -> Any:
        """What a program of `clients` tells."""
        words = (PROGRAMS / "python", "-W", "ignore", "-m", f"tests.interop.aws.clients.{program}")
        return json.loads(self.run(*words, who=who, given=json.dumps({**self.made, **given})).stdout)

    def node(self, program: str) -> Any:
        """What a program beside the npm packages tells."""
        return json.loads(self.run(node(), NPM / program, given=json.dumps(self.made)).stdout)

    def aws(self, *words: str, who: str = USER, place: Path = ROOT) -> Any:
        """What `aws kms` prints."""
        return json.loads(self.run(PROGRAMS / "aws", "kms", *words, who=who, place=place).stdout or "{}")

    def records(self, action: str) -> list[dict[str, Any]]:
        """What the trail holds of an action, the newest first."""
        with self.service.caller(self.service.enrolled("user/auditor", "auditor")) as auditor:
            return list(auditor.json("GET", f"/v1/audit/entries?action={action}&limit=100")["entries"])


def _certified(folder: Path) -> Path:
    """ca.crt, and server.crt with server.key."""
    folder.mkdir()
    for name in ("ca", "server"):
        make_key(folder, name)
    common = ("-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(folder, "req", "-x509", "-new", "-key", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", *common)
    (folder / "names").write_text(f"{NAMES}\nextendedKeyUsage=serverAuth\n")
    openssl(folder, "req", "-new", "-key", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2", "-extfile", "names")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-out", "server.crt", *signed)
    return folder


def _environment(service: Service, folder: Path, credentials: Mapping[str, str]) -> dict[str, str]:
    """By which every client is pointed at the service: variables that AWS's clients share."""
    authority = str(service.authority)
    return {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": credentials["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": credentials["secret_access_key"],
        "AWS_ENDPOINT_URL_KMS": service.url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CA_BUNDLE": authority,
        "SSL_CERT_FILE": authority,  # Go
        "NODE_EXTRA_CA_CERTS": authority,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(ROOT),
    }


def _access_key(service: Service, name: str, token: str) -> dict[str, str]:
    with service.caller(token) as person:
        return person.json("POST", f"/v1/principals/{name}/access-keys", {"label": "clients"})


def _policy() -> str:
    """The usual one for an administrator and a user, who may also read the tags: pgpkms takes a name from them."""
    usual: dict[str, Any] = dict(document_of([ADMINISTRATOR], [USER], ACCOUNT))
    tags = {"Sid": "Tags", "Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:ListResourceTags"}
    return json.dumps({**usual, "Statement": [*usual["Statement"], {**tags, "Resource": "*"}]})


@contextmanager
def deployment(folder: Path) -> Iterator[Deployment]:
    """The service runs until the end of the block; boto3, as the key administrator, has made the keys."""
    pki = _certified(folder / "pki")
    settings = [f'tls_certificate = "{pki}/server.crt"', f'tls_key = "{pki}/server.key"']
    with running_service(folder, settings, authority=pki / "ca.crt") as service:
        tokens = {ADMINISTRATOR: service.token_of("key-admin"), USER: service.enrolled(USER, "key-user")}
        environments = {
            name: _environment(service, folder, _access_key(service, name, token)) for name, token in tokens.items()
        }
        made = Deployment(service, folder, environments, _policy())
        made.made.update(made.python("administrator", ADMINISTRATOR, policy=made.policy))
        yield made
