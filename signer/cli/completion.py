"""`sealmark completion`: what a shell needs to complete commands, options and their values (click's own)."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "sealmark"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      eval "$(sealmark completion bash)"
      sealmark completion zsh > ~/.zfunc/_sealmark
      sealmark completion fish > ~/.config/fish/completions/sealmark.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    script = kind(context.find_root().command, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE")
    # The base class's: the one for bash runs whatever `bash` is here, to complain of its version.
    click.echo(ShellComplete.source(script))
