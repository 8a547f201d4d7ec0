"""``nopfix`` and ``python -m rewriter``: the command in a process of its own.

The process ends with the rewrite, so it does without what only long ones need: `typing`, which
takes longer to import than the rewriter (`light_typing`), and the search for reference cycles, of
which a rewrite makes none worth collecting.
"""

from __future__ import annotations

import gc

from rewriter import light_typing


def main() -> int:
    """Run the command; returns the exit status."""
    gc.disable()
    light_typing.install()
    try:
        from rewriter import command
    except Exception as error:  # half of an installation
        from rewriter.errors import INTERNAL_ERROR, complain, internal_error

        complain(internal_error(error))
        return INTERNAL_ERROR
    return command.main()


if __name__ == "__main__":
    raise SystemExit(main())
