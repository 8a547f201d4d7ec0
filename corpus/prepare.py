"""Make the two objects that the oracle compares: ``plain.o``, and ``want.o`` with the nops.

The compiler's assembly is edited twice (corpus.assembly) and both texts are assembled with the same
assembler and the same flags.  A conditional branch that the nops push out of its reach (32 KiB) is
an error to gas, which relaxes none; it gets the expanded form in the text then, for just the
branches that it complains of, until it complains no more (`corpus.assembly.expand`).
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import assembly, toolchain

if TYPE_CHECKING:
    from pathlib import Path

#: How gas says that a branch doesn't reach.
_TOO_FAR = re.compile(r"want\.s:(\d+): Error: operand out of range")
#: Expanding a branch can push another one out of reach; this many rounds are enough for anything.
_ROUNDS = 20


class Verdict(NamedTuple):
    """What became of one case.

    `verdict` is a word of corpus.verdicts and `detail` the first differences, the refusal or the
    tool's complaint, one per line.  `nops` is the number of nops the oracle has inserted.  Sizes
    are in bytes, times in seconds of the clock, `rewrite_cpu` in seconds of the processor; a step
    that was not reached has 0.
    """

    verdict: str
    detail: str = ""
    nops: int = 0
    size_before: int = 0
    size_after: int = 0
    compile_time: float = 0.0
    assemble_time: float = 0.0
    prepare_time: float = 0.0
    rewrite_time: float = 0.0
    rewrite_cpu: float = 0.0
    unwritable_indices: int = 0


class Prepared(NamedTuple):
    """The files of a case before the rewriter runs, or the verdict that ended it early.

    `expanded` has the number of conditional branches that no longer reached, round by round.
    """

    verdict: Verdict
    plain: Path
    want: Path
    expanded: tuple[int, ...] = ()


def prepare(
    source: Path,
    cc: str,
    flags: tuple[str, ...],
    folder: Path,
    *,
    keep_alignment: bool = False,
    compile_in: Path | None = None,
    with_want: bool = True,
) -> Prepared:
    """Compile `source` and assemble ``plain.o`` and ``want.o`` in `folder`.

    The compiler runs in `compile_in` where that is given, else in `folder` too.  Without
    `with_want` only ``plain.o`` is made.

    The verdict's word is "" when the files are there.  Raises ToolError when a tool is missing.
    """
    begun = time.perf_counter()
    prepared = _prepare(source, cc, flags, folder, keep_alignment, compile_in, with_want)
    verdict = prepared.verdict._replace(prepare_time=time.perf_counter() - begun)
    return prepared._replace(verdict=verdict)


def _prepare(
    source: Path,
    cc: str,
    flags: tuple[str, ...],
    folder: Path,
    keep_alignment: bool,
    compile_in: Path | None,
    with_want: bool,
) -> Prepared:
    text, plain, want = folder / "f.s", folder / "plain.o", folder / "want.o"
    begun = time.perf_counter()
    done = toolchain.run(
        toolchain.compile_command(cc, flags, source, text), cwd=compile_in or folder
    )
    verdict = Verdict("", compile_time=time.perf_counter() - begun)
    prepared = Prepared(verdict, plain, want)
    if done.status:
        return prepared._replace(verdict=_failed(verdict, "compile-failed", done))
    edit = assembly.edit(text.read_text("utf-8", "surrogateescape"), keep_alignment=keep_alignment)
    verdict = verdict._replace(nops=edit.nops, unwritable_indices=edit.unwritable_indices)
    command = list(toolchain.assembler(cc, flags))
    split = "-gsplit-dwarf" in flags and not toolchain.is_clang(cc)
    begun = time.perf_counter()
    done = _assemble(command, edit.plain, plain)
    verdict = verdict._replace(assemble_time=time.perf_counter() - begun)
    if done.status:
        return prepared._replace(verdict=_failed(verdict, "compile-failed", done))
    if split:
        _split(plain)
    prepared = prepared._replace(verdict=verdict._replace(size_before=plain.stat().st_size))
    if not edit.nops or not with_want:
        return prepared
    done, expanded = _assemble_expanding(command, edit.want, want)
    prepared = prepared._replace(expanded=expanded)
    if done.status:
        return prepared._replace(verdict=_failed(verdict, "assemble-failed", done))
    if split:
        _split(want)
    return prepared


def _failed(verdict: Verdict, word: str, done: toolchain.Run) -> Verdict:
    return verdict._replace(verdict=word, detail=done.errors.strip())


def _assemble(command: list[str], text: str, output: Path) -> toolchain.Run:
    """Assemble `text`, which is left beside the object as a ``.s`` file."""
    file = output.with_suffix(".s")
    file.write_text(text, "utf-8", "surrogateescape")
    return toolchain.run([*command, "-o", str(output), str(file)], cwd=output.parent)


def _assemble_expanding(
    command: list[str], text: str, output: Path
) -> tuple[toolchain.Run, tuple[int, ...]]:
    """Assemble `text`; where conditional branches don't reach, expand those and try again.

    Returns how the assembler ended and the number of branches expanded in each round.
    """
    done = _assemble(command, text, output)
    expanded: list[int] = []
    while done.status and len(expanded) < _ROUNDS:
        far = {int(number) for number in _TOO_FAR.findall(done.errors)}
        grown = assembly.expand(text, far) if far else None
        if grown is None:
            break
        text = grown
        expanded.append(len(far))
        done = _assemble(command, text, output)
    return done, tuple(expanded)


def _split(path: Path) -> None:
    """Move the split DWARF of an object into a .dwo beside it, as GCC's driver does."""
    objcopy = toolchain.binutil("objcopy")
    toolchain.run([objcopy, "--extract-dwo", str(path), str(path.with_suffix(".dwo"))])
    toolchain.run([objcopy, "--strip-dwo", str(path)])
