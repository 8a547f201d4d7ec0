"""What is left to do when the client in C has run the compiler (client.c) and can't go on.

    python -IS client.py PACKAGES WHAT STATUS WITH

WHAT is ``rewrite`` for the object WITH that nobody has rewritten, ``missing`` for one that the
compiler should have made, ``say`` for lines of the server's that hold more than plain text.  STATUS
is the compiler's.  The signals that end a build come blocked, so that none is lost on the way.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys


def main() -> int:
    """Go on; returns the exit status, the compiler's where all is well."""
    packages, what, status, subject = sys.argv[1:]
    sys.path[:0] = packages.split(os.pathsep)
    from nopfix.rewriter.build import wrapper

    if what == "say":
        from nopfix.rewriter.errors import complain

        for line in subject.split("\n"):
            complain(line)
        return int(status)
    written, missing = ([subject], []) if what == "rewrite" else ([], [subject])
    try:
        wrapper.catch_signals()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, wrapper.ENDING)
        return wrapper.complete(written, missing, wrapper.load_rewriter(), int(status))
    except wrapper.Interrupted as interrupted:
        wrapper.remove(written)
        wrapper.die(interrupted.number)
        return 128 + interrupted.number


if __name__ == "__main__":
    outcome = main()
    sys.stdout.flush()
    os._exit(outcome)
