"""``python -m windtunnel``: the command line."""

import signal
import sys
from typing import NoReturn

from windtunnel import _native


def main() -> NoReturn:
    """Runs the command line of this process and ends it with the command's exit code."""
    # Python's own handler only takes a note while native code works; Ctrl-C must end the command
    # at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_native.main(["windtunnel", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
