"""The help of both programs: every command says in a line what it does, with examples that it would take."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from signer.cli.main import cli as sealmark
from verifier.command import cli as sealmark_verify

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS: dict[str, click.Group] = {"sealmark": sealmark, "sealmark-verify": sealmark_verify}
SHELL_WORDS = {"|", ">", ">>", "<", "&&", ";"}


def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for sub, each in command.commands.items():
            yield from walk(f"{name} {sub}", each)


COMMANDS = {name: command for program, group in PROGRAMS.items() for name, command in walk(program, group)}


def example_lines(command: click.Command) -> list[str]:
    """The lines under "Examples:"."""
    text = (command.help or "").replace("\b", "")
    found = re.search(r"^ *Examples?:\n(.*?)(?:\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in found[1].splitlines() if line.strip()] if found else []


def examples_of(command: click.Command) -> list[str]:
    """The examples: a line that ends in a backslash joined with the next."""
    return re.sub(r"\\\n", " ", "\n".join(example_lines(command))).splitlines()


def calls_in(line: str) -> Iterator[list[str]]:
    """The calls of our programs in a shell line, without redirections; those in `$(…)` too."""
    inner = re.search(r"\$\(([^)]*)\)", line)
    words = shlex.split(inner[1] if inner else line)
    while words:
        end = next((at for at, word in enumerate(words) if word in SHELL_WORDS), len(words))
        if words[:1] and words[0] in PROGRAMS:
            yield words[:end]
        rest = words[end:]
        words = rest[2:] if rest and rest[0] in {">", ">>", "<"} else rest[1:]


@pytest.fixture
def files_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the files themselves is judged as click judges it."""

    def path(_self: click.Path[Any], value: object, *_: object) -> Path:
        return Path(str(value))

    def file(_self: click.File, _value: object, *_: object) -> io.BytesIO:
        return io.BytesIO()

    monkeypatch.setattr(click.Path, "convert", path)
    monkeypatch.setattr(click.File, "convert", file)


def resolved(words: list[str]) -> str:
    """Parses a call down to the last command, as if it were run; that command's full name."""
    command: click.Command = PROGRAMS[words[0]]
    name, rest, parent = words[0], words[1:], None
    while True:
        context = command.make_context(name.rpartition(" ")[2], list(rest), parent=parent)
        if not isinstance(command, click.Group):
            return name
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        name, command, parent = f"{name} {found.name}", found, context


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_how(name: str) -> None:
    command = COMMANDS[name]
    assert (command.help or "").strip()
    assert not command.get_short_help_str(75).endswith("...")
    program, *path = name.split()
    shown = CliRunner().invoke(PROGRAMS[program], [*path, "--help"])
    assert shown.exit_code == 0
    examples = examples_of(command)
    assert any(re.search(rf"\b{name}(?=\s|$)", example) for example in examples), examples
    # Else click has wrapped them: a line with \b must stand before.
    shown_lines = [line.strip() for line in shown.output.splitlines()]
    assert [line for line in example_lines(command) if line not in shown_lines] == []


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("files_are_there")
def test_every_example_is_what_the_command_takes(name: str) -> None:
    calls = [call for example in examples_of(COMMANDS[name]) for call in calls_in(example)]
    assert calls
    for call in calls:
        found = resolved(call)
        assert found == name or found.startswith(f"{name} "), call


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained(name: str) -> None:
    command = COMMANDS[name]
    unexplained = [
        parameter.opts[-1]
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help and not isinstance(parameter.type, click.Choice)
    ]
    assert unexplained == []


@pytest.mark.parametrize("example", ["sealmark keys rotate", "sealmark keys rotate x --soon", "sealmark keys rotat x"])
@pytest.mark.usefixtures("files_are_there")
def test_a_wrong_example_would_be_noticed(example: str) -> None:
    with pytest.raises(click.UsageError):
        resolved(shlex.split(example))
