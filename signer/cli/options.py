"""Options that many commands share, and the settings that they and the environment make.

`--url`, the credential's options and `--json` may stand before or after a command's name; the later one counts. There
is no option for a token's value: see `signer.cli.credentials`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import click

from signer.cli.proving import (
    CERTIFICATE_KEY_VARIABLE,
    CERTIFICATE_VARIABLE,
    SIGNING_KEY_ID_VARIABLE,
    SIGNING_KEY_VARIABLE,
    Given,
    Proof,
)

URL_VARIABLE = "SEALMARK_URL"
DEFAULT_URL = "http://127.0.0.1:8200"
_PREFIX = "signer.cli."
_KEY_REFERENCE: Final = re.compile(r"[A-Za-z0-9_-]{1,250}")
_PRINCIPAL_NAME: Final = re.compile(r"(user|role)/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z0-9]+){1,4}")
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

Command = TypeVar("Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the service is and how to show results."""

    url: str
    given: Given
    as_json: bool

    def proof(self) -> Proof:
        """The caller's one credential, read when it is needed."""
        return self.given.proof()


def wants_json(context: click.Context) -> bool:
    """Whether `--json` was given anywhere on the command line."""
    return context.meta.get(f"{_PREFIX}json") is True


def current_settings() -> Settings:
    """The settings of the command that runs now: its options first, then the environment, then the defaults."""
    context = click.get_current_context()
    url = context.meta.get(f"{_PREFIX}url") or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    named = ("token_file", "client_cert", "client_key", "signing_key", "signing_key_id")
    given = Given(*(context.meta.get(f"{_PREFIX}{name}") for name in named))
    return Settings(url=url, given=given, as_json=wants_json(context))


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> object:
    if value not in (None, False):
        # `meta` is one mapping for a command and its groups.
        context.meta[f"{_PREFIX}{parameter.name}"] = value
    return value


json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_remember, help="Print JSON, errors too (on standard error)."
)


def _file_option(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        name,
        type=click.Path(path_type=Path, dir_okay=False),
        expose_value=False,
        callback=_remember,
        help=text,
    )


def connection_options(command: Command) -> Command:
    """`--url`, the credential, and `--json`."""
    decorators: Sequence[Callable[[Command], Command]] = (
        click.option(
            "--url",
            expose_value=False,
            callback=_remember,
            metavar="URL",
            help=f"The service.  [env: {URL_VARIABLE}; default: {DEFAULT_URL}]",
        ),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path, dir_okay=False),
            expose_value=False,
            callback=_remember,
            help="A file (mode 0600) that holds your token; else SEALMARK_TOKEN is read. There is no option for the "
            "token itself: it would stand in the shell's history and in the list of processes.",
        ),
        _file_option("--client-cert", f"Instead: your client certificate, PEM.  [env: {CERTIFICATE_VARIABLE}]"),
        _file_option("--client-key", f"Its key, if in another file.  [env: {CERTIFICATE_KEY_VARIABLE}]"),
        _file_option("--signing-key", f"Instead: sign each request with this key, PEM.  [env: {SIGNING_KEY_VARIABLE}]"),
        click.option(
            "--signing-key-id",
            expose_value=False,
            callback=_remember,
            metavar="ID",
            help=f"The id under which that key is registered.  [env: {SIGNING_KEY_ID_VARIABLE}]",
        ),
        json_option,
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


class Pattern(click.ParamType[str]):
    """A name checked before it becomes part of an address: what does not match is wrong usage."""

    def __init__(self, name: str, pattern: re.Pattern[str], expected: str) -> None:
        self.name = name
        self._pattern = pattern
        self._expected = expected

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value itself, or a usage error that says what would be right."""
        text = str(value)
        if not self._pattern.fullmatch(text):
            self.fail(f"{text!r} is not {self._expected}", param, ctx)
        return text


class Pair(click.ParamType[tuple[str, str]]):
    """`NAME=VALUE`."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two halves; the value may hold more equals signs."""
        if isinstance(value, tuple):
            return value
        name, separator, text = str(value).partition("=")
        if not separator or not name:
            self.fail(f"{value!r} is not of the form NAME=VALUE", param, ctx)
        return name, text


KEY = Pattern("key", _KEY_REFERENCE, "a key's id or alias (letters, digits, _ and -, at most 250)")
PRINCIPAL = Pattern("principal", _PRINCIPAL_NAME, "a principal's name (user/NAME or role/NAME)")
SLUG = Pattern("name", _SLUG, "a short name (lower-case letters, digits and -, at most 63)")
REGION = Pattern("region", _REGION, "a region such as eu-west-1")
PAIR = Pair()

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def pairs_once(pairs: Sequence[tuple[str, str]], option: str) -> dict[str, str]:
    """The pairs as a mapping; a name given twice is wrong usage."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise click.UsageError(f"{option} gives {name!r} twice")
        found[name] = value
    return found
