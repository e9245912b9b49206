"""The command line: thin, one file a verb. Results on stdout, progress on stderr, exit codes as the
documentation lists them."""

from __future__ import annotations

import io
import sys

import typer

from ..core.errors import INTERRUPTED, MachineError, PellucidError
from . import check, compare, evaluate, inspect, lab, predict, train, tune, weights

app = typer.Typer(
    name="pellucid",
    help="A glass-box toolkit for convolutional computer vision.",
    epilog="Exit codes: 0 ok, 1 findings, 2 usage, 3 data, 4 model, 6 non-finite loss, 7 machine "
    "(disk, memory), 130 interrupted. "
    "--debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (check, train, evaluate, predict, inspect, weights, lab, tune, compare):
    app.command(name=verb.__name__.rsplit(".", 1)[1])(verb.command)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    if version:
        from ..core.version import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Runs a verb; whatever goes wrong becomes one line on stderr and an exit code."""
    debug = "--debug" in sys.argv
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    # a name that the terminal cannot show is escaped, as it is on stderr
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # what the parser makes of Ctrl-C, without a word
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        code = _told(error)
    sys.exit(code)


def _told(error: BaseException) -> int:
    """Says in one line what went wrong; the exit code."""
    if (
        isinstance(error, MemoryError)
        or "allocate memory" in str(error)
        or "out of memory" in str(error)
    ):
        error = MachineError("the machine has too little memory for this; lower --batch or --size")
    if isinstance(error, PellucidError):
        message, code = str(error), error.code
    elif isinstance(error, KeyboardInterrupt | typer.Abort):
        message, code = "interrupted", INTERRUPTED
    elif isinstance(error, OSError):
        message, code = (
            f"{error.filename or 'this machine'}: {error.strerror or error}",
            MachineError.code,
        )
    elif hasattr(error, "format_message"):
        # the command-line parser's own: an unknown option, a missing argument
        message, code = error.format_message(), getattr(error, "exit_code", 2)
    else:
        message, code = (
            f"{type(error).__name__}: {error} (this is a bug in Pellucid; --debug shows where)",
            1,
        )
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
