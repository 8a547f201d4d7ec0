"""Put the nops where a compiler would have put them: in its own assembly.

The strongest test of a rewriter that inserts nops into finished objects is an assembler that was
given the same nops in the source.  From one compiler output ``f.s`` this module makes two files:

``plain``
    what the rewriter is run on: ``f.s`` without the alignment directives *inside* functions.
    Whether a label that needed no padding was meant to be aligned is the one thing that an object
    doesn't say.  The alignment of function starts, of the tables after ``bctr`` and of XRay's sleds
    stays in, so that the padding there must come out as the assembler computes it.

``want``
    ``plain`` with a ``nop`` after every call that needs a TOC restore slot (ELFv2 ABI, section
    4.3.6 "Function Calls": the linker overwrites the instruction after the ``bl`` with
    ``ld r2,24(r1)``).

Labels that follow a call directly stay after the inserted nop, because a branch to them must not
run the restored slot.  Two kinds of uses mean the return address itself and stay before the nop;
for those an alias label ``L_ret`` is written between call and nop:

* DW_AT_call_return_pc (DWARF 5, section 3.4.1), or DW_AT_low_pc inside a DW_TAG_GNU_call_site,
  which debuggers look up with the value that the link register had;
* ``L-1``, the end that GCC writes for a location that the call clobbers.

In split units and in clang's DWARF 5 the return address is an index into ``.debug_addr``.  An
entry that nothing but call sites use takes the alias.  One entry can't be on both sides of the
nop: where a range or a location list starts at the same entry, the call sites get an entry of their
own at the end of the table.

The text is GCC's or clang's: GCC's needs ``-dA`` for the names of the DWARF attributes.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

#: Routines that are called with ``bl`` but are not functions of the ABI's calling sequence: the
#: profiling hooks (the kernel patches the ``bl`` itself), the out-of-line register savers (ELFv2
#: ABI, section 2.3.3 "Register Save and Restore Functions"), and ``__morestack``, which goes on
#: three instructions behind its return address (libgcc, config/rs6000/morestack.S).
EXEMPT_CALLEE = re.compile(
    r"_mcount$|ftrace_caller$|ftrace_regs_caller$|__morestack(?:_non_split)?$"
    r"|_(?:save|rest)gpr[01]_\d+$|_(?:save|rest)fpr_\d+$|_(?:save|rest)vr_\d+$"
)

#: What counts as a slot already: the nop, what the linker makes of it, and the no-operations that
#: compilers before GCC 4.8 wrote.
_SLOT = re.compile(
    r"nop$|ori\s+0,\s*0,\s*0$|ld\s+(?:%?r)?2,\s*24\((?:%?r)?1\)$|cror\s+(15|31),\s*\1,\s*\1$"
)
#: A use, not the definition, of a label that GCC or clang makes for jumps.
_JUMP_TARGET = re.compile(r"(?<![\w.])(\.L(?:\d+|BB\d+_\d+))\b(?!:)")
#: A place whose address stands in data: a static probe's nop, in the note that names it.
_NAMED_PLACE = re.compile(r"^\s*\.(?:8byte|quad)\s+(\.Ltmp\d+|\d+(?=b))b?\s*$", re.MULTILINE)
_LOCAL_PLACE = re.compile(r"\.L(?:tmp\d+|\d+|BB\d+_\d+)")
_CALL = re.compile(r"bl\s+(\S.*)$")
_LABEL = re.compile(r"([\w.$]+):\s*")
_LOCAL_LABEL = re.compile(r"\.L[\w.$]*$")
_FUNCTION_TYPE = re.compile(r"\.type\s+([^\s,]+)\s*,\s*[@%]function")

_DIRECTIVE = (
    r"[ \t]*\.(section|text|data|bss|previous|pushsection|popsection|subsection)\b"
    r"((?<!\.previous)[^;\n]*)?"
)
#: A section directive stands at the start of a line, behind a ``;``, or behind ``.previous``: gas
#: takes what follows that on its line for another statement, and the kernel's macros for exception
#: and bug tables have it so (``.previous .section __bug_table,"aw"``).  One pattern for each place,
#: because a pattern that begins with a fixed string is found many times faster.
_SECTION = tuple(re.compile(begin + _DIRECTIVE) for begin in ("\n", ";", r"\.previous"))
_SECTION_OPERANDS = re.compile(r'\s*"?([^",\s]+)"?\s*(?:,\s*"([^"]*)")?')

_RETURN_PC = re.compile(
    r"^(\s*\.(?:8byte|quad)\s+)(\.L[\w.$]+)(\s.*DW_AT_call_return_pc)", re.MULTILINE
)
_GNU_CALL_SITE_PC = re.compile(
    r"(DW_TAG_GNU_call_site\)?\n(?:.*DW_AT_abstract_origin\n)?"
    r"\s*\.(?:8byte|quad)\s+)(\.L[\w.$]+)(\s.*DW_AT_low_pc)"
)
_DEBUG_INFO = re.compile(r"^\s*\.section\s+\.debug_info\b", re.MULTILINE)
_DEBUG_ABBREV = re.compile(r"^\s*\.section\s+\.debug_abbrev\b.*$", re.MULTILINE)
_DEBUG_ADDR = re.compile(r"^\s*\.section\s+\.debug_addr\b.*$", re.MULTILINE)
_ADDRESS_ENTRY = re.compile(r"^\s*\.(?:8byte|quad)\s+([\w.$]+).*$", re.MULTILINE)
#: What follows the length in the header, which the older table of split DWARF 4 hasn't got.
_ADDRESS_VERSION = re.compile(r"^\s*\.(?:2byte|short|half)\s.*$", re.MULTILINE)
_ADDRESS_LENGTH = re.compile(
    r"^\s*\.[48]byte\s+(0x[0-9a-f]+)\s*# Length of Address Unit", re.MULTILINE
)
_INDEX = r'^\s*\.(?:byte|uleb128|ascii)\s+(0x[0-9a-f]+|\d+|"[^"]*")\s*#'
_RETURN_INDEX = re.compile(_INDEX + r"\s*DW_AT_call_return_pc", re.MULTILINE)
_GNU_CALL_SITE_INDEX = re.compile(
    r"DW_TAG_GNU_call_site\)?\n(?:.*DW_AT_abstract_origin\n)?"
    r"\s*\.(?:byte|uleb128|ascii)\s+(0x[0-9a-f]+|\d+|\"[^\"]*\")(?=\s*# DW_AT_low_pc)"
)
_ADDRESS_INDEX = re.compile(
    _INDEX + r"(?=\s*DW_AT_(?:low|entry|call)_pc|.*(?<!GDB-)\bindex\b(?! into))", re.MULTILINE
)
#: DW_LLE_startx_length of clang's lists in DWARF 4, without a comment.
_STARTX_LENGTH_INDEX = re.compile(
    r"^\t\.byte\t3\n\t\.(?:byte|ascii)\t(\d+|\"[^\"]*\")(?:\s*#.*)?\n\t\.long\t\.L\w+-\.L",
    re.MULTILINE,
)
_CONDITIONAL = re.compile(
    r"b(eq|ne|lt|ge|gt|le|so|ns|un|nu|dnz|dz)([+-]?)\s+(?:([\w*+]+)\s*,\s*)?([^\s;,]+)\s*$"
)
#: CTR and a condition bit at once, or neither.
_NO_INVERSE = re.compile(r"(bdn?z[tf][+-]?\s+[\w*+]+|bc\s+\d+\s*,\s*[\w*+]+)\s*,\s*([^\s;,]+)\s*$")
_OPPOSITE = {
    "eq": "ne", "lt": "ge", "gt": "le", "so": "ns", "un": "nu", "dnz": "dz", "+": "-",
}  # fmt: skip
_OPPOSITE |= {opposite: one for one, opposite in _OPPOSITE.items()} | {"": ""}
_MINUS_ONE = re.compile(r"(\.L[\w.$]+)(?=-1(?![\w.$]))")


class Edit(NamedTuple):
    """The two assembly texts made from one compiler output.

    `plain` and `want` are texts for the assembler, `nops` the number of nops that `want` has more
    than `plain`, `calls` every callee that got one (in text order), `dropped_alignments` the
    number of alignment directives inside functions left out of both, `unwritable_indices` the
    number of call sites whose new ``.debug_addr`` index has a longer uleb128, where `want` can't
    express that: the references between DIEs are plain numbers in the text, and `corpus.entries`
    couldn't make labels of them.
    """

    plain: str
    want: str
    nops: int
    calls: tuple[str, ...]
    dropped_alignments: int
    unwritable_indices: int


class _Call(NamedTuple):
    """A ``bl`` whose next instruction has not been seen yet."""

    line: int
    callee: str
    labels: list[str]


def needs_slot(operand: str, local: Collection[str] = ()) -> bool:
    """Say whether ``bl operand`` is a call that needs a slot after it.

    Not calls: branches to one of the `local` labels of the same section or to a place relative to
    here (``.+8``, ``$+4``, ``1f``), which read the program counter; calls that keep no TOC
    (``@notoc``); `EXEMPT_CALLEE`.
    """
    target = operand.split("(", 1)[0].split("+", 1)[0].strip().strip('"')
    name, _, modifier = target.partition("@")
    if modifier == "notoc" or not name:
        return False
    if name[0] == "$" or name == "." or name[0].isdigit() or name in local:
        return False
    return EXEMPT_CALLEE.match(name) is None


def edit(text: str, *, keep_alignment: bool = False) -> Edit:
    """Make `Edit.plain` and `Edit.want` from a compiler's assembly `text`.

    With `keep_alignment` the alignment directives inside functions stay in both texts.
    """
    lines = text.split("\n")

    @functools.cache
    def entered() -> set[str]:
        code = text.partition("\t.section\t.debug_")[0]
        return {*_JUMP_TARGET.findall(code), *_NAMED_PLACE.findall(code)}

    dropped: set[int] = set()
    calls: dict[int, list[tuple[str, list[str]]]] = {}
    for blocks in _code_sections(text).values():
        numbers = [number for start, end in blocks for number in range(start, end)]
        if not keep_alignment:
            dropped.update(_inner_alignments(lines, numbers))
        for call in _calls_without_slot(lines, numbers, dropped, entered):
            calls.setdefault(call.line, []).append((call.callee, call.labels))

    aliases = {label for found in calls.values() for _, labels in found for label in labels}
    plain: list[str] = []
    want: list[str] = []
    for number, line in enumerate(lines):
        if number in dropped:
            continue
        plain.append(line)
        if number in calls:
            want.append(_with_slots(line, calls[number]))
        else:
            want.append(line)
    edited, unwritable = _use_aliases("\n".join(want), aliases) if aliases else ("\n".join(want), 0)
    callees = tuple(callee for number in sorted(calls) for callee, _ in calls[number])
    return Edit("\n".join(plain), edited, len(callees), callees, len(dropped), unwritable)


# -- the parts of the text that are code ----------------------------------------------------------


def _is_code(name: str, flags: str | None) -> bool:
    """Say whether a section is executable, by its flags or, where it has none, its name."""
    if flags is not None:
        return "x" in flags
    return name == ".text" or name.startswith((".text.", ".init", ".fini"))


def _section_directives(text: str) -> list[tuple[int, str, str]]:
    """Return (place, directive, operands) of every section directive in text order."""
    first = _SECTION[0].match("\n" + text)
    found = [(0, first.group(1), first.group(2) or "")] if first else []
    for pattern in _SECTION:
        found += [
            (m.start() + (m.group()[0] != ";"), m.group(1), m.group(2) or "")
            for m in pattern.finditer(text)
        ]
    return sorted(found)


def _next_section(text: str, after: int) -> int:
    """Return where the next section directive on a line of its own is; the text's end if none."""
    following = _SECTION[0].search(text, after)
    return following.start() if following else len(text)


