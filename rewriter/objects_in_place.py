"""Rewrite the objects that a compiler has just made, in place.

The half of the compiler wrapper that runs once the compiler is done: which objects are ours, which
are on the skip list, and what to say of the ones that can't be rewritten.

The rule for what isn't ours: a file that isn't a relocatable 64-bit little-endian PowerPC object of
the ELFv2 ABI stays as it is.  One exception: intermediate code that becomes machine code only at
link time (LLVM bitcode; GCC's the rewriter refuses itself) would end up without slots, so it is
refused rather than passed over.

Source: System V gABI, chapter 4 (ELF header); 64-bit ELFv2 ABI, 3.1 (e_flags); LLVM's
docs/BitCodeFormat.rst (magic number).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rewriter import output, pipeline, split_dwarf
from rewriter.errors import Refusal
from rewriter.options import Options
from rewriter.wrapper import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SKIPPED = (
    "arch/powerpc/boot/*",
    "arch/powerpc/kernel/prom_init.o",
    "arch/powerpc/kernel/vdso*/*",
    "arch/powerpc/purgatory/*",
)
"""Parts of the kernel that no livepatch touches, and that kpatch skips too."""

_BITCODE = b"BC\xc0\xde"
_ELF64_LITTLE = b"\x7fELF\x02\x01"


def rewrite(path: str, wanted: Callable[[bytes], bool] | None = None) -> bool:
    """Give the object ``path`` its slots, atomically.

    Files that aren't ours, are on the skip list or aren't ``wanted`` (None: all are) stay as they
    are.  Returns False, having said why, when the object needs slots and can't have them.
    """
    if not os.path.isfile(path) or skips(path, os.environ.get("NOPFIX_SKIP")):
        return True
    try:
        _rewrite(path, wanted)
    except Refusal as refusal:
        refusal.file = refusal.file or path
        complain(str(refusal))
    except OSError as error:
        complain(f"{path}: {error.strerror or error}")
    except MemoryError:
        complain(f"{path}: out of memory")
    except Exception as error:
        if os.environ.get("NOPFIX_DEBUG"):
            raise
        complain(
            f"{path}: internal error, {type(error).__name__}: {error}; please report it with"
            " this object"
        )
    else:
        return True
    return False


def _rewrite(path: str, wanted: Callable[[bytes], bool] | None) -> None:
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_BITCODE):
        raise Refusal(
            "LLVM bitcode, whose code is made by the linker",
            remedy="compile without -flto, or put the file on $NOPFIX_SKIP",
        )
    if not is_ours(data) or (wanted is not None and not wanted(data)):
        return
    _report_sibling_calls(path, data)
    result = pipeline.rewrite(data, Options(dwo=split_dwarf.beside(path, data)))
    for name, contents in result.dwo.items():
        output.replace(name, contents, os.stat(name).st_mode, durable=False)
    if result.data != data:
        output.replace(path, result.data, os.stat(path).st_mode, durable=False)


def is_ours(data: bytes) -> bool:
    """Whether ``data`` is a relocatable 64-bit little-endian PowerPC object, not of ELFv1."""
    if not data.startswith(_ELF64_LITTLE) or len(data) < 64:
        return False
    kind = int.from_bytes(data[16:18], "little")
    machine = int.from_bytes(data[18:20], "little")
    flags = int.from_bytes(data[48:52], "little")
    # Without a word in e_flags it is function descriptors that tell ELFv1 from ELFv2.
    elfv1 = flags & 3 == 1 or (flags & 3 == 0 and b".opd\0" in data)
    return kind == 1 and machine == 21 and not elfv1


def _report_sibling_calls(path: str, data: bytes) -> None:
    choice = os.environ.get("NOPFIX_SIBLING_CALLS", "ignore")
    if choice not in ("warn", "error"):
        return
    from rewriter import sibling_calls

    lines = sibling_calls.describe(data)
    if lines and choice == "error":
        raise Refusal(lines[0], remedy="compile with -fno-optimize-sibling-calls")
    for line in lines:
        complain(f"{path}: warning: {line}")


def skips(path: str, patterns: str | None) -> bool:
    """Whether the object ``path`` is on the skip list.

    ``patterns`` is the value of $NOPFIX_SKIP: patterns separated by colons, in which ``*`` stands
    for any characters, slashes included, and an empty one for the default list.  None means the
    default list.  A pattern may begin at any folder of the path.
    """
    for pattern in _skip_patterns(patterns):
        start = 0
        while True:
            if _matches(path[start:], pattern):
                return True
            start = path.find("/", start) + 1
            if not start:
                break
    return False


def _skip_patterns(patterns: str | None) -> Iterator[str]:
    for pattern in "" if patterns is None else patterns.split(":"):
        if pattern:
            yield pattern
        else:
            yield from SKIPPED
    if not patterns:
        yield from SKIPPED


def _matches(text: str, pattern: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    text = text[len(first) :]
    for piece in rest[:-1]:
        at = text.find(piece)
        if at < 0:
            return False
        text = text[at + len(piece) :]
    return text.endswith(rest[-1])
