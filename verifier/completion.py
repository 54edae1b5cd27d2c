"""`sealmark-verify completion`: what a shell needs to complete commands, options and their values (click's own)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import ShellComplete, get_completion_class

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELLS: Final = ("bash", "zsh", "fish")
_PROGRAM: Final = "sealmark-verify"
VARIABLE: Final = "_SEALMARK_VERIFY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      eval "$(sealmark-verify completion bash)"
      sealmark-verify completion zsh > ~/.zfunc/_sealmark-verify
      sealmark-verify completion fish > ~/.config/fish/completions/sealmark-verify.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    script = kind(context.find_root().command, {}, _PROGRAM, VARIABLE)
    # The base class's: the one for bash runs whatever `bash` is here, to complain of its version.
    click.echo(ShellComplete.source(script))


def only_for_shells(arguments: Sequence[str]) -> None:
    """Completion is for a shell that asks, which gives no arguments. With arguments the variable is taken away: click
    would print words and exit 0, which is this command's word for *verified*."""
    if arguments:
        os.environ.pop(VARIABLE, None)
