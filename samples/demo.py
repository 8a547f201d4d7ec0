"""Run nopfix on the committed samples and show what changed, call by call.

Needs no compiler.  With capstone installed each call is shown as instructions, else as words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nopfix
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent


def main() -> int:
    """Show every sample."""
    disassemble = _disassembler()
    for path in sorted(FOLDER.glob("*.o")):
        _show(path, disassemble)
    return 0


def _show(path: Path, disassemble: Callable[[int, int], str]) -> None:
    old = path.read_bytes()
    result = nopfix.rewrite(old)
    report = result.report
    print(f"{path.name}: {len(report.insertions)} calls without a slot")
    before, after = elf.read(old), elf.read(result.data)
    numbers = {section.name: section.number for section in before.sections}
    for insertion in report.insertions:
        number = numbers[insertion.section]
        function, callee = insertion.function or "?", insertion.callee or "?"
        print(f"  {function} calls {callee}")
        rows = (
            (before, insertion.old_offset, "before"),
            (after, insertion.new_offset, "after"),
        )
        for obj, offset, label in rows:
            code = obj.contents(number)
            shown = "; ".join(
                disassemble(int.from_bytes(code[place : place + 4], "little"), place)
                for place in (offset - 4, offset)
                if place + 4 <= len(code)
            )
            print(f"    {label:6} {insertion.section}+{offset - 4:#06x}  {shown}")
    for table in report.tables:
        if table.kind == "switch table":
            print(
                f"  a {table.kind} of {table.size} bytes moved from "
                f"{table.section}+{table.old_offset:#x} to {table.new_offset:#x}, "
                "its entries with their targets"
            )
    for resized in report.resized:
        print(f"  {resized.section}: {resized.old_size} -> {resized.new_size} bytes")
    print()


def _disassembler() -> Callable[[int, int], str]:
    try:
        import capstone
    except ImportError:
        return lambda word, _: f".long {word:#010x}"
    mode = capstone.CS_MODE_64 | capstone.CS_MODE_LITTLE_ENDIAN
    decoder = capstone.Cs(capstone.CS_ARCH_PPC, mode)

    def disassemble(word: int, place: int) -> str:
        for found in decoder.disasm(word.to_bytes(4, "little"), place):
            return f"{found.mnemonic} {found.op_str}".strip()
        return f".long {word:#010x}"

    return disassemble


if __name__ == "__main__":
    raise SystemExit(main())
