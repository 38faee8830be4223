"""The command line: the one place that looks at arguments, environment, clock and working directory.

Exit status: 0 done, 1 a bug (with its traceback) or a leak found by `audit`, 2 something the user can mend (one line,
nothing written).
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from eigenfolio.cli import data, jobs, judging, runs
from eigenfolio.cli.app import app
from eigenfolio.errors import EigenfolioError

__all__ = ["app", "data", "jobs", "judging", "main", "runs"]

UsageTrouble: Any = typer.BadParameter.__mro__[2]
"""What the parser raises for arguments it cannot read."""


def main() -> None:
    """Run the command line; errors a user can mend become one line and exit status 2."""
    try:
        raise SystemExit(app(standalone_mode=False) or 0)
    except EigenfolioError as error:
        message = " ".join(str(error).split())
        raise SystemExit(_complain(message, 2)) from None
    except UsageTrouble as error:
        raise SystemExit(_complain(f"{' '.join(error.format_message().split())} (see eigenfolio --help)", 2)) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(_complain("stopped; no run was written", 130)) from None


def _complain(message: str, status: int) -> int:
    print(f"eigenfolio: {message}", file=sys.stderr)
    return status


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Options that stand before a command."""
    if version:
        from eigenfolio import __version__

        print(__version__)
        raise typer.Exit
