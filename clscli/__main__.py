"""The `clscli` command: what is expected to go wrong becomes one message and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys


def main() -> None:
    """Run the command line; see `clscli.cli` for what it consists of."""
    try:
        _run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    # Imported here, so that Ctrl-C during the imports ends in words, too.
    from clscli.cli import app
    from clscli.errors import ClscliError, EndedElsewhere

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A class name or a path may hold what the terminal cannot show; that must not stop a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except ClscliError as error:
        if not isinstance(error, EndedElsewhere):
            print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        if error.errno == errno.ENOSPC:
            print(f"cannot write the output: {error.strerror}", file=sys.stderr)
        # Nobody takes our output any more (`| head`, a full disk): nor may Python try it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
