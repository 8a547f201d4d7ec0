"""Insert TOC-restore slots into finished ppc64le objects, as the assembler would have done it.

    >>> import nopfix
    >>> result = nopfix.rewrite(open("in.o", "rb").read())
    >>> open("out.o", "wb").write(result.data)

`rewrite` takes the object's bytes, `Options`, and optionally the insertion points; it returns a
`Result` with the new bytes and the report, or raises `Refusal`.  A second opinion on what came of
it is in `nopfix.verifier`, debug sections under a map of one's own are `nopfix.dwarf`'s.

The names are imported when they are first used (PEP 562): the compiler wrapper, which is part of
this package, starts the compiler before it loads the rewriter.

Each package lies in a folder of its own at the top of the sources.  The links beside this file lead
there, so that a checkout can be imported as it is; what is installed has the folders themselves.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to import than the interpreter takes to start
if TYPE_CHECKING:
    from nopfix.rewriter.errors import Refusal
    from nopfix.rewriter.options import Insertion, Options, Report, Result
    from nopfix.rewriter.pipeline import rewrite

__all__ = ["Insertion", "Options", "Refusal", "Report", "Result", "__version__", "rewrite"]

__version__ = "0.1.0"
"""The one place that says so: the package, `nopfix --version` and reports take it from here."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import one of the package's public names."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        homes = {"Refusal": "nopfix.rewriter.errors", "rewrite": "nopfix.rewriter.pipeline"}
        return getattr(import_module(homes.get(name, "nopfix.rewriter.options")), name)
