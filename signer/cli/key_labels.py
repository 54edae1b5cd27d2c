"""`sealmark keys alias …`, `tag`, `untag`, `description`, `rotation …`: names, labels and a schedule of a key's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Json, open_client
from signer.cli.options import KEY, Pattern, connection_options, current_settings, pairs_once
from signer.cli.output import print_json, print_record

ALIAS: Final = Pattern("alias", re.compile(r"[A-Za-z0-9/_-]{1,250}"), "letters, digits, /, _ and -")


class _Tag(click.ParamType[tuple[str, str]]):
    """NAME=VALUE; the value may be empty."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, separator, text = str(value).partition("=")
        if not separator or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


TAG: Final = _Tag()


@click.group("alias")
def alias_group() -> None:
    """Names of a key: it may have several.

    \b
    Examples:
      sealmark keys alias add release app/prod
      sealmark keys alias move release-2 app/prod
    """


@alias_group.command("add")
@click.argument("key", type=KEY)
@click.argument("alias", type=ALIAS)
@approval_options
@connection_options
def add(key: str, alias: str) -> None:
    """Give a key a further name.

    One with a `/` in it names the key for AWS's clients; on this command line the key has its id and its other names.

    \b
    Example:
      sealmark keys alias add release app/prod
    """
    _post(key, "aliases", {"alias": alias})


@alias_group.command("move")
@click.argument("key", type=KEY)
@click.argument("alias", type=ALIAS)
@approval_options
@connection_options
def move(key: str, alias: str) -> None:
    """Let an alias that names another key name this one.

    Whoever uses the key by this alias uses KEY from now on. You must administer both keys, and they must be for the
    same.

    \b
    Example:
      sealmark keys alias move release-2 app/prod
    """
    _post(key, "aliases/move", {"alias": alias})


@alias_group.command("remove")
@click.argument("key", type=KEY)
@click.argument("alias", type=ALIAS)
@approval_options
@connection_options
def remove(key: str, alias: str) -> None:
    """Take a name away from a key.

    \b
    Example:
      sealmark keys alias remove release app/prod
    """
    _post(key, "aliases/remove", {"alias": alias})


@click.command("tag")
@click.argument("key", type=KEY)
@click.argument("tags", type=TAG, nargs=-1, required=True)
@approval_options
@connection_options
def tag(key: str, tags: Sequence[tuple[str, str]]) -> None:
    """Add tags to a key, or change their values.

    Policies may ask for a key's tags: aws:ResourceTag/NAME.

    \b
    Example:
      sealmark keys tag release stage=prod team=release
    """
    _post(key, "tags", {"tags": pairs_once(tags, "tag")})


@click.command("untag")
@click.argument("key", type=KEY)
@click.argument("names", nargs=-1, required=True)
@approval_options
@connection_options
def untag(key: str, names: Sequence[str]) -> None:
    """Take tags away from a key.

    \b
    Example:
      sealmark keys untag release stage
    """
    _post(key, "tags/remove", {"names": list(names)})


@click.command("description")
@click.argument("key", type=KEY)
@click.argument("text")
@connection_options
def description(key: str, text: str) -> None:
    """Say something else of a key.

    \b
    Example:
      sealmark keys description release "Signs what customers download"
    """
    with open_client() as client:
        _print(client.put(f"/v1/keys/{key}/description", {"description": text}))


@click.group("rotation")
def rotation() -> None:
    """A symmetric key's own schedule: it is rotated by itself.

    \b
    Examples:
      sealmark keys rotation enable vault --days 90
      sealmark keys rotation disable vault
    """


@rotation.command("enable")
@click.argument("key", type=KEY)
@click.option("--days", type=click.IntRange(90, 2560), default=365, show_default=True, help="Between two rotations.")
@approval_options
@connection_options
def enable(key: str, days: int) -> None:
    """Rotate a SYMMETRIC_DEFAULT key by itself from now on.

    What earlier versions encrypted stays readable. Other keys are rotated by hand: those who verify have to learn of
    the new version.

    \b
    Example:
      sealmark keys rotation enable vault --days 90
    """
    with open_client() as client:
        _print(client.put(f"/v1/keys/{key}/rotation", {"days": days}))


@rotation.command("disable")
@click.argument("key", type=KEY)
@approval_options
@connection_options
def disable(key: str) -> None:
    """Rotate a key by itself no more.

    \b
    Example:
      sealmark keys rotation disable vault
    """
    with open_client() as client:
        _print(client.delete(f"/v1/keys/{key}/rotation"))


def _post(key: str, path: str, body: Json) -> None:
    with open_client() as client:
        _print(client.post(f"/v1/keys/{key}/{path}", body))


def _print(key: Json) -> None:
    if current_settings().as_json:
        print_json(key)
    else:
        print_record({name: key.get(name) for name in ("id", "alias", "aliases", "tags", "description", "rotation")})
