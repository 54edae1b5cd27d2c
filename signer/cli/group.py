"""The root of the command: turns every exception into one clear line and an exit code; nobody sees a traceback."""

from __future__ import annotations

import traceback
from pathlib import Path

import click

from signer.cli.errors import CommandFailed
from signer.cli.options import wants_json

_INTERRUPTED = 130


# Known by the module's name: importing keystore here would bring in the whole server stack.
_ERROR_TREES = frozenset({"signer.errors", "keystore.errors", "verifier.errors", "signer.witness.errors"})


def _is_our_own(error: Exception) -> bool:
    return any(base.__module__ in _ERROR_TREES for base in type(error).__mro__)


def _described(error: Exception) -> CommandFailed:
    """Any other exception as a failure: those of the service's own error trees carry a code, a bug says where it is."""
    code = getattr(error, "code", None)
    if isinstance(code, str) and _is_our_own(error):
        field = getattr(error, "field", None)
        return CommandFailed(str(error), code=code, field=field if isinstance(field, str) else None)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return CommandFailed(f"{place}{error.strerror or error}", code="system_error")
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown place"
    # The exception's text may hold anything, a secret too; its type and place are enough to report the bug.
    return CommandFailed(f"this is a bug: {type(error).__name__} at {place}", code="internal_error")


class SealmarkGroup(click.Group):
    """The `sealmark` group."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not approved, 130 interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except (click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except click.ClickException as error:
            if isinstance(error, CommandFailed):
                error.as_json = wants_json(ctx)
            raise
        except Exception as error:
            failure = _described(error)
            failure.as_json = wants_json(ctx)
            raise failure from error
