"""`init` and `ceremony …` on a real SoftHSM token; what `serve` hands on; and the wrong usages of all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signer import server
from tests.databases import hand, init_arguments
from tests.signer.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "from signer.cli.main import main; main()"


def sealmark(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as each ceremony is: a PKCS#11 module belongs to one configuration."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *(str(argument) for argument in arguments)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


MAKE_KEYS = """
import sys
from pathlib import Path
from keystore import open_keystore
from keystore.algorithms import Purpose
from keystore.api import KeyPolicy, NewKey
keystore = open_keystore(Path(sys.argv[1]))
for alias, spec in (("p256", "ECC_NIST_P256"), ("edwards", "ECC_NIST_EDWARDS25519")):
    keystore.create_key(NewKey(spec, Purpose.GENERAL, "user/x", KeyPolicy("{}"), alias=alias))
keystore.close()
"""


def secrets_of(state: Path) -> list[str]:
    files = [*state.glob("*.token"), *state.glob("*.pin"), *(state / "ceremony").iterdir()]
    assert len(files) >= 10
    return [file.read_text().strip() for file in files]


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("founded")
    result = sealmark(
        *("init", "--state", folder / "state", "--account", "123456789012", "--json"),
        *init_arguments(folder / "state"),
        folder=folder,
    )
    assert result.returncode == 0, result.stderr
    return folder / "state", result


def test_init_says_what_it_wrote_and_prints_no_secret(
    founded: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    state, result = founded
    written = json.loads(result.stdout)
    assert {Path(path).name for path in written["carry_away"]} == {
        "so.pin",
        "root.token",
        *(f"custodian-{number}.share" for number in range(1, 6)),
    }
    assert {"admin.token", "key-admin.token", "hsm.pin", "sealmark.toml"} <= {
        Path(path).name for path in written["written"]
    }
    for secret in secrets_of(state):
        assert secret not in result.stdout + result.stderr


def test_init_refuses_a_folder_that_holds_something(
    founded: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    state, _ = founded
    before = sorted(state.rglob("*"))
    result = sealmark("init", "--state", state, folder=state.parent)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ceremony: ")
    assert sorted(state.rglob("*")) == before


@pytest.mark.sqlite_only("a restore is made of a copy of an SQLite file")
def test_domains_and_restore(founded: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(founded[0], state)
    made = subprocess.run([sys.executable, "-c", MAKE_KEYS, str(state)], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    created = sealmark("ceremony", "domain", "create", "payments", "--state", state, "--json", folder=tmp_path)
    assert json.loads(created.stdout) == {"domain": "payments", "state": "created"}, created.stderr
    again = sealmark("ceremony", "domain", "create", "payments", "--state", state, folder=tmp_path)
    assert (again.returncode, again.stdout) == (1, "")

    renewed = sealmark("restore", "--state", state, "--new-log", folder=tmp_path)
    assert (renewed.returncode, renewed.stdout) == (1, "")
    assert "can be gone on with" in renewed.stderr
    assert "Nothing was changed" in renewed.stderr

    carried = tmp_path / "carried"
    (state / "ceremony").rename(carried)
    without_pin = sealmark("ceremony", "domain", "rotate", "default", "--state", state, folder=tmp_path)
    assert without_pin.returncode == 2
    source = f"file:{carried / 'so.pin'}"
    rotated = sealmark(
        *("ceremony", "domain", "rotate", "default", "--state", state, "--officer-pin-source", source), folder=tmp_path
    )
    assert (rotated.returncode, rotated.stderr) == (0, "Re-wrapping the keys of default: 2 of 2\n")
    assert rotated.stdout == "domain   default\nstate    rotated\nversion  2\n"
    with hand(state / "sealmark.db") as connection:
        recorded = connection.rows(
            "SELECT principal, credential, action, detail FROM log_entries WHERE action LIKE '%Domain' ORDER BY seq"
        )
    assert recorded == [
        ("service/sealmark", "ceremony:officer", "CreateDomain", '{"domain":"payments","multi_region":false}'),
        ("service/sealmark", "ceremony:officer", "RotateDomain", '{"domain":"default","version":2}'),
    ]

    shares = [text for number in (1, 3, 5) for text in ("--share", carried / f"custodian-{number}.share")]
    kept = sealmark("backup", "--state", state, "--out", tmp_path / "kept", "--json", folder=tmp_path)
    assert (kept.returncode, kept.stderr.splitlines()[-1][:5]) == (0, "Rows:"), kept.stderr
    told = json.loads(kept.stdout)["not_in_it"]
    assert [each["what"] for each in told] == ["key", "log key", "region key", "PIN", "tokens"]
    assert told[0]["alias"] == "edwards"
    arguments = ("restore", "--state", tmp_path / "new", "--backup", tmp_path / "kept", "--new-log")
    too_few = sealmark(*arguments, *shares[:4], folder=tmp_path)
    assert too_few.returncode == 1
    assert not (tmp_path / "new").exists()
    restored = sealmark(*arguments, *shares, folder=tmp_path)
    assert restored.returncode == 0, restored.stderr
    assert "Not carried" in restored.stdout
    assert "edwards" in restored.stdout
    assert "p256" not in restored.stdout
    assert re.search(r"^log +sealmark/123456789012/us-east-1/[0-9a-f]{16}$", restored.stdout, re.MULTILINE)
    taken = sealmark(*arguments, *shares, folder=tmp_path)
    assert (taken.returncode, "give --backup alone" in taken.stderr) == (2, True)


def test_a_wrong_officer_pin_is_refused(founded: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(founded[0], state)
    pin = tmp_path / "wrong.pin"
    pin.write_text("12345678901234567890\n")
    pin.chmod(0o600)
    result = sealmark(
        *("ceremony", "domain", "create", "x", "--state", state, "--officer-pin-source", f"file:{pin}"), folder=tmp_path
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "12345678901234567890" not in result.stderr


MAKE_CALLS = """
import json, sys
from pathlib import Path
from sqlalchemy import select
from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES
from signer.app import create_app
app = create_app(Path(sys.argv[1]))
tokens = [Path(path).read_text().strip() for path in sys.argv[2:]]
calls = [app.test_client().get("/v1/whoami", headers={"Authorization": f"Bearer {token}"}) for token in tokens]
pairs = LOG_ENTRIES.c.intent_id == AUDIT_INTENTS.c.id
joined = select(AUDIT_INTENTS, LOG_ENTRIES.c.detail).join(LOG_ENTRIES, pairs)
with app.extensions["sealmark"].keystore.database.read() as connection:
    rows = connection.execute(joined.order_by(LOG_ENTRIES.c.seq)).mappings()
    told = [dict(row) for row in rows if row["subject"] == "user/root"]
