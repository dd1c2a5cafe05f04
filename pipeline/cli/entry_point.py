"""The console script: signals and errors become one line and an exit code.

Only the standard library and the errors are imported before the signals are handled, so that an
interrupt at any moment ends with one word instead of a traceback.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from pipeline.settings.errors import ExitCode, PipelineError
from serving import program
from serving.errors import ServingError


def main() -> None:
    """Runs the command in `sys.argv`, and ends the process."""
    program.collect_less_often()
    is_interrupted = False

    def interrupt(*_: object) -> NoReturn:
        nonlocal is_interrupted
        is_interrupted = True
        raise KeyboardInterrupt

    # SIGTERM as Ctrl-C, so that child processes are stopped on the way out.
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background jobs ignore it
        signal.signal(signal.SIGINT, interrupt)
    try:
        from pipeline.cli.main import app

        app()
    except (PipelineError, ServingError) as error:
        print(f"mnist-tfx: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", ExitCode.FAILED))
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:  # typer converts KeyboardInterrupt to this
            _end_interrupted()
        raise
    except KeyboardInterrupt:
        _end_interrupted()
    except Exception as error:
        if is_interrupted:  # some libraries convert KeyboardInterrupt to an error of their own
            _end_interrupted()
        print(
            f"mnist-tfx: unexpected error: {error} (details: {_save_traceback()})", file=sys.stderr
        )
        sys.exit(ExitCode.FAILED)


def _end_interrupted() -> NoReturn:
    print("mnist-tfx: interrupted.", file=sys.stderr)
    sys.exit(ExitCode.INTERRUPTED)


def _save_traceback() -> str:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="mnist-tfx-", suffix=".txt", delete=False
    ) as details:
        traceback.print_exc(file=details)
    return details.name
