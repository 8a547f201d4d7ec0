"""The zstd library: Python's own since 3.14, before that its backport, if it is installed."""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

MISSING = "compressed with zstd, and no library for it is installed"
INSTALL = "pip install 'nopfix[zstd]'"


def library() -> ModuleType | None:
    """The module with `ZstdDecompressor` and `compress`, None where there is none."""
    from importlib import import_module

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
