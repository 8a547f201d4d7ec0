"""The .dwo files that go with an object: found where the object says that they are.

With -gsplit-dwarf most of the debug information lies in files of its own, and the object holds
skeleton units that name them.  A name is that which the compiler was given; objects get moved, so
the file is looked for beside the object, under the name in the skeleton and under the object's own.

Source: DWARF 5, sections 3.1.2 (DW_AT_dwo_name) and 7.3.2; GCC's -gsplit-dwarf.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def beside(path: str, data: bytes, allow: Collection[str] = ()) -> dict[str, bytes]:
    """The bytes of the .dwo files of the object ``data`` at ``path``, by file name.

    Files that aren't there are left out; whoever rewrites the object refuses it then.  ``allow`` is
    that of `Options`.  Raises `Refusal` for an object that can't be read and OSError for a file
    that can't.
    """
    if b".dwo" not in data:
        return {}
    import os

    from nopfix.dwarf import debug
    from nopfix.dwarf.errors import Unsupported
    from nopfix.rewriter.object import compressed, debug_sections, elf

    obj = elf.read(data)
    compressed.check(obj, allow)
    try:
        names = debug.split_names(debug_sections.debug(obj))
    except Unsupported:
        # Rewriting says what is wrong, and where.
        return {}
    folder = os.path.dirname(path)
    found = {}
    for split in names:
        own = os.path.splitext(path)[0] + ".dwo"
        for name in (os.path.join(folder, os.path.basename(split.name)), own):
            if os.path.isfile(name):
                with open(name, "rb") as file:
                    found[name] = file.read()
                break
    return found
