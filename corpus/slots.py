"""Count the calls without a TOC-restore slot in an object, as objdump disassembles it.

This is the check that the mission comes down to, so it shares nothing with the rewriter or with
the assembly editor: it reads the text that ``objdump -drz`` prints.  A ``bl`` lacks its slot when
the instruction after it, in the same function, is neither ``nop`` nor ``ld r2,24(r1)`` nor one of
the no-operations of old compilers; ``arch/powerpc/kernel/module_64.c`` (``restore_r2``) refuses to
load a module with such a call.

objdump disassembles data in code too.  A traceback table begins with a zero word behind a
function's last instruction, and the words after it, up to the next function, may look like any
instruction; they are left out.  (A zero word is also what a relocated doubleword of a switch table
looks like, and what musl stops a program with: behind an instruction that goes on, or in front of
what a branch of the function leads to.)

    python -m nopfix.corpus.slots FILE.o ...

lists the calls and exits with 1 if there are any.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import chroot
from nopfix.corpus.toolchain import binutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What is called with ``bl`` and takes no slot: the kernel's profiling hooks; the register savers
#: of -Os; ``__morestack`` of -fsplit-stack, which goes on behind the ``blr`` that follows.
_EXEMPT = re.compile(
    r"_mcount$|ftrace_(regs_)?caller$|_(save|rest)gpr[01]_|_(save|rest)(fpr|vr)_"
    r"|__morestack(_non_split)?$"
)
_SECTION = re.compile(r"Disassembly of section (.*):$")
_FUNCTION = re.compile(r"[0-9a-f]+ <(.*)>:$")
_INSTRUCTION = re.compile(r" *([0-9a-f]+):\t(?:[0-9a-f]{2} )+\t?(.*)$")
_RELOCATION = re.compile(r"\s+([0-9a-f]+): (R_PPC64_\w+)\t(\S+)")
#: A branch within the function, and where it leads.
_BRANCH = re.compile(r"b(?!l )[a-z]*[+-]? (?:.*,)?([0-9a-f]+) <")
#: What a function may end with: a branch, a call that doesn't come back and its slot, a trap.
_MAY_END = re.compile(r"b |bl |blr|bctr|nop|trap|t[wd]|\.long")
_SLOTS = frozenset({"nop", "ld r2,24(r1)", "cror 4*cr3+so,4*cr3+so,4*cr3+so", "cror 31,31,31"})


class Unreadable(Exception):
    """objdump can't read an object (an old one, sections compressed by a newer assembler)."""


class Call(NamedTuple):
    """A ``bl`` without slot: where it is (`offset` in bytes into `section`) and what it calls."""

    section: str
    function: str
    offset: int
    callee: str


class _Line(NamedTuple):
    """One disassembled word with its relocation, if it has one."""

    offset: int
    text: str
    relocation: str
    symbol: str


def _functions(lines: Iterable[str]) -> Iterator[tuple[str, str, list[_Line]]]:
    """Group objdump's lines by function: (section, function, its words)."""
    section = function = ""
    words: list[_Line] = []
    for line in lines:
        if instruction := _INSTRUCTION.match(line):
            text = " ".join(instruction.group(2).split())
            words.append(_Line(int(instruction.group(1), 16), text, "", ""))
        elif words and (relocation := _RELOCATION.match(line)):
            kind, symbol = relocation.group(2), relocation.group(3)
            words[-1] = words[-1]._replace(relocation=kind, symbol=symbol)
        elif (named := _FUNCTION.match(line)) or (opened := _SECTION.match(line)):
            if words:
                yield section, function, words
                words = []
            if named:
                function = named.group(1)
            elif opened:
                section = opened.group(1)
    if words:
        yield section, function, words


def _lacking(section: str, function: str, words: list[_Line]) -> Iterator[Call]:
    farthest = -1
    for index, word in enumerate(words):
        if branch := _BRANCH.match(word.text):
            farthest = max(farthest, int(branch.group(1), 16))
        if word.text == ".long 0x0" and not word.relocation and farthest < word.offset:
            before = words[index - 1] if index else word
            if _MAY_END.match(before.text) and not before.relocation.endswith("64"):
                return
        if not word.text.startswith("bl ") or word.relocation == "R_PPC64_REL24_NOTOC":
            continue
        if not word.relocation and int(word.text.split()[1], 16) == word.offset + 4:
            continue  # reads the program counter
        if not word.relocation and _reads_return_address(word, words):
            continue
        callee = word.symbol or word.text.split("<")[-1].rstrip(">")
        following = words[index + 1] if index + 1 < len(words) else None
        if following and following.text in _SLOTS and not following.relocation:
            continue
        if not _EXEMPT.match(callee.removeprefix(".")):
            yield Call(section, function, word.offset, callee)


def _reads_return_address(call: _Line, words: list[_Line]) -> bool:
    """Whether a call within a function only leads over words, whose address its target reads."""
    target = int(call.text.split()[1], 16)
    entries = {words[0].offset}
    if words[0].text.split(",")[0].endswith(" r2"):
        entries.add(words[0].offset + 8)  # the local entry, behind what sets up r2
    return target not in entries and any(
        word.offset == target and word.text.startswith("mflr ") for word in words
    )


def calls_without_slot(path: Path, root: str = "") -> list[Call]:
    """Return every call in the object at `path` that lacks its slot, as the objdump of `root` sees
    it.

    Raises Unreadable where objdump can't read it, ToolError where there is none.
    """
    command = [binutil("objdump", root), "-drz", str(path)]
    done = subprocess.run(chroot.inside(root, command), capture_output=True, check=False)
    if done.returncode:
        raise Unreadable(done.stderr.decode("utf-8", "replace").strip() or f"{command[0]} failed")
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [
        call
        for section, function, words in _functions(lines)
        for call in _lacking(section, function, words)
    ]


def main(arguments: list[str] | None = None) -> int:
    """List the calls without a slot in each object named; return 1 if there are any."""
    total = 0
    for name in sys.argv[1:] if arguments is None else arguments:
        calls = calls_without_slot(Path(name))
        total += len(calls)
        for call in calls:
            print(f"{name}: {call.section}+{call.offset:#x} in {call.function}: bl {call.callee}")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
