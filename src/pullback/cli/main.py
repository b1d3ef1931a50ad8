"""``pullback``: the commands, and how their errors are shown."""

from __future__ import annotations

import sys
from typing import Annotated

from pullback import __version__
from pullback.errors import ArgumentError, DataError, PullbackError

try:
    import typer
except ModuleNotFoundError:
    sys.exit("error: the command line needs typer\n  Fix: pip install 'pullback[train]'")

from pullback.cli.doctor import doctor
from pullback.cli.explain import explain
from pullback.cli.memory import memory
from pullback.cli.predict import predict
from pullback.cli.train import train

__all__ = ["app", "main"]

BAD_INPUT = 2  # the exit code of wrong options, too
FAILED = 1

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(predict)
app.command()(explain)
app.command()(doctor)
app.command()(memory)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pullback {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Backpropagation for NumPy programs."""


def main() -> None:
    """Run a command. Errors are printed without a traceback: exit code 2 for bad input, else 1."""
    try:
        app(prog_name="pullback")
    except PullbackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT if isinstance(error, ArgumentError | DataError) else FAILED)
    except ModuleNotFoundError as error:
        print(
            f"error: this command needs {error.name}, which is not installed\n"
            "  Fix: pip install 'pullback[compile,train]'",
            file=sys.stderr,
        )
        sys.exit(FAILED)
