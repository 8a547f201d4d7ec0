"""``nopfix`` and ``python -m rewriter``: the command in a process of its own."""

from __future__ import annotations

from rewriter import start


def main() -> int:
    """Run the command; returns the exit status."""
    start.prepare()
    try:
        from rewriter import command
    except Exception as error:  # half of an installation
        from rewriter.errors import INTERNAL_ERROR, complain, internal_error

        complain(internal_error(error))
        return INTERNAL_ERROR
    return command.main()


if __name__ == "__main__":
    raise SystemExit(main())
