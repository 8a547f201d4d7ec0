"""Rewrite finished ppc64le objects so that every call has its TOC-restore slot.

    >>> import rewriter
    >>> result = rewriter.rewrite(open("in.o", "rb").read())
    >>> open("out.o", "wb").write(result.data)

`rewrite` takes the object's bytes, `Options`, and optionally the insertion points; it returns a
`Result` with the new bytes and the report, or raises `Refusal`.

The names are imported when they are first used (PEP 562): the compiler wrapper, which is part of
this package, starts the compiler before it loads the rewriter.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to import than the interpreter takes to start
if TYPE_CHECKING:
    from rewriter.errors import Refusal
    from rewriter.options import Insertion, Options, Report, Result
    from rewriter.pipeline import rewrite

__all__ = ["Insertion", "Options", "Refusal", "Report", "Result", "__version__", "rewrite"]

__version__ = "0.1.0"
"""The one place that says so: the package, `nopfix --version` and reports take it from here."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import one of the package's public names."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        homes = {"Refusal": "rewriter.errors", "rewrite": "rewriter.pipeline"}
        return getattr(import_module(homes.get(name, "rewriter.options")), name)
