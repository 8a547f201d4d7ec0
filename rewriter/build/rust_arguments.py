"""What rustc's arguments say: which objects come of them.

The problem: rustc is no C compiler, and there is no -c.  What it writes is what --emit lists, a
program or a library if there is none, each under a name of its own or of the crate's.

The rule: an object (``--emit=obj``) lies where its own path says, or -o where nothing else is
written, or else in the folder of --out-dir by the crate's name, which is the source's unless
--crate-name says another.  That it isn't there is an error, as where rustc divides a crate among
several objects (``-C codegen-units``).  What rustc links itself stays as it is: objects in
libraries of its own format.

Source: The rustc book, "Command-line Arguments" (--emit, -o, --out-dir) and "Codegen Options"
(extra-filename); Linux, scripts/Makefile.build, for how a kernel calls it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing imports re and enum: as long as the interpreter's own start
if TYPE_CHECKING:
    from collections.abc import Iterable

_EXTRA = "extra-filename="


def response_files(arguments: Iterable[str]) -> list[str]:
    """The arguments with every ``@file`` replaced by its lines."""
    expanded: list[str] = []
    for argument in arguments:
        if argument.startswith("@"):
            try:
                with open(argument[1:], encoding="utf-8") as file:
                    expanded += file.read().splitlines()
            except (OSError, ValueError):  # rustc says what is wrong
                expanded.append(argument)
        else:
            expanded.append(argument)
    return expanded


def plan(arguments: Iterable[str]) -> dict[str, bool]:
    """The paths of the objects that rustc will make of ``arguments``, each sure to come."""
    emitted: list[str] = []
    values = {"-o": "", "--out-dir": "", "--crate-name": ""}
    extra = source = ""
    following = iter(arguments)
    for argument in following:
        name, equals, value = argument.partition("=")
        if name in values or name == "--emit":
            value = value if equals else next(following, "")
            if name == "--emit":
                emitted += value.split(",")
            else:
                values[name] = value
        elif argument in ("-C", "--codegen"):
            extra = _extra(next(following, "")) or extra
        elif argument.startswith("-C"):
            extra = _extra(argument[2:]) or extra
        elif argument.endswith(".rs") and not argument.startswith("-"):
            source = argument
    crate = values["--crate-name"] or os.path.basename(source)[:-3]
    name = os.path.join(values["--out-dir"], f"{crate}{extra}.o")
    if values["-o"]:
        stem = os.path.splitext(values["-o"])[0]
        name = values["-o"] if len(emitted) == 1 else f"{stem}.o"
    objects = [kind for kind in emitted if kind.partition("=")[0] == "obj"]
    return {kind.partition("=")[2] or name: True for kind in objects}


def _extra(option: str) -> str:
    return option.removeprefix(_EXTRA) if option.startswith(_EXTRA) else ""
