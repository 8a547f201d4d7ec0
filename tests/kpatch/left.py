"""Code that nopfix can't follow and leaves as compiled: what becomes of a live patch of it.

``--leave-unproved`` promises that such a patch is refused.  So, for each kind of code that may be
left, create-diff-object makes a patch of a change to a function of that kind, and its relocations
are read as Linux's module loader reads them: a call of a symbol of the kernel's (SHN_LIVEPATCH)
goes through a stub, whatever stands around it, and where no no-op stands behind the call the loader
says "Expected nop after call" and refuses the module with ENOEXEC.

Source: Linux, arch/powerpc/kernel/module_64.c (apply_relocate_add, restore_r2); kpatch-build,
kpatch-intermediate.h (struct kpatch_relocation).
"""

from __future__ import annotations

import re
import shutil
import struct
from typing import TYPE_CHECKING

import nopfix
from nopfix.rewriter.object import elf
from nopfix.rewriter.options import Options
from nopfix.rewriter.power.instruction import NOP
from nopfix.rewriter.power.relocation import REL24
from tests.kernel.kernel_test import PREFIX, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kpatch.root import Root

FLAGS = [
    *("-O2", "-fno-strict-aliasing", "-mno-pointers-to-nested-functions", "-mcmodel=large"),
    *("-mtraceback=no", "-fno-asynchronous-unwind-tables", "-pg", "-mprofile-kernel"),
    *("-ffunction-sections", "-fdata-sections"),
]
"""What Linux and kpatch-build compile with, as far as it matters here."""

_SOURCE = """\
extern int outside(int);
extern const long distances[];
extern void *const places[];
extern void *where;
static __attribute__((noinline)) int helper(int v) { return outside(v) + 1; }
static __attribute__((noinline)) int changed(int v) {
  v = helper(v) * helper(v + 1);
  KIND
  return v + NUMBER;
}
int other(int v) { return helper(v) * helper(v + 2); }
int user(int v) { return changed(v) + helper(v); }
"""
_JUMP = (
    " addis 9,2,9b@toc@ha\\n addi 9,9,9b@toc@l\\n rldic 10,%0,2,61\\n lwax 10,9,10\\n"
    " add 10,10,8\\n mtctr 10\\n bctr\\n"
)
KINDS = {
    "a computed target": (
        'asm volatile("bcl 20,31,0f\\n0: mflr 9\\n addi 9,9,16\\n mtctr 9\\n bctr\\n"'
        ' ::: "9", "ctr", "lr");'
    ),
    "a computed target in LR": (
        'asm volatile("bcl 20,31,0f\\n0: mflr 9\\n addi 9,9,16\\n mtlr 9\\n blr\\n" ::: "9", "lr");'
    ),
    "a target in TAR": (
        'asm volatile("bcl 20,31,0f\\n0: mflr 9\\n addi 9,9,16\\n mtspr 815,9\\n .long 0x4e800460"'
        ' ::: "9", "lr");'
    ),
    "a label plus a distance from memory": (
        "goto *(&&one + distances[v & 1]); one: v++; goto three; two: v *= helper(v); three:"
        " where = &&two;"
    ),
    "labels from memory, and one plus a distance": (
        "where = &&one + distances[v & 1]; goto *places[v & 7]; one: v++; goto three;"
        " two: v *= helper(v); where = &&two; three:;"
    ),
    "data beside what looks like a branch": (
        'asm volatile("b 0f\\n .long 1\\n .long 0x48f00000\\n0:");'
    ),
    "a table of distances from two labels": (
        'asm volatile(".section .rodata.two, \\"a\\"\\n9: .long 2f-1f, 2f-1f\\n .previous\\n'
        " bcl 20,31,1f\\n1: mflr 8\\n"
        + _JUMP
        + "2: bcl 20,31,3f\\n3: mflr 8\\n"
        + _JUMP
        + '" :: "r"(v) : "8", "9", "10", "ctr", "lr");'
    ),
    "a prefix at the end": (
        'goto *places[v & 7]; one: v++; asm volatile(".subsection 1\\n .long 0x06000000\\n'
        ' .subsection 0"); two: where = v & 4 ? &&one : &&two;'
    ),
}
"""C statements by what nopfix can't follow in them; see `source`."""


def source(kind: str, number: int) -> str:
    """A file whose function ``changed`` has code of that kind, and is another for each number."""
    return _SOURCE.replace("KIND", KINDS[kind]).replace("NUMBER", str(number))


# -- what becomes of a live patch ------------------------------------------------------------------

_EXPORTED = ("outside", "places", "where", "distances", "_mcount")
_DYNAMIC = struct.Struct("<QIiqQQ")  # dest, type, external and padding, addend, objname, ksym


def check(root: Root, count: Callable[[bool, str], None]) -> None:
    """Have create-diff-object make a patch of each kind; ``count`` hears what holds."""
    for number, kind in enumerate(KINDS):
        folder = root.work / "left" / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = folder / "log"
        for name in ("orig", "patched"):
            _compile(folder / name, source(kind, len(name)), log)
        _describe_kernel(folder, log)
        words = ("orig/f.o", "patched/f.o", "vmlinux", "symtab", "symvers", "livepatch", "output.o")
        status = root.status(
            *("/usr/lib/kpatch/create-diff-object", "-d", *words),
            log=log, cwd=folder, environment={}, path=(),
        )  # fmt: skip
        if status:
            count(True, f"left: {kind}: refused by create-diff-object")
            continue
        refused = _calls_without_slot((folder / "output.o").read_bytes())
        count(bool(refused), f"left: {kind}: {len(refused)} calls that the kernel refuses")


def _compile(folder: Path, text: str, log: Path) -> None:
    """An object as nopfix leaves it.  Raises Failure, and AssertionError where nothing is left."""
    folder.mkdir()
    (folder / "f.c").write_text(text)
    run(PREFIX + "gcc", *FLAGS, "-c", folder / "f.c", "-o", folder / "f.o", log=log)
    result = nopfix.rewrite((folder / "f.o").read_bytes(), Options(leave_unproved=True))
    assert [left.function for left in result.report.left] == ["changed"]
    (folder / "f.o").write_bytes(result.data)


def _describe_kernel(folder: Path, log: Path) -> None:
    """The symbols of a kernel that the original object was linked into, and what it exports."""
    table = folder / "symtab"
    run(PREFIX + "readelf", "-s", "--wide", folder / "orig/f.o", log=table)
    table.write_text(re.sub(r"\s+\[<localentry>: 8\]", "", table.read_text()))
    lines = [f"0x0\t{name}\tvmlinux\tEXPORT_SYMBOL\t\n" for name in _EXPORTED]
    (folder / "symvers").write_text("".join(lines))


def _calls_without_slot(data: bytes) -> list[int]:
    """The places in create-diff-object's output of calls of the kernel's that have no slot."""
    obj = elf.read(data)
    numbers = {section.name: section.number for section in obj.sections}
    number = numbers[".kpatch.relocations"]
    relocations = obj.relocations[number]
    fields = zip(relocations.places, relocations.symbols, relocations.addends, strict=True)
    where = {
        place: (obj.symbols.sections[symbol], obj.symbols.values[symbol] + addend)
        for place, symbol, addend in fields
    }
    found = []
    for index, entry in enumerate(_DYNAMIC.iter_unpack(obj.contents(number))):
        if entry[1] == REL24:
            section, place = where[index * _DYNAMIC.size]
            behind = bytes(obj.contents(section)[place + 4 : place + 8])
            if int.from_bytes(behind, "little") != NOP:
                found.append(place)
    return found