print(json.dumps([[answer.status_code for answer in calls], told]))
"""


def call_with(state: Path, *tokens: Path) -> tuple[list[int], list[dict[str, str]], list[str]]:
    """whoami with each token, at a service that starts over the state: statuses, what is recorded of root, events."""
    program = [sys.executable, "-c", MAKE_CALLS, str(state), *map(str, tokens)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    statuses, recorded = json.loads(done.stdout)
    return statuses, recorded, [json.loads(line)["event"] for line in done.stderr.splitlines()]


def test_break_glass_by_the_officers_word_alone(
    founded: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    state, carried, fresh = tmp_path / "state", tmp_path / "carried", tmp_path / "fresh.token"
    shutil.copytree(founded[0], state)
    (state / "ceremony").rename(carried)
    source = ("--officer-pin-source", f"file:{carried / 'so.pin'}")
    common = ("--state", state)

    # The service's own PIN is not the officer's.
    refused = sealmark(
        *("ceremony", "root", "enable", *common, "--officer-pin-source", f"file:{state / 'hsm.pin'}"), folder=tmp_path
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert (state / "hsm.pin").read_text().strip() not in refused.stderr
    enabled = sealmark("ceremony", "root", "enable", *common, "--hours", "2", *source, "--json", folder=tmp_path)
    assert (enabled.returncode, enabled.stderr) == (0, "")
    until = datetime.fromisoformat(json.loads(enabled.stdout)["until"])
    assert timedelta(hours=1, minutes=50) < until - datetime.now(UTC) <= timedelta(hours=2)
    replaced = sealmark("ceremony", "root", "new-token", *common, "--token-out", fresh, *source, folder=tmp_path)
    assert (replaced.returncode, replaced.stderr) == (0, "")
    assert fresh.read_text().strip() not in replaced.stdout
    assert fresh.stat().st_mode & 0o777 == 0o600

    statuses, recorded, events = call_with(state, carried / "root.token", fresh)
    assert statuses == [401, 200]
    assert events == ["break_glass_enabled", "break_glass_used"]  # at the start, and for the call
    assert [json.loads(each["detail"]).get("state") for each in recorded] == ["enabled", None]
    for each in recorded:
        assert (each["principal"], each["credential"]) == ("service/sealmark", "ceremony:officer")
        assert (each["action"], each["source"]) == ("UpdatePrincipal", "ceremony")
        assert json.loads(each["proof"])["proved"] == "officer's PIN"

    disabled = sealmark("ceremony", "root", "disable", *common, *source, folder=tmp_path)
    assert (disabled.returncode, disabled.stdout) == (0, "principal  user/root\nstate      disabled\n")
    statuses, recorded, events = call_with(state, fresh)
    assert (statuses, events) == ([401], [])
    assert json.loads(recorded[-1]["detail"]) == {"state": "disabled"}


def test_a_state_that_is_none(run: Run, tmp_path: Path) -> None:
    pin = tmp_path / "so.pin"
    pin.write_text("1234")
    pin.chmod(0o600)
    for arguments in (
        ("serve", "--state", tmp_path / "missing"),
        ("ceremony", "domain", "create", "x", "--state", tmp_path / "missing", "--officer-pin-source", f"file:{pin}"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: configuration: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("init",),
        ("init", "--state", "new", "--account", "123"),
        ("init", "--state", "new", "--account", "12345678901\N{ARABIC-INDIC DIGIT TWO}"),
        ("init", "--state", "new", "--region", "US East"),
        ("init", "--state", "new", "--custodians", "2", "--threshold", "3"),
        ("init", "--state", "new", "--custodians", "17"),
        ("init", "--state", "new", "--threshold", "1"),
        ("init", "--state", "new", "--hsm-uri", "pkcs11:token=x", "--officer-pin-source", "1234"),
        ("init", "--state", "file.txt"),
        ("serve",),
        ("serve", "--state", "new", "--bind", "8200"),
        ("serve", "--state", "new", "--bind", "127.0.0.1:99999"),
        ("serve", "--state", "new", "--bind", "unix:"),
        ("serve", "--state", "new", "--workers", "0"),
        ("ceremony", "domain", "create", "--state", "new"),
        ("ceremony", "domain", "create", "A B", "--state", "new"),
        ("ceremony", "domain", "create", "x", "--state", "new"),
        ("ceremony", "domain", "create", "x", "--state", "new", "--officer-pin-source", "1234"),
        ("ceremony", "domain", "rotate", "x", "--state", "new", "--officer-pin-source", "file:"),
        ("ceremony", "root", "enable", "--state", "new"),
        ("ceremony", "root", "enable", "--state", "new", "--hours", "25", "--officer-pin-source", "file:x"),
        ("ceremony", "root", "enable", "--state", "new", "--hours", "0", "--officer-pin-source", "file:x"),
        ("ceremony", "root", "enable", "--state", "new", "--officer-pin-source", "1234"),
        ("ceremony", "root", "new-token", "--state", "new", "--officer-pin-source", "file:x"),
        ("backup", "--state", "new"),
        ("backup", "--state", "new", "--out", "file.txt"),
        ("restore", "--state", "new"),
        ("restore", "--state", "new", "--new-log"),
        ("restore", "--state", "new", "--backup", "missing"),
        ("restore", "--state", "new", "--backup", "file.txt"),
        ("restore", "--state", "new", "--backup", "file.txt", "--share", "missing.share"),
        ("restore", "--state", "new", "--new-log", "--share", "file.txt"),
    ],
)
def test_wrong_usage_makes_nothing(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "file.txt").write_text("a file")
    assert run(*arguments).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(
    ("text", "mode", "code"),
    [("", 0o600, "bad_secret"), ("a few words", 0o600, "bad_secret"), ("word " * 33, 0o644, "weak_file_mode")],
)
def test_a_file_that_holds_no_share_is_refused(run: Run, tmp_path: Path, text: str, mode: int, code: str) -> None:
    (tmp_path / "old.db").write_text("")
    share = tmp_path / "one.share"
    share.write_text(text)
    share.chmod(mode)
    result = run("restore", "--state", tmp_path / "new", "--backup", tmp_path / "old.db", "--share", share)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {code}: ")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ("127.0.0.1:8200", None, None)),
        (("--bind", "[::1]:9000", "--workers", "4", "--threads", "16"), ("[::1]:9000", 4, 16)),
        (("--bind", "unix:/run/sealmark.sock"), ("unix:/run/sealmark.sock", None, None)),
    ],
)
def test_serve_hands_its_options_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr(server, "serve", lambda *arguments: called.append(arguments))
    assert run("serve", *options, environment={"SEALMARK_STATE": str(tmp_path)}).exit_code == 0
    assert called == [(tmp_path, *expected)]
