"""The peer: OpenBao's Transit as its documentation sets up a production node, for as long as a block lasts.

Integrated storage, a file audit device, a listener without TLS on loopback as ours, initialised and unsealed here; who
asks has a service token with a policy for these calls. Its keys live in its process, it does not verify what it signs,
and its audit file is not synced. Nothing of it is left but its folder: unseal key and tokens are never written down.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tools.bench.operations import CONTEXT
from tools.service import ServiceError, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tools.bench.operations import Item, Operation
    from tools.bench.workloads import Workload

PROGRAM: Final = Path(__file__).resolve().parents[2] / ".venv-bench" / "bin" / "bao"
START_SECONDS: Final = 60
STOP_SECONDS: Final = 20
_SPECS: Final = {"ECC_NIST_P256": "ecdsa-p256", "RSA_2048": "rsa-2048", "SYMMETRIC_DEFAULT": "aes256-gcm96"}
_PATHS: Final = {
    "signatures": "transit/sign/{}/sha2-256",
    "encrypt": "transit/encrypt/{}",
    "data-keys": "transit/datakey/plaintext/{}",
}
_ENCODING: Final = {
    "ECDSA_SHA_256": {"prehashed": True, "marshaling_algorithm": "asn1"},
    "RSASSA_PKCS1_V1_5_SHA_256": {"prehashed": True, "signature_algorithm": "pkcs1v15"},
}
_POLICY: Final = "\n".join(
    f'path "{path}/*" {{ capabilities = ["update"] }}'
    for path in ("transit/sign", "transit/encrypt", "transit/decrypt", "transit/datakey/plaintext")
)
# A multiplier of 1 is what the documentation recommends for production servers; 5 is for the smallest ones.
_CONFIGURATION: Final = """\
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
storage "raft" {{
  path = "{folder}/data"
  node_id = "bench"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable = true
}}
audit "file" "file" {{
  options {{
    file_path = "{folder}/audit.log"
  }}
}}
"""


class Transit:
    """Satisfies `operations.Wire`. OpenBao takes a bearer token where its own header is missing."""

    name: Final = "OpenBao Transit"

    def requests(
        self, address: str, token: str, alias: str, operation: Operation, batches: Sequence[Sequence[Item]]
    ) -> tuple[bytes, ...]:
        path = "/v1/" + _PATHS[operation.path].format(alias)
        return tuple(_post(address, path, token, _body(batch)) for batch in batches)

    def results(self, answer: bytes) -> list[Item]:
        data: Item = json.loads(answer)["data"]
        return [_native(each) for each in data.get("batch_results", [data])]


def _body(batch: Sequence[Item]) -> bytes:
    common = _ENCODING.get(batch[0].get("algorithm", ""), {})
    items = [_item(each) for each in batch]
    return json.dumps({**items[0], **common} if len(items) == 1 else {"batch_input": items, **common}).encode()


def _item(item: Item) -> Item:
    """The peer's members for one of ours."""
    if "digest" in item:
        return {"input": item["digest"]}
    bound = {"associated_data": _associated()}
    return {"plaintext": item["plaintext"], **bound} if "plaintext" in item else {"bits": 256, **bound}


def _native(result: Item) -> Item:
    signature = str(result.get("signature", "")).removeprefix("vault:v1:")
    return {**result, "signature": signature}


def _associated() -> str:
    return base64.b64encode(json.dumps(CONTEXT, sort_keys=True).encode()).decode()


def _post(address: str, path: str, token: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class OpenBao:
    """Satisfies `targets.Server`."""

    name: Final = "OpenBao"

    def __init__(self, url: str, session: int) -> None:
        self.url = url
        self.session = session
        self.token = ""
        self.version = ""
        self._root = ""
        self._client = httpx.Client(base_url=f"{url}/v1/", timeout=60, trust_env=False)

    def set_up(self) -> None:
        """Initialises, unseals, mounts Transit, and makes the token of who asks."""
        made = self._call("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._call("sys/unseal", {"key": made["keys_base64"][0]})
        self._root = str(made["root_token"])
        self._wait(lambda: self._client.get("sys/health").status_code == httpx.codes.OK)
        self.version = str(self._client.get("sys/seal-status").json()["version"])
        self._call("sys/mounts/transit", {"type": "transit"})
        self._call("sys/policies/acl/bench", {"policy": _POLICY})
        self.token = str(self._call("auth/token/create", {"policies": ["bench"]})["auth"]["client_token"])

    def wait_until_listening(self, process: subprocess.Popen[bytes]) -> None:
        """Raises: `ServiceError` where it does not come up."""
        self._wait(lambda: self._client.get("sys/seal-status").is_success, process)

    def make_key(self, alias: str, workload: Workload) -> bytes:
        made = self._call(f"transit/keys/{alias}", {"type": _SPECS[workload.spec]})
        if workload.spec == "SYMMETRIC_DEFAULT":
            return b""
        key = load_pem_public_key(made["data"]["keys"]["1"]["public_key"].encode())
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def wire(self, _workload: Workload) -> Transit:
        return Transit()

    def decrypt(self, alias: str, ciphertext: str) -> str:
        asked = {"ciphertext": ciphertext, "associated_data": _associated()}
        return str(self._call(f"transit/decrypt/{alias}", asked)["data"]["plaintext"])

    def close(self) -> None:
        self._client.close()

    def _call(self, path: str, body: Item) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._root}"} if self._root else {}
        answer = self._client.post(path, json=body, headers=headers)
        if not answer.is_success:
            raise ServiceError(f"OpenBao: {path}: {answer.status_code} {answer.text[:400]}")
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def _wait(self, is_so: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and (process is None or process.poll() is None):
            with contextlib.suppress(httpx.TransportError):
                if is_so():
                    return
            time.sleep(0.05)
        raise ServiceError("OpenBao did not come up")


@contextlib.contextmanager
def running_openbao(folder: Path, program: Path = PROGRAM) -> Iterator[OpenBao]:
    """A node in `folder` on a free port, until the end of the block. Raises: `ServiceError`."""
    if not program.exists():
        raise ServiceError("OpenBao is not installed: tools/setup.sh bench")
    (folder / "data").mkdir(parents=True, mode=0o700)
    port, cluster_port = free_port(), free_port()
    configuration = folder / "openbao.hcl"
    configuration.write_text(_CONFIGURATION.format(port=port, cluster_port=cluster_port, folder=folder))
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(program), "server", f"-config={configuration}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = OpenBao(f"http://127.0.0.1:{port}", process.pid)
    try:
        try:
            server.wait_until_listening(process)
            server.set_up()
        except ServiceError as error:
            raise ServiceError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from error
        yield server
    finally:
        server.close()
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