def _code_sections(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return, for each executable section, its runs of line numbers (start, end) in text order."""
    flags_of: dict[str, str | None] = {}
    blocks: dict[str, list[tuple[int, int]]] = {}
    current, previous = ".text", ".text"
    stack: list[tuple[str, str]] = []
    line = start = 0
    position = 0

    def close(end: int) -> None:
        if end > start and _is_code(current, flags_of.get(current)):
            blocks.setdefault(current, []).append((start, end))

    for place, directive, operands in _section_directives(text):
        line += text.count("\n", position, place)
        position = place
        # What stands before a directive on its line is the old section's, what follows the new's.
        shared = text[place] == ";"
        close(line + shared)
        start = line + shared
        if directive in ("section", "pushsection"):
            parsed = _SECTION_OPERANDS.match(operands)
            name, flags = parsed.groups() if parsed else (operands.strip(), None)
            if directive == "pushsection":
                stack.append((current, previous))
            if flags is not None or name not in flags_of:
                flags_of[name] = flags
            current, previous = name, current
        elif directive == "popsection":
            if stack:
                current, previous = stack.pop()
        elif directive == "previous":
            current, previous = previous, current
        elif directive != "subsection":
            current, previous = "." + directive, current
    close(text.count("\n") + 1)
    return blocks


def _statement(line: str) -> str:
    """Return the statement on a line without its comment and outer blanks ("" for none)."""
    stripped = line.strip()
    if "#" in stripped and '"' not in stripped:
        stripped = stripped.split("#", 1)[0].rstrip()
    return stripped


def _inner_alignments(lines: list[str], numbers: list[int]) -> set[int]:
    """Find the alignment directives inside functions among the lines of one section.

    GCC writes ``.align`` next to ``.p2align`` for a function start and for a table; a ``.p2align``
    that stands alone is a loop or a jump target.  clang marks the functions themselves with
    ``.Lfunc_begin`` and ``.Lfunc_end`` and has no tables in code.
    """
    statements = [
        (number, statement)
        for number in numbers
        if (statement := _statement(lines[number])) and not statement.startswith(".loc ")
    ]
    inner: set[int] = set()
    inside_clang = False
    for index, (number, statement) in enumerate(statements):
        if statement.startswith(".Lfunc_begin"):
            inside_clang = True
        elif statement.startswith(".Lfunc_end"):
            inside_clang = False
        elif statement.startswith(".p2align"):
            before = statements[index - 1][1] if index else ""
            after = statements[index + 1][1] if index + 1 < len(statements) else ""
            by_gcc = before.startswith(".align") or after.startswith(".align")
            starts = by_gcc or _starts_function(statements, index)
            if not _is_exit_sled(statements, index) and (inside_clang or not starts):
                inner.add(number)
    return inner


def _is_exit_sled(statements: list[tuple[int, str]], index: int) -> bool:
    """Say whether the alignment at `index` is that of XRay's sled at a return, which whoever
    patches it relies on: the object's table names it.
    """
    following = [statement for _, statement in statements[index + 1 : index + 8]]
    return any(s.split() == ["bl", "__xray_FunctionExit"] for s in following)


def _starts_function(statements: list[tuple[int, str]], index: int) -> bool:
    """Say whether the alignment at `index` is followed by a function's declaration and label."""
    for _, statement in statements[index + 1 : index + 12]:
        if _FUNCTION_TYPE.match(statement):
            return True
        if not statement.startswith("."):
            return False
    return False


# -- the calls ------------------------------------------------------------------------------------


def _calls_without_slot(
    lines: list[str], numbers: list[int], dropped: set[int], entered: Callable[[], set[str]]
) -> list[_Call]:
    """Return the calls of one section that need a slot and have none, in text order.

    A nop that something jumps to (one of the labels `entered()`) is no slot: the linker would turn
    it into a load of r2 from where only the call has saved it.  One whose address stands in data is
    somebody else's.
    """
    found: list[_Call] = []
    pending: _Call | None = None
    local = {
        line.partition(":")[0] for number in numbers if (line := lines[number]).startswith(".L")
    }
    for number in numbers:
        line = lines[number]
        if pending is None and "bl" not in line:
            continue
        if number in dropped:
            continue
        statement = _statement(line)
        for part in statement.split(";") if ";" in statement else (statement,):
            rest = part.strip()
            while (label := _LABEL.match(rest)) is not None:
                if pending is not None:
                    if _LOCAL_LABEL.match(label.group(1)):
                        pending.labels.append(label.group(1))
                    elif not label.group(1).isdigit() or label.group(1) in entered():
                        found.append(pending)
                        pending = None
                rest = rest[label.end() :]
            if not rest or rest.startswith((".loc ", ".loc\t")):
                continue
            if rest.startswith(".cfi_") and rest != ".cfi_endproc":
                continue
            if pending is not None:
                jumps = [label for label in pending.labels if _LOCAL_PLACE.fullmatch(label)]
                if not _SLOT.match(rest) or (jumps and not entered().isdisjoint(jumps)):
                    found.append(pending)
                pending = None
            call = _CALL.match(rest)
            if call is not None and needs_slot(call.group(1), local):
                pending = _Call(number, call.group(1).strip(), [])
    if pending is not None:
        found.append(pending)
    return found


def _with_slots(line: str, calls: list[tuple[str, list[str]]]) -> str:
    """Write the aliases and the nop after each of the line's calls that need a slot."""
    labels = calls[0][1]
    slot = "".join(f"{label}_ret:\n" for label in labels) + "\tnop"
    if ";" not in line:
        return line + "\n" + slot
    waiting = list(calls)
    parts: list[str] = []
    for part in line.split(";"):
        parts.append(part)
        called = _CALL.search(part)
        if called and waiting and called.group(1).strip() == waiting[0][0]:
            labels = waiting.pop(0)[1]
            parts[-1] = part + "\n" + "".join(f"{label}_ret:\n" for label in labels) + "\tnop"
    return ";".join(parts)


# -- branches that no longer reach ----------------------------------------------------------------


def expand(text: str, numbers: Collection[int]) -> str | None:
    """Write the conditional branches on the lines `numbers` (from 1) so that they reach anything.

    That is their inverse over a ``b``; the static hint is inverted with the condition: the new
    branch is taken when the old one wasn't.  One on CTR and a condition bit at once has no inverse:
    it goes to a ``b`` of its own, with another one around that.  Returns None when one of the lines
    is no such branch.
    """
    lines = text.split("\n")
    for number in numbers:
        statement = _statement(lines[number - 1])
        if found := _CONDITIONAL.match(statement):
            condition, hint, field, target = found.groups()
            inverse = f"b{_OPPOSITE[condition]}{_OPPOSITE[hint]} {field + ',' if field else ''}.+8"
            lines[number - 1] = f"\t{inverse}\n\tb {target}"
        elif found := _NO_INVERSE.match(statement):
            branch, target = found.groups()
            lines[number - 1] = f"\t{branch},.+8\n\tb .+8\n\tb {target}"
        else:
            return None
    return "\n".join(lines)


# -- uses of the return address -------------------------------------------------------------------


def _use_aliases(text: str, aliases: set[str]) -> tuple[str, int]:
    """Let the uses that mean the return address name the alias.

    Returns the text and the number of uses that can't be written.
    """

    def alias(label: str) -> str:
        return label + "_ret" if label in aliases else label

    def attribute(match: re.Match[str]) -> str:
        return match.group(1) + alias(match.group(2)) + match.group(3)

    text = _MINUS_ONE.sub(lambda match: alias(match.group(1)), text)
    text = _RETURN_PC.sub(attribute, text)
    text = _GNU_CALL_SITE_PC.sub(attribute, text)
    return _use_aliases_in_debug_addr(text, aliases)


class _Addresses(NamedTuple):
    """The ``.debug_addr`` entries of a text: where each one's line starts and its label, and the
    place after the last one.
    """

    entries: tuple[tuple[int, str], ...]
    end: int


def _debug_addr(text: str) -> _Addresses | None:
    """Find the address table (DWARF 5, section 7.27) in a text that has one."""
    section = _DEBUG_ADDR.search(text)
    if section is None:
        return None
    limit = _next_section(text, section.end())
    # In 64-bit DWARF the length looks like an entry.
    header = _ADDRESS_VERSION.search(text, section.end(), limit)
    start = header.end() if header else section.end()
    found = list(_ADDRESS_ENTRY.finditer(text, start, limit))
    if not found:
        return None
    return _Addresses(tuple((m.start(), m.group(1)) for m in found), found[-1].end())


def _number(written: str) -> int:
    """Read an index as the compilers write it: 0x1f, 31, or the bytes of an .ascii string."""
    if not written.startswith('"'):
        return int(written, 0)
    octets = [int(octal, 8) for octal in re.findall(r"\\([0-7]{1,3})", written)]
    return sum((octet & 0x7F) << (7 * i) for i, octet in enumerate(octets))


def _index_like(written: str, index: int, *, grows: bool) -> str | None:
    """Write `index` in place of `written`; None when its uleb128 has another length, unless the
    text is one in which that may happen (`grows`).
    """
    if not grows and ((_number(written) < 128) != (index < 128) or index >= 16384):
        return None
    if written.startswith('"'):
        return f'"\\{index & 0x7F | 0x80:o}\\{index >> 7:03o}"'
    return hex(index)


def _use_aliases_in_debug_addr(text: str, aliases: set[str]) -> tuple[str, int]:
    """Do the same for call sites that name the return address by its index in ``.debug_addr``.

    An entry that only call sites use takes the alias.  One that is the start of a range or of a
    location list too stays, and the call sites get an entry of their own at the table's end.
    """
    edited, unwritable = _with_own_addresses(text, aliases, grows=False)
    if unwritable:
        by_label = entries.labelled(text)
        if by_label is not None:
            return _with_own_addresses(by_label, aliases, grows=True)
    return edited, unwritable


def _lies_in(place: int, ranges: list[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in ranges)


def _with_own_addresses(text: str, aliases: set[str], *, grows: bool) -> tuple[str, int]:
    """Do it, where an index `grows` or else is left as it is and counted."""
    table = _debug_addr(text)
    if table is None:
        return text, 0
    information = _DEBUG_INFO.search(text)
    start = information.start() if information else 0
    # In .debug_abbrev the same comments stand beside the attributes' names.
    skipped = [(m.start(), _next_section(text, m.end())) for m in _DEBUG_ABBREV.finditer(text)]
    sites = sorted(
        (m.start(1), m.group(1))
        for pattern, first in ((_RETURN_INDEX, start), (_GNU_CALL_SITE_INDEX, 0))
        for m in pattern.finditer(text, first)
        if not _lies_in(m.start(), skipped)
    )
    site_places = {place for place, _ in sites}
    other = {
        _number(m.group(1))
        for pattern in (_ADDRESS_INDEX, _STARTX_LENGTH_INDEX)
        for m in pattern.finditer(text)
        if m.start(1) not in site_places and not _lies_in(m.start(), skipped)
    }
    changes: list[tuple[int, int, str]] = []
    added: dict[int, int] = {}
    renamed: set[int] = set()
    unwritable = 0
    for place, written in sites:
        old = _number(written)
        label = table.entries[old][1]
        if label not in aliases:
            continue
        if old not in other:
            renamed.add(old)
            continue
        new = added.setdefault(old, len(table.entries) + len(added))
        index = _index_like(written, new, grows=grows)
        unwritable += index is None
        changes.append((place, place + len(written), index or written))
    for old in renamed:
        place, label = table.entries[old]
        start = text.index(label, place)
        changes.append((start, start + len(label), label + "_ret"))
    if added:
        copies = "".join(f"\n\t.8byte\t{table.entries[old][1]}_ret" for old in added)
        changes.append((table.end, table.end, copies))
        length = _ADDRESS_LENGTH.search(text, 0, table.entries[0][0])
        if length is not None:
            new_length = hex(int(length.group(1), 0) + 8 * len(added))
            changes.append((length.start(1), length.end(1), new_length))
    for start, end, new_text in sorted(changes, reverse=True):
        text = text[:start] + new_text + text[end:]
    return text, unwritable
