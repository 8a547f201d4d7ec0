"""Unwind and debug sections: from the object to `dwarf` and back.

The problem: `dwarf` knows sections as bytes with resolved relocations, the object knows them as
ELF has them: compressed perhaps, with relocations in file order against symbols.  The rule: hand
over each section once, in the order in which maps are needed: call-site tables before the frames
that point to them, both before the debug sections.

Source: gABI 4 (SHF_COMPRESSED); LSB Core, 10.6 (.eh_frame); DWARF 5, 7.1.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.dwarf.section import Rewritten, Target
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import debug_sections, elf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf import debug
    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.scopes import Scope
    from nopfix.dwarf.section import Section
    from nopfix.rewriter.options import Options

_STABS = ".stab"


def rewrite(
    obj: elf.Object, maps: Mapping[int, OffsetMap], options: Options
) -> tuple[dict[int, Rewritten], dict[str, bytes]]:
    """Rewrite every unwind and debug section of ``obj`` for code moved by ``maps``.

    Returns the sections that change, by number, and the .dwo files that do, by name.  Raises
    `Refusal` for content that isn't understood.
    """
    try:
        return _rewrite(obj, maps, options)
    except Unsupported as error:
        raise debug_sections.refusal(error) from error


def _rewrite(
    obj: elf.Object, maps: Mapping[int, OffsetMap], options: Options
) -> tuple[dict[int, Rewritten], dict[str, bytes]]:
    frames = []
    tables = []
    debug = []
    for section in obj.sections:
        name = section.plain_name
        if not section.size or section.type in (elf.SHT_NULL, elf.SHT_RELA, elf.SHT_NOBITS):
            continue
        if name == ".eh_frame" or name == ".debug_frame":
            frames.append(debug_sections.view(obj, section))
        elif name.startswith(".gcc_except_table"):
            tables.append(debug_sections.view(obj, section))
        elif name.startswith(".debug_"):
            debug.append(debug_sections.view(obj, section))
        elif name.startswith(_STABS):
            raise Refusal(
                "debug information in the stabs format",
                section=name,
                remedy="compile with -gdwarf",
            )
    rewritten = _rewrite_unwind(obj, frames, tables, maps, options)
    if not debug:
        return rewritten, {}

    moved = dict(maps) | {number: new.map for number, new in rewritten.items()}
    split = _split_files(options)
    splits = [debug_sections.debug(dwo) for dwo in split.values()]
    sizes = _function_sizes(obj) if splits else {}
    done = _rewrite_debug(debug, moved, splits, sizes, options)
    dwo = {
        name: _written(dwo, new)
        for (name, dwo), new in zip(split.items(), done.split, strict=False)
        if new
    }
    return rewritten | done.own, dwo


def _rewrite_debug(
    sections: Sequence[Section],
    maps: Mapping[int, OffsetMap],
    splits: Sequence[Sequence[Section]],
    sizes: Mapping[Target, int],
    options: Options,
) -> debug.Result:
    """`dwarf.debug.rewrite`; with --strip-unknown-debug what it refuses comes back empty.

    What is emptied is the section that was refused, or, where others can't do without that one,
    all of them.
    """
    from nopfix.dwarf import debug

    kept = list(sections)
    while True:
        try:
            done = debug.rewrite(kept, maps, splits if kept else (), sizes)
            break
        except Unsupported as error:
            if not options.strip_unknown_debug or not kept:
                raise
            alone = error.section not in debug.REFERRED_TO
            left = [section for section in kept if section.name != error.section]
            kept = left if alone and len(left) < len(kept) else []
    emptied = {s.number: Rewritten(b"", IDENTITY, {}) for s in sections if s not in kept}
    return debug.Result(done.own | emptied, done.split)


def scopes(obj: elf.Object, options: Options) -> list[Scope]:
    """Every function with labels that the debug information shows, and its static variables.

    What isn't understood shows none: it is `rewrite` that refuses, or drops, it.
    """
    from nopfix.dwarf import debug

    splits = [debug_sections.debug(file) for file in _split_files(options).values()]
    try:
        return list(debug.function_scopes(debug_sections.debug(obj), splits))
    except Unsupported:
        return []


def _split_files(options: Options) -> dict[str, elf.Object]:
    """The .dwo files of `Options.dwo`, read, by name."""
    files = {name: elf.read(data) for name, data in options.dwo.items()}
    for name, file in files.items():
        from nopfix.rewriter.object import compressed

        try:
            compressed.check(file, options.allow)
        except Refusal as refusal:
            refusal.file = name
            raise
    return files


def _function_sizes(obj: elf.Object) -> dict[Target, int]:
    """How many bytes of code begin at the functions that symbols name."""
    symbols = obj.symbols
    sizes: dict[Target, int] = {}
    for index, size in enumerate(symbols.sizes):
        if size and symbols.type(index) == elf.STT_FUNC:
            place = Target(symbols.sections[index], symbols.values[index])
            sizes[place] = max(size, sizes.get(place, 0))
    return sizes


def _written(dwo: elf.Object, rewritten: Mapping[int, Rewritten]) -> bytes:
    """The bytes of a .dwo file with rewritten sections; it has no relocations to move."""
    contents = {number: new.data for number, new in rewritten.items()}
    from nopfix.rewriter.object import compressed

    return elf.write(dwo, *compressed.compress_again(dwo, contents))


def _rewrite_unwind(
    obj: elf.Object,
    frames: Sequence[Section],
    tables: Sequence[Section],
    maps: Mapping[int, OffsetMap],
    options: Options,
) -> dict[int, Rewritten]:
    """What unwinders read; of it only .debug_frame can be done without (--strip-unknown-debug)."""
    rewritten = {}
    if tables:
        from nopfix.dwarf import frame, lsda

        if maps and not any(section.name == ".eh_frame" for section in frames):
            found = "exception tables, and no .eh_frame that says whose they are"
            raise Unsupported(
                tables[0].name, None, found, f"remove them too: objcopy -R {tables[0].name}"
            )

        users: dict[int, list[frame.CallSites]] = {}
        for section in frames:
            if section.name == ".eh_frame":
                for user in frame.call_site_tables(section):
                    users.setdefault(user.lsda.section, []).append(user)
        for section in tables:
            own = users.get(section.number, [])
            alignment = obj.sections[section.number].alignment
            rewritten[section.number] = lsda.rewrite(section, own, maps, alignment=alignment)
    if frames:
        from nopfix.dwarf import frame

        for section in frames:
            alignment = obj.sections[section.number].alignment
            eh = section.name == ".eh_frame"
            try:
                new = frame.rewrite(section, maps, eh=eh, alignment=alignment)
            except Unsupported:
                if eh or not options.strip_unknown_debug:
                    raise
                new = Rewritten(b"", IDENTITY, {})
            rewritten[section.number] = new
    return {
        section.number: rewritten[section.number]
        for section in (*frames, *tables)
        if rewritten[section.number].data is not section.data or rewritten[section.number].sides
    }
