"""Padding as assemblers and linkers write it.

The problem: where code is aligned, the bytes in front are nobody's: they may grow and shrink.  But
a nop of the programmer's looks the same.  The rule: padding is nops.  With gas the last one ends a
dispatch group where the processor has such a thing, and more than four are jumped over; LLVM's
assembler and ``ld -r`` write plain ones, however many.

Source: binutils, gas/config/tc-ppc.c (ppc_handle_align) and bfd/cpu-powerpc.c; LLVM,
lib/Target/PowerPC/MCTargetDesc/PPCAsmBackend.cpp (writeNopData).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.instruction import NOP

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG_PADDING = 16
"""Bytes of padding beyond which gas begins it with a branch."""


class Style(Record):
    """How padding is written: the word that ends it, and whether a long run is jumped over."""

    last: int
    jumps: bool


def fill(size: int, style: Style) -> bytes:
    """The padding that an assembler writes: ``size`` bytes of it in its ``style``."""
    count = size >> 2
    if not count:
        return b""
    words = [NOP] * count
    words[-1] = style.last
    if size > LONG_PADDING and style.jumps:
        words[0] = instruction.branch(size)
    return b"".join(word.to_bytes(4, "little") for word in words)


def fill_style(words: Sequence[int]) -> Style | None:
    """The style of padding that consists of ``words``, None if it isn't padding.

    Exactly what `fill` writes is padding, anything else might be code.  A run that is short enough
    counts as gas's, which would jump over a longer one.
    """
    if not words:
        return None
    *rest, last = words
    if last != NOP and last not in instruction.GROUP_ENDS:
        return None
    jumps = True
    if 4 * len(words) > LONG_PADDING:
        jumps = rest[0] == instruction.branch(4 * len(words))
        if jumps:
            del rest[0]
        elif last != NOP:
            return None
    return Style(last, jumps) if all(word == NOP for word in rest) else None


# Instructions that a processor before power9 doesn't have and compilers write for later ones, by
# primary opcode, each as (mask, value), and for primary opcode 31 by extended opcode.
_SINCE_POWER9 = {
    1: ((0xFC000000, 0x04000000),),  # prefixed
    4: ((0xFC00003E, 0x10000030), (0xFC00003F, 0x10000033)),  # maddhd, maddhdu; maddld
    6: ((0xFC00000E, 0x18000000),),  # lxvp, stxvp
    19: ((0xFC00003E, 0x4C000004),),  # addpcis
    57: ((0xFC000002, 0xE4000002),),  # lxsd, lxssp
    60: ((0xFC1807FE, 0xF00002D0),),  # xxspltib
    61: ((0xFC000003, 0xF4000001), (0xFC000002, 0xF4000002)),  # lxv, stxv; stxsd, stxssp
}
_EXTENDED_SINCE_POWER9 = frozenset(
    (
        *(128, 192, 224, 384, 416, 448, 480),  # setb, cmprb, cmpeqb, setbc and its kin
        *(155, 187, 219),  # brw, brd, brh
        *(265, 267, 777, 779),  # modud, moduw, modsd, modsw
        *(268, 396, 364),  # lxvx, stxvx, lxvwsx
        *(269, 301, 397, 429, 333, 461),  # lxvl, lxvll, stxvl, stxvll, lxvpx, stxvpx
        *(781, 813, 909, 941),  # lxsibzx, lxsihzx, stxsibx, stxsihx
        *(812, 876, 940, 1004),  # lxvh8x, lxvb16x, stxvh8x, stxvb16x
        *(307, 403, 435),  # mfvsrld, mtvsrws, mtvsrdd
        *(538, 570, 755, 890, 891),  # cnttzw, cnttzd, darn, extswsli
    )
)


def needs_power9(word: int) -> bool:
    """Whether ``word`` is an instruction that processors have from power9 on.

    For these the assembler ends padding with a plain no-op.  Source: Power ISA 3.0B and 3.1,
    appendix H (in 3.1 appendix F), "Power ISA Instruction Set Sorted by Opcode".
    """
    opcode = word >> 26
    if opcode == instruction.REGISTERS:
        return instruction.extended_opcode(word) in _EXTENDED_SINCE_POWER9
    return any(word & mask == value for mask, value in _SINCE_POWER9.get(opcode, ()))
