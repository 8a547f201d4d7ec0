"""``nopfix`` and ``python -m nopfix.rewriter``: the command in a process of its own."""

from __future__ import annotations

import sys

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.build import start

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> int:
    """Run the command; returns the exit status."""
    start.open_streams()
    start.prepare()
    try:
        from nopfix.rewriter import one_file, plain_form

        plain = plain_form.read(sys.argv[1:])
        if plain is not None:
            return one_file.guarded(plain)
        from nopfix.rewriter import command
    except Exception as error:  # half of an installation
        from nopfix.rewriter.errors import INTERNAL_ERROR, complain, internal_error

        complain(internal_error(error))
        return INTERNAL_ERROR
    return command.main()


def run() -> NoReturn:
    """`main`, for a process that is there for nothing else: it ends here."""
    start.end(main())


if __name__ == "__main__":
    run()
