"""`pip install sealmark` is the client: no command that talks HTTP needs, or loads, a part of the service's stack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.signer.cli.conftest import TOKEN
from tests.signer.cli.scripted import ScriptedService
from tests.signer.cli.signing_service import SigningService

ROOT = Path(__file__).resolve().parents[3]
# What `sealmark[server]` adds, without what the verifier itself needs.
SERVER_LIBRARIES = ("alembic", "flask", "gunicorn", "pkcs11", "shamir_mnemonic", "sqlalchemy", "structlog", "werkzeug")

# Runs the command with those libraries made impossible to import, and says which of our own rooms were loaded.
SCRIPT = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SERVER_LIBRARIES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
from signer.cli.main import cli
code = cli(sys.argv[1:], prog_name="sealmark", standalone_mode=True) if len(sys.argv) > 1 else 0
"""
LOADED = """
import sys
from signer.cli.main import cli
print(*sorted(sys.modules))
"""


def python(script: str, *arguments: str, folder: Path, url: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SEALMARK_URL": url,
        "SEALMARK_TOKEN": TOKEN,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_signing_works_without_the_service_s_libraries(service: ScriptedService, tmp_path: Path) -> None:
    signing = SigningService(service)
    service.on("POST", "/v1/keys/release/artifacts", signing.sign)
    (tmp_path / "app.bin").write_text("the release")
    result = python(SCRIPT, "sign", "app.bin", "--key", "release", folder=tmp_path, url=service.url)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "app.bin.p7s").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "--state", "state"),
        ("serve", "--state", "state"),
        ("ceremony", "domain", "create", "x", "--state", "state"),
        ("ceremony", "domain", "rotate", "x", "--state", "state"),
        ("backup", "--state", "state", "--out", "copy"),
        ("restore", "--state", "state", "--backup", "old.db", "--share", "old.db"),
    ],
)
def test_the_service_s_commands_say_what_to_install(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "old.db").write_text(" ".join(["academic"] * 33))
    (tmp_path / "old.db").chmod(0o600)
    result = python(SCRIPT, *arguments, folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: missing_extra: ")
    assert "pip install 'sealmark[server]'" in result.stderr
    assert not (tmp_path / "state").exists()


def test_the_command_loads_no_server_library_and_no_keystore(tmp_path: Path) -> None:
    loaded = python(LOADED, folder=tmp_path).stdout.split()
    assert "signer.cli.sign" in loaded
    rooms = {name.partition(".")[0] for name in loaded}
    assert not rooms & {*SERVER_LIBRARIES, "keystore", "cryptography", "lxml", "signxml", "jwt", "verifier"}
    assert [name for name in loaded if name.startswith("signer.") and not name.startswith("signer.cli")] == []
