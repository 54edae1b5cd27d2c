"""The command as a whole: help, version, exit codes, and that nobody ever sees a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from keystore.errors import HsmUnavailable, Unsupported
from signer.cli.group import SealmarkGroup
from signer.cli.main import cli
from signer.cli.options import json_option


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(cli))
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


def test_the_commands_that_are_promised_are_there() -> None:
    promised = {
        "": "init serve backup restore whoami enrol sign trust crl",
        "ceremony.": "domain.create domain.rotate domain.export domain.adopt root.enable",
        "principals.": "create list show delete",
        "keys.": "create list show rotate disable enable schedule-deletion cancel-deletion public-key csr",
        "keys.certificate.": "show install renew revoke",
        "keys.policy.": "show set history diff restore",
        "grants.": "create list retire revoke",
        "principals.policy.": "put list show delete history",
        "issuers.": "list create",
    }
    names = {prefix + name for prefix, found in promised.items() for name in found.split()}
    assert {".".join(path) for path in LEAVES} >= names


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert ALL[path].help
    assert not ALL[path].get_short_help_str(60).endswith("...")
    if path in LEAVES:
        assert "Example" in result.output
        assert f"sealmark {' '.join(path)}" in result.output


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_prints_json_if_asked_and_takes_no_token(path: tuple[str, ...]) -> None:
    options = {option for parameter in LEAVES[path].params for option in parameter.opts}
    assert "--json" in options or path in {("serve",), ("witness", "serve"), ("completion",)}
    assert not options & {"--token", "--pin", "--officer-pin", "--password"}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_unknown_option_is_wrong_usage(path: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, [*path, "--no-such-option"]).exit_code == 2


def test_the_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("sealmark, version ")


def failing(error: BaseException) -> SealmarkGroup:
    @click.group(cls=SealmarkGroup)
    def group() -> None:
        """A group."""

    @group.command()
    @json_option
    def fail() -> None:
        raise error

    return group


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (HsmUnavailable("The HSM is away."), "Error: hsm_unavailable: The HSM is away."),
        (Unsupported("Not this.", field="spec"), "Error: unsupported: Not this. (field: spec)"),
        (PermissionError(13, "Permission denied", "/x"), "Error: system_error: /x: Permission denied"),
        (KeyError("a secret"), "Error: internal_error: this is a bug: KeyError at test_main.py:"),
    ],
)
def test_an_exception_becomes_one_line(error: Exception, line: str) -> None:
    result = CliRunner().invoke(failing(error), ["fail"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert "a secret" not in result.stderr
    as_json = CliRunner().invoke(failing(error), ["fail", "--json"])
    assert set(json.loads(as_json.stderr)["error"]) >= {"code", "message"}


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (click.Abort(), 1), (click.UsageError("x"), 2)]
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert CliRunner().invoke(failing(error), ["fail"]).exit_code == code
