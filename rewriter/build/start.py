"""How a process starts that ends with the rewrite of one object, some 40 ms later.

The problem: such processes start for every object of a kernel, so what an interpreter loads and
does for the sake of long-lived ones takes a good part of their time.

The rule: `typing` isn't imported (`dwarf.record`).  `array` asks for `collections.abc`, which is
the interpreter's own `_collections_abc` by another name, and would load all of `collections` for
it; so it is loaded here, and finds it at once.  The search for reference cycles is turned off: a
rewrite makes none worth collecting.
"""

from __future__ import annotations

import gc
import sys


def prepare() -> None:
    """Do what makes the imports that follow cheap; whatever is loaded already stays as it is."""
    gc.disable()
    if "collections" not in sys.modules:
        import _collections_abc

        names = "collections", "collections.abc"
        sys.modules.update(dict.fromkeys(names, _collections_abc))
        import array  # noqa: F401

        for name in names:
            del sys.modules[name]
