"""`sealmark-verify trust show` and `trust diff`: what a person and a program are told, and the exit codes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.verifier import pki
from tests.verifier.trust_builder import KEY_ID, authority_entry, bundle, key_entry
from verifier.command import run

KEY = key_entry(pki.key("p256"), "ECDSA_SHA_256")
TOKENS = key_entry(pki.key("ed25519"), "ED25519_SHA_512", purpose="jwt", issuer="https://issuer.example", key_version=2)
ROOT = pki.root()


def with_crl(*revoked: pki.Identity) -> dict[str, object]:
    crl = pki.crl(ROOT, *(each.certificate for each in revoked))
    return authority_entry(ROOT.certificate, "artifact", crl=base64.b64encode(pki.crl_der(crl)).decode())


class Shell:
    """Runs the command on files that are written first."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capture = folder, capture

    def __call__(self, *words: str, **files: bytes) -> tuple[int, str]:
        for name, data in files.items():
            (self._folder / name).write_bytes(data)
        code = run(["trust", *(str(self._folder / word) if word in files else word for word in words)])
        told = self._capture.readouterr()
        return code, told.out + told.err

    def json(self, *words: str, **files: bytes) -> tuple[int, Any]:
        code, text = self(*words, "--json", **files)
        return code, json.loads(text)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_show_tells_what_counts(shell: Shell) -> None:
    revoked = KEY | {"revoked_at": "2026-02-01T00:00:00Z"}
    code, told = shell.json("show", "new", new=bundle([revoked, TOKENS], [with_crl(pki.leaf())]))
    assert code == 0
    assert told["generated_at"] == "2026-01-01T00:00:00Z"
    first, second = told["keys"]
    assert (first["state"], first["revoked_at"], first["key_version"]) == ("revoked", "2026-02-01T00:00:00Z", 1)
    assert (second["state"], second["issuer"], second["key"]) == ("counts", "https://issuer.example", "Ed25519")
    (authority,) = told["authorities"]
    assert (authority["state"], authority["crl"]["state"]) == ("counts", "current")
    serial = f"{pki.leaf().certificate.serial_number:x}"
    assert authority["crl"]["revoked"][serial].endswith("(keyCompromise)")
    assert authority["certificate"]["sha256"] == authority["sha256"]


def test_show_at_another_time(shell: Shell) -> None:
    limited = authority_entry(ROOT.certificate, not_after="2198-01-01T00:00:00Z")
    entry = KEY | {"not_after": "2198-01-01T00:00:00Z", "revoked_at": "2199-06-01T00:00:00Z"}
    files = {"new": bundle([entry], [limited])}
    states = {}
    for at in ("2019-01-01T00:00:00Z", "2199-01-01T00:00:00Z", "2200-01-01T00:00:00Z"):
        told = shell.json("show", "new", "--at", at, **files)[1]
        states[at[:4]] = (told["keys"][0]["state"], told["authorities"][0]["state"])
    assert states == {"2019": ("not yet", "not yet"), "2199": ("over", "over"), "2200": ("revoked", "over")}


def test_show_for_people(shell: Shell) -> None:
    code, text = shell("show", "new", new=bundle([KEY, TOKENS], [with_crl(pki.leaf())]))
    assert code == 0
    for word in (
        "release version 1: counts",
        "https://issuer.example",
        KEY_ID,
        "ECDSA_SHA_256",
        "CN=Test Root: counts",
    ):
        assert word in text
    assert "list of 1, " in text
    assert f"{pki.leaf().certificate.serial_number:x}" in text
    for pem in (pki.public_pem(pki.key("p256")), pki.pem(ROOT.certificate)):
        assert "anything" in shell("show", "new", new=pem)[1]


def test_names_in_the_file_do_not_reach_the_terminal_raw(shell: Shell) -> None:
    text = shell("show", "new", new=bundle([KEY | {"name": "\x1b[2Jrelease\n"}]))[1]
    assert "\x1b" not in text
    assert "\\x1b[2Jrelease\\n version 1" in text
    difference = shell("diff", "old", "new", old=bundle([KEY]), new=bundle([KEY | {"name": "\x1b[2J"}]))[1]
    assert "\x1b" not in difference


def test_the_same(shell: Shell) -> None:
    """The order and the time of making are no difference."""
    old, new = bundle([KEY, TOKENS]), bundle([TOKENS, KEY], generated_at="2026-06-01T00:00:00Z")
    assert shell("diff", "old", "new", old=old, new=new) == (0, "The same keys, authorities and logs.\n")
    assert shell.json("diff", "old", "new", old=old, new=new) == (
        0,
        {"different": False, "added": {}, "removed": {}, "changed": {}},
    )


def test_what_differs(shell: Shell) -> None:
    old = bundle([KEY], [authority_entry(ROOT.certificate)])
    new = bundle(
        [KEY | {"revoked_at": "2026-02-01T00:00:00Z"}, TOKENS], [authority_entry(pki.root("Other").certificate)]
    )
    code, told = shell.json("diff", "old", "new", old=old, new=new)
    assert (code, told["different"]) == (1, True)
    assert [name for name in told["added"] if name.startswith("key")] == [f"key {KEY_ID} version 2"]
    assert [entry["name"] for entry in told["removed"].values()] == ["CN=Test Root"]
    assert told["changed"] == {f"key {KEY_ID} version 1": {"revoked_at": {"old": None, "new": "2026-02-01T00:00:00Z"}}}
    code, text = shell("diff", "old", "new", old=old, new=new)
    assert code == 1
    assert f"+ key {KEY_ID} version 2 (release)" in text
    assert "    revoked_at: none -> 2026-02-01T00:00:00Z" in text
    assert "(CN=Test Root)" in text


def test_another_public_key_under_the_same_version_is_told(shell: Shell) -> None:
    swapped = KEY | {"public_key": key_entry(pki.key("p256", "swapped"), "ECDSA_SHA_256")["public_key"]}
    told = shell.json("diff", "old", "new", old=bundle([KEY]), new=bundle([swapped]))[1]
    assert told["changed"][f"key {KEY_ID} version 1"].keys() == {"sha256"}


def test_a_new_revocation_is_told(shell: Shell) -> None:
    code, told = shell.json("diff", "old", "new", old=bundle([], [with_crl()]), new=bundle([], [with_crl(pki.leaf())]))
    assert code == 1
    ((members),) = told["changed"].values()
    assert members.keys() == {"crl"}
    assert members["crl"]["new"]["revoked"]


@pytest.mark.parametrize("words", [("show", "broken"), ("diff", "broken", "good"), ("diff", "good", "broken")])
def test_unusable_files(shell: Shell, words: tuple[str, ...]) -> None:
    code, told = shell.json(*words, good=bundle([KEY]), broken=b'{"version": 1, "version": 1}')
    assert (code, told["code"]) == (2, "invalid_trust")


def test_wrong_usage(shell: Shell) -> None:
    assert shell.json("diff", "old", old=bundle([KEY]))[0] == 2
    assert shell.json("show", "/nowhere/at/all")[1]["code"] == "unreadable_file"
    assert shell("show", "--help")[0] == 0
