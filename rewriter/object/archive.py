"""Archives (libfoo.a, libfoo.rlib): each member that is an object of ours is rewritten.

The problem: members lie one behind the other, and the archive's symbol index says by file offset
which member defines which symbol, so a member that grows makes the index wrong for all behind it.
The rule: members keep their order, headers and names, which may repeat; those that aren't ours stay
byte for byte; only sizes and the offsets of the index are made anew.  A rewrite changes no symbol's
name or binding, so which symbols the index has stays as its writer chose.

A thin archive holds names of files only and BSD's index is another format: refused by name.

Source: ar(5); System V gABI, chapter 7 ("Archive File"), with GNU's long names ("//") and 64-bit
index ("/SYM64/"); LLVM, lib/Object/Archive.cpp.
"""

from __future__ import annotations

import struct

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object.magic import is_bitcode, is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC, THIN = b"!<arch>\n", b"!<thin>\n"
_HEADER = 60
_SIZE = slice(48, 58)
_END_OF_HEADER = b"`\n"
_INDEX = {b"/": ">I", b"/SYM64/": ">Q"}
"""The names of the index members, with the form of the numbers in them."""
_LONG_NAMES = b"//"
_BSD_NAME = b"#1/"
_BSD_INDEX = b"__.SYMDEF"

_BROKEN = "the archive is truncated or inconsistent; build it again"


class Member(Record):
    """A member: where its header begins, its name, and the bytes in front of its contents.

    ``head`` is the header and, in BSD's form, the name behind it, which its size covers.
    """

    start: int
    name: str
    head: bytes
    data: bytes


def read(data: bytes) -> list[Member]:
    """The members of an archive in file order, index and table of names among them.

    Raises `Refusal` for a thin archive and for one that contradicts itself.
    """
    if data.startswith(THIN):
        raise Refusal(
            "a thin archive, which holds only the names of its members",
            remedy="rewrite the members themselves",
        )
    members: list[Member] = []
    names = b""
    at = len(MAGIC)
    while at < len(data):
        header = data[at : at + _HEADER]
        digits = header[_SIZE].strip()
        if len(header) < _HEADER or header[58:] != _END_OF_HEADER or not digits.isdigit():
            raise Refusal(f"no member's header at {at:#x}", remedy=_BROKEN)
        end = at + _HEADER + int(digits)
        if end > len(data):
            raise Refusal(f"the member at {at:#x} ends outside the file", remedy=_BROKEN)
        field = header[:16].rstrip(b" ")
        head = _HEADER
        if field.startswith(_BSD_NAME) and field[3:].isdigit():
            head += int(field[3:])
            field = data[at + _HEADER : at + head].rstrip(b"\0")
        if field.startswith(_BSD_INDEX):
            raise Refusal("an index in BSD's format", remedy="make it anew with GNU's or LLVM's ar")
        if head > end - at:
            raise Refusal(f"the member at {at:#x} ends in its name", remedy=_BROKEN)
        contents = data[at + head : end]
        members.append(Member(at, _name(field, names), data[at : at + head], contents))
        if field == _LONG_NAMES:
            names = contents
        at = end + (end & 1)
    return members


def _name(field: bytes, long_names: bytes) -> str:
    if field[:1] == b"/" and field[1:].isdigit():
        start = int(field[1:])
        field = long_names[start : long_names.find(b"\n", start)]
    if field not in _INDEX and field != _LONG_NAMES:
        field = field.removesuffix(b"/")
    return field.decode("utf-8", "surrogateescape")


def ours(path: str, members: list[Member]) -> Iterator[tuple[int, str]]:
    """The index of each member that is an object of ours, and how messages name it.

    That is ``path(name)``, with a number where the name isn't its alone.  Raises `Refusal` for
    intermediate code, which would end up without slots.
    """
    seen: dict[str, int] = {}
    for index, member in enumerate(members):
        seen[member.name] = seen.get(member.name, 0) + 1
        number = f", number {seen[member.name]}" if seen[member.name] > 1 else ""
        where = f"{path}({member.name}{number})"
        if is_bitcode(member.data):
            raise Refusal(
                "LLVM bitcode, whose code is made by the linker",
                file=where,
                remedy="compile without -flto",
            )
        if is_ours(member.data):
            yield index, where


def rewrite(path: str, data: bytes, rewrite_member: Callable[[str, bytes], bytes]) -> bytes:
    """The archive ``data`` of ``path`` with each member that is ours rewritten.

    ``rewrite_member`` gets what messages call the member, and its contents; it returns the new
    ones.  Where none changes the archive comes back byte for byte.  A `Refusal` names the member.
    """
    members = read(data)
    changed = {}
    for index, where in ours(path, members):
        try:
            new = rewrite_member(where, members[index].data)
        except Refusal as refusal:
            refusal.file = refusal.file or where
            raise
        if new != members[index].data:
            changed[index] = new
    return _write(members, changed) if changed else data


def _write(members: list[Member], changed: dict[int, bytes]) -> bytes:
    chunks = [MAGIC]
    at = len(MAGIC)
    starts = {}
    for index, member in enumerate(members):
        contents = changed.get(index, member.data)
        starts[member.start] = at
        size = len(member.head) - _HEADER + len(contents)
        if len(str(size)) > 10:
            raise Refusal(
                f"a member of {size} bytes, more than an archive can say", file=member.name
            )
        head = member.head[:48] + str(size).ljust(10).encode() + member.head[58:]
        chunks += [head, contents, b"\n" * (size & 1)]
        at += _HEADER + size + (size & 1)
    for index, member in enumerate(members):
        form = _INDEX.get(member.name.encode("utf-8", "surrogateescape"))
        if form is not None:
            chunks[2 + 3 * index] = _moved_index(member, form, starts)
    return b"".join(chunks)


def _moved_index(member: Member, form: str, starts: dict[int, int]) -> bytes:
    """The index: a count, that many offsets of members' headers, and the symbols' names."""
    width = struct.calcsize(form)
    contents = bytearray(member.data)
    count = int.from_bytes(contents[:width], "big")
    if width * (count + 1) > len(contents):
        raise Refusal(f"an index of {count} symbols", file=member.name, remedy=_BROKEN)
    for at in range(width, width * (count + 1), width):
        (old,) = struct.unpack_from(form, contents, at)
        if old not in starts:
            raise Refusal(
                f"the index names a member at {old:#x}, where there is none",
                remedy="make it anew: ranlib",
            )
        if starts[old] >> 8 * width:
            raise Refusal("an archive of more than 4 GiB with a 32-bit index", remedy="split it")
        struct.pack_into(form, contents, at, starts[old])
    return bytes(contents)
