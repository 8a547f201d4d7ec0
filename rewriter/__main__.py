"""``nopfix`` and ``python -m nopfix.rewriter``: the command in a process of its own."""

from __future__ import annotations

from nopfix.rewriter.build import start


def main() -> int:
    """Run the command; returns the exit status."""
    start.prepare()
    try:
        from nopfix.rewriter import command
    except Exception as error:  # half of an installation
        from nopfix.rewriter.errors import INTERNAL_ERROR, complain, internal_error

        complain(internal_error(error))
        return INTERNAL_ERROR
    return command.main()


if __name__ == "__main__":
    raise SystemExit(main())
