"""`sensorium`: the commands put together, and the one place where errors become lines and exit codes.

0: done. 1: a check found faults. 2: something the user can mend, in one line on standard error. 130: Ctrl-C. A
programming error keeps its traceback.
"""

from __future__ import annotations

import errno
import io
import sys
from typing import Annotated

import typer

from sensorium import __version__
from sensorium.cli import data, export, parts, score
from sensorium.cli.chat import chat
from sensorium.cli.compare import compare
from sensorium.cli.compare_methods import compare_methods
from sensorium.cli.correct import correct
from sensorium.cli.evaluate import evaluate
from sensorium.cli.info import info
from sensorium.cli.report import report
from sensorium.cli.rescore import rescore
from sensorium.cli.serve import serve
from sensorium.cli.terminal import error_line, note
from sensorium.cli.train import train
from sensorium.errors import SensoriumError

_SETTINGS = {"help_option_names": ["-h", "--help"]}
# A disk may fill up anywhere, and is the user's to mend wherever it does. EFBIG: a limit on the size of files.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Plain help rather than rich's panels: examples keep their lines, brackets stay brackets, and it appears at once.
app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)
app.command()(chat)
app.command()(compare)
app.command()(compare_methods)
app.command()(correct)
app.command()(evaluate)
app.command()(info)
app.command()(report)
app.command()(rescore)
app.command()(serve)
app.command()(train)
app.add_typer(data.app, name="data")
app.add_typer(export.app, name="export")
app.add_typer(parts.app, name="parts")
app.add_typer(score.app, name="score")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sensorium {__version__}")
        raise typer.Exit


@app.callback()
def sensorium(
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """Build, train and talk with language models that see.

    \b
    Begin here:
      sensorium chat --image photo.jpg --question "What is in the picture?"
      sensorium chat                      an interactive chat
      sensorium info                      what the default model is made of
      sensorium COMMAND --help            what a command does, with examples
    """


def run() -> None:
    """The `sensorium` script."""
    # A terminal that knows few characters shows `?` for the others; that is better than no answer.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except SensoriumError as error:
        note(error_line(error))
        sys.exit(2)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        note(f"error: {error.filename or 'output'}: cannot be written ({error.strerror}). Free some space.")
        sys.exit(2)
