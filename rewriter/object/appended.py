"""What lies behind the last section of a file: a kernel module's signature, or nobody knows what.

The problem: no header leads to these bytes, so a new file that is made of its sections loses them.
The rule: a signature is of the bytes in front of it and can't be kept over a change; it is dropped,
the caller is told (`is_signed`), and the module has to be signed again.  Null bytes are padding.
Anything else may be what another program looks for at the file's end, and is refused.

Source: Linux, include/linux/module_signature.h and scripts/sign-file.c (signature, struct
module_signature, MODULE_SIG_STRING), kernel/module/signing.c (`mod_verify_sig`).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = b"~Module signature appended~\n"


def is_signed(data: bytes | memoryview) -> bool:
    """Whether the kernel takes the end of ``data`` for a module's signature."""
    return bytes(data[-len(_MARK) :]) == _MARK


def check(obj: elf.Object) -> None:
    """Raise `Refusal` where something lies behind the last section that nobody knows."""
    if is_signed(obj.data):
        return
    end = max([_table_end(obj), *_ends(obj.sections)])
    if any(obj.data[end:]):
        raise Refusal(
            f"{len(obj.data) - end} bytes behind the last section that belong to none",
            remedy=f"cut them off first: truncate -s {end}",
        )


def _table_end(obj: elf.Object) -> int:
    return int.from_bytes(obj.data[40:48], "little") + 64 * len(obj.sections)


def _ends(sections: Sequence[elf.Section]) -> list[int]:
    empty = (elf.SHT_NULL, elf.SHT_NOBITS)
    return [section.offset + section.size for section in sections if section.type not in empty]
