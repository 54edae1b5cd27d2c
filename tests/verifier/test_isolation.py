"""The verifier stands alone: what it imports, what it loads, what it opens, and what its wheel holds."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import verifier
from tests.verifier import pki

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "verifier"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "build" not in path.relative_to(PACKAGE).parts)
ALLOWED = {"click", "cryptography", "lxml", "signxml", "verifier"}
NETWORK = {"asyncio", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "ssl", "urllib"}
FORBIDDEN = {"flask", "keystore", "msgspec", "pkcs11", "rich", "signer", "sqlalchemy"}


def imported(path: Path) -> set[str]:
    """The first names of every module that the file imports, wherever it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_what_it_may(path: Path) -> None:
    assert imported(path) - set(sys.stdlib_module_names) <= ALLOWED
    assert not imported(path) & NETWORK


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_loads_nothing_of_the_service() -> None:
    everything = "from verifier import *\nimport verifier.command"
    assert not loaded_after(everything) & FORBIDDEN


@pytest.mark.parametrize(
    "statement",
    ["import verifier.command, verifier.artifacts, verifier.trust", "import verifier.tokens.jwks, verifier.command"],
)
def test_files_and_tokens_need_no_xml(statement: str) -> None:
    assert not loaded_after(statement) & {"lxml", "signxml"}


def test_public_names() -> None:
    for name in verifier.__all__:
        assert getattr(verifier, name) is not None
    assert set(dir(verifier)) == set(verifier.__all__)
    with pytest.raises(AttributeError):
        importlib.import_module("verifier").nonsense  # noqa: B018


def test_opens_no_socket(tmp_path: Path) -> None:
    """The whole command under an interpreter that refuses to make sockets."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'os.exec', 'os.fork', 'os.posix_spawn')):\n"
        "        raise SystemExit(99)\n"
        "sys.addaudithook(hook)\n"
    )
    signer = pki.key("p256")
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file.sig").write_bytes(signer.sign(b"content", ec.ECDSA(hashes.SHA256())))
    (tmp_path / "pub.pem").write_bytes(pki.public_pem(signer))
    done = subprocess.run(
        [sys.executable, "-m", "verifier", "artifact", "file", "--signature", "file.sig", "--trust", "pub.pem"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_readme_example_runs(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    assert example
    assert len(example[1].splitlines()) <= 15
    signer = pki.key("p256")
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file.sig").write_bytes(signer.sign(b"content", ec.ECDSA(hashes.SHA256())))
    (tmp_path / "pub.pem").write_bytes(pki.public_pem(signer))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", example[1], "file", "file.sig", "pub.pem"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    good = run()
    assert (good.returncode, good.stdout.split()[-1]) == (0, "ECDSA_SHA_256")
    (tmp_path / "file").write_bytes(b"tampered")
    assert run().stderr.startswith("wrong: ")


def test_readme_shows_the_commands_options() -> None:
    text = (PACKAGE / "README.md").read_text()
    done = [
        subprocess.run(
            [sys.executable, "-m", "verifier", *command.split(), "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in (
            *("artifact", "jwt", "saml", "log", "trust show", "trust diff"),
            *("encrypt", "open", "inspect"),
        )
    ]
    for option in set(re.findall(r"--[a-z][a-z-]*", text)):
        assert any(option in each for each in done), option


def test_wheel_holds_every_module_and_the_command(tmp_path: Path) -> None:
    copy = tmp_path / "verifier"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    subprocess.run(
        [sys.executable, "-c", f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"],
        cwd=copy,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("sealmark_verifier-0.1.0-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read("sealmark_verifier-0.1.0.dist-info/entry_points.txt").decode()
    assert {str(Path("verifier") / path.relative_to(PACKAGE)) for path in SOURCES} | {"verifier/py.typed"} == {
        name for name in names if not name.startswith("sealmark_verifier-")
    }
    assert "sealmark-verify = verifier.command:main" in entry_points
