"""The text of an instruction word: capstone's, or the word itself where there is no capstone."""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def disassembler() -> Callable[[int, int], str]:
    """A function of an instruction word and its offset in bytes."""
    try:
        import capstone
    except ModuleNotFoundError:
        return as_word
    engine = capstone.Cs(capstone.CS_ARCH_PPC, capstone.CS_MODE_64 + capstone.CS_MODE_LITTLE_ENDIAN)

    def text(word: int, offset: int) -> str:
        for _, _, mnemonic, operands in engine.disasm_lite(word.to_bytes(4, "little"), offset, 1):
            return f"{mnemonic:8}{operands}".rstrip()
        return as_word(word, offset)

    return text


def as_word(word: int, offset: int) -> str:
    """The word as an assembler's directive."""
    return f".long   {word:#010x}"
