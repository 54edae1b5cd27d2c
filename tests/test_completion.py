"""Completion in a real bash, with the scripts that the programs print; for zsh and fish, that they print click's."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from signer.cli.main import cli as sealmark
from tools.service import PROGRAMS
from verifier.command import cli as sealmark_verify

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}


def completed(program: str, *typed: str, folder: Path) -> list[str]:
    """What bash offers for the last word, by the way that its Tab key goes."""
    words = [program, *typed]
    script = f"""
        eval "$({program} completion bash)"
        FUNCTION=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=({" ".join(shlex.quote(word) for word in words)}); COMP_CWORD={len(words) - 1}
        compopt() {{ :; }}
        "$FUNCTION" {program}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-euc", script], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("sealmark", "ke"), {"keys"}),
        (("sealmark", "keys", "rot"), {"rotate", "rotation"}),
        (
            ("sealmark", "keys", "create", "release", "--purpose", ""),
            {"artifact", "jwt", "saml", "general", "encrypt", "mac", "agree", "encapsulate"},
        ),
        (("sealmark", "sign", "--key", "release", "--form"), {"--format"}),
        (("sealmark-verify", "art"), {"artifact"}),
        (("sealmark-verify", "jwt", "-", "--iss"), {"--issuer"}),
    ],
)
def test_bash_completes(typed: tuple[str, ...], offered: set[str], tmp_path: Path) -> None:
    assert set(completed(*typed, folder=tmp_path)) == offered


@pytest.mark.parametrize("program", ["sealmark", "sealmark-verify"])
@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef {}"), ("fish", "complete --no-files --command {}")])
def test_zsh_and_fish_get_their_script(program: str, shell: str, mark: str) -> None:
    command = {"sealmark": sealmark, "sealmark-verify": sealmark_verify}[program]
    result = CliRunner().invoke(command, ["completion", shell])
    assert result.exit_code == 0
    assert mark.format(program) in result.output
    assert f"_{program.upper().replace('-', '_')}_COMPLETE={shell}_complete" in result.output


@pytest.mark.parametrize("program", ["sealmark", "sealmark-verify"])
def test_an_unknown_shell_is_wrong_usage(program: str) -> None:
    done = subprocess.run([program, "completion", "tcsh"], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fish" in done.stderr


@pytest.mark.parametrize("request_", ["bash_complete", "bash_source", "zsh_complete", "nonsense"])
def test_no_verdict_comes_of_completion(request_: str, tmp_path: Path) -> None:
    """With click's variable set, a verification is one all the same: exit 0 means verified and nothing else."""
    environment = {
        **ENVIRONMENT,
        "_SEALMARK_VERIFY_COMPLETE": request_,
        "COMP_WORDS": "sealmark-verify",
        "COMP_CWORD": "1",
    }
    (tmp_path / "app").write_text("unsigned")
    call = ["sealmark-verify", "artifact", "app", "--signature", "app", "--trust", "app"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "COULD NOT BE DECIDED" in done.stderr
