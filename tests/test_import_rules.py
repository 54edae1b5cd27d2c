"""The boundaries between the rooms of the architecture, read from the source: who imports whom, who makes what."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("signer", "keystore", "verifier")


class Import(NamedTuple):
    """One import statement's target, as `package.module` or `package.module.name`."""

    path: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.target}"


@cache
def parsed(file: Path) -> ast.Module:
    """A file's tree, which all rules read."""
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports_of(file: Path) -> tuple[Import, ...]:
    """A file's imports, those inside functions and for type checkers too."""
    path, found = file.relative_to(ROOT).as_posix(), list[Import]()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found += [Import(path, node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found += [Import(path, node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return tuple(found)


def files_in(*rooms: str) -> Iterator[Path]:
    """Each Python file under the rooms (folders or files)."""
    for room in rooms:
        place = ROOT / room
        files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
        yield from (file for file in files if "build" not in file.relative_to(ROOT).parts)


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file's tree under the rooms, with its path relative to the root."""
    return ((file.relative_to(ROOT).as_posix(), parsed(file)) for file in files_in(*rooms))


def imports(*rooms: str) -> Iterator[Import]:
    """Every import in the rooms."""
    return (found for file in files_in(*rooms) for found in imports_of(file))


def within(name: str, *places: str) -> bool:
    """Whether a dotted or slashed name is one of the places or lies below one."""
    return any(name == place or name.startswith((f"{place}.", f"{place}/")) for place in places)


# room -> what it may never import
FORBIDDEN = {
    "verifier": (
        # the service and what belongs to it; and everything that opens a connection
        *("signer", "keystore", "wsgi", "tests", "flask", "gunicorn", "pkcs11", "sqlalchemy", "alembic", "structlog"),
        *("socket", "ssl", "http", "urllib.request", "ftplib", "smtplib", "asyncio", "httpx", "requests", "aiohttp"),
    ),
    "keystore": ("signer", "verifier", "wsgi", "tests", "flask", "gunicorn", "jwt", "signxml", "httpx"),
    "signer": ("tests", "wsgi"),
    "signer/access": ("flask", "sqlalchemy", "os", "time", "pathlib", "socket", "subprocess", "random", "secrets"),
    "signer/formats": (
        "flask",
        "sqlalchemy",
        "signer.authn",
        "signer.access",
        "signer.audit",
        "signer.web",
        "signer.cli",
    ),
    "signer/certificates": ("flask", "sqlalchemy", "signer.authn", "signer.audit", "signer.web", "signer.cli"),
    "signer/authn": ("flask", "signer.web", "signer.cli", "signer.pipeline"),
    "signer/audit": ("flask", "signer.web", "signer.cli", "signer.pipeline"),
    "signer/witness": ("flask", "sqlalchemy", "pkcs11", "structlog", "httpx", "click"),
    "signer/pipeline.py": ("flask", "sqlalchemy", "keystore.hsm", "keystore.db"),
    "keystore/lifecycle.py": ("os", "time", "pathlib", "sqlalchemy", "pkcs11", "keystore.db", "keystore.hsm"),
    "keystore/algorithms.py": ("os", "pathlib", "sqlalchemy", "pkcs11", "keystore.db", "keystore.hsm"),
    "wsgi.py": ("keystore", "flask", "verifier"),
}

# room -> all that it may import of our own packages
OF_OURS = {
    # The witness is a program of its own, for other hands and another machine: it shares the verifier's code alone.
    "signer/witness": ("signer.witness", "verifier.errors", "verifier.merkle", "verifier.notes"),
}

# library or package -> the only places, among the packages, that may import it
ONLY = {
    "pkcs11": ("keystore/hsm",),
    "sqlalchemy": ("keystore", "signer/audit"),
    "alembic": ("keystore/db",),
    # the two engines' drivers; a backup's copy of a file, and the witness's own store
    "psycopg": ("keystore/db",),
    "sqlite3": ("keystore/db", "keystore/loading.py", "signer/witness"),
    "flask": ("signer/app.py", "signer/problems.py", "signer/web"),
    "jinja2": ("signer/web/reference.py",),
    # the service's server, and the witness's own, which shares nothing with it
    "gunicorn": (
        "signer/cli",
        "signer/lane/worker.py",
        "signer/receiving_worker.py",
        "signer/watched.py",
        "signer/server.py",
        "signer/watched.py",
        "signer/witness/serving.py",
    ),
    "httptools": ("signer/lane/heads.py", "signer/reception.py"),
    # the parts of the service that open connections: to issuers that an administrator wrote down, and to witnesses and
    # other regions that stand in the configuration
    "httpx": ("signer/cli", "signer/authn/fetching.py", "signer/audit/witnessing.py", "signer/regions/client.py"),
    "rich": ("signer/cli",),
    "click": (
        "signer/cli",
        "verifier/command.py",
        "verifier/completion.py",
        "verifier/envelope_command.py",
        "verifier/log_command.py",
        "verifier/options.py",
        "verifier/trust_command.py",
    ),
    "shamir_mnemonic": ("keystore/shares.py",),
    "verifier": ("verifier", "signer/cli", "signer/witness"),
    "signer.witness": ("signer/witness", "signer/cli/witness.py"),
    # the key that may be used is had from `keystore.api`; the parts behind it are joined in one place
    "keystore.hsm": ("keystore",),
    "keystore.ceremony": ("keystore", "signer/cli", "signer/people.py", "signer/break_glass.py", "signer/recovery.py"),
    "keystore.open_keystore": (
        *("signer/app.py", "signer/cli", "signer/people.py", "signer/ceremonies.py", "signer/recovery.py"),
    ),
    "signer.cli": ("signer/cli",),
}

# what tells the present -> the only places that may ask it: everything else asks the clock that its keystore was given
PRESENT = {
    "datetime.now": ("keystore/clock.py", "signer/cli"),
    "datetime.utcnow": (),
    "datetime.today": (),
    "date.today": (),
    "time.time": ("signer/witness/cosigning.py",),  # another program: it has no keystore, and no clock of one
    "time.time_ns": ("signer/audit",),  # the trail says when things happened, and decides nothing by it
}

# call -> the only place that may make it
MADE_ONLY = dict.fromkeys(("Permit", "Admission", "Judgement"), ("signer/access",))


def found_forbidden(room: str) -> list[str]:
    return [str(found) for found in imports(room) if within(found.target, *FORBIDDEN[room])]


def found_elsewhere(name: str) -> list[str]:
    everywhere = imports("wsgi.py", *PACKAGES)
    return [str(found) for found in everywhere if within(found.target, name) and not within(found.path, *ONLY[name])]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_it_may_not(room: str) -> None:
    assert (ROOT / room).exists()
    assert found_forbidden(room) == []


@pytest.mark.parametrize("room", OF_OURS)
def test_a_room_imports_of_ours_what_it_may(room: str) -> None:
    ours = [found for found in imports(room) if within(found.target, *PACKAGES)]
    assert ours
    assert [str(found) for found in ours if not within(found.target, *OF_OURS[room])] == []


@pytest.mark.parametrize("name", ONLY)
def test_a_part_is_imported_only_where_it_belongs(name: str) -> None:
    assert found_elsewhere(name) == []


@pytest.mark.parametrize("name", MADE_ONLY)
def test_a_decision_is_made_only_by_access(name: str) -> None:
    made = [
        f"{path}:{node.lineno}"
        for path, tree in sources("wsgi.py", *PACKAGES)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and name == (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None))
        and not within(path, *MADE_ONLY[name])
    ]
    assert made == []


@pytest.mark.parametrize("name", PRESENT)
def test_the_service_has_one_clock(name: str) -> None:
    asked = [
        f"{path}:{node.lineno}"
        for path, tree in sources("wsgi.py", "signer", "keystore")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and f"{node.value.id}.{node.attr}" == name
        and not within(path, *PRESENT[name])
    ]
    assert asked == []


def test_another_clock_cannot_be_configured() -> None:
    """What serves opens its keystore by `open_state`, which knows no clock but the default one."""
    ((_, tree),) = sources("keystore/keystore.py")
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Keystore"
    ]
    assert calls
    assert all(keyword.arg != "clock" for call in calls for keyword in call.keywords)


def test_nothing_uses_the_weak_random_module() -> None:
    assert [str(found) for found in imports("wsgi.py", *PACKAGES) if within(found.target, "random")] == []


def test_wsgi_holds_the_application_and_nothing_else() -> None:
    ((_, tree),) = sources("wsgi.py")
    statements = [node for node in tree.body if not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom)]
    assert [type(node) for node in statements] == [ast.Assign]


BLOCKED = ("flask", "gunicorn", "pkcs11", "sqlalchemy", "alembic", "structlog", "shamir_mnemonic", "jwt", "asn1crypto")


@pytest.mark.parametrize("module", ["signer.cli.main", "verifier"])
def test_a_client_and_a_verifier_need_none_of_the_servers_libraries(module: str) -> None:
    program = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); import {module}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_these_rules_see_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules themselves, tried on a tree that breaks each kind once."""
    for path, text in {
        "verifier/x.py": "def f():\n    import signer.app\n",
        "signer/x.py": "from pkcs11 import lib\n",
    }.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "wsgi.py").touch()
    assert found_forbidden("verifier") == ["verifier/x.py:2 imports signer.app"]
    assert found_elsewhere("pkcs11") == ["signer/x.py:1 imports pkcs11.lib"]
