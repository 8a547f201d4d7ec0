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

    from nopfix.corpus.toolchain import Tools

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


class Compile(NamedTuple):
    """What is compiled, with what, and where.

    The compiler runs in `run_in` where that is given, else in the folder in which the objects are
    made.  With `keep_alignment` the alignment inside functions stays in the text; without
    `with_want` only ``plain.o`` is made.
    """

    source: Path
    tools: Tools
    flags: tuple[str, ...]
    run_in: Path | None = None
    keep_alignment: bool = False
    with_want: bool = True


def prepare(what: Compile, folder: Path) -> Prepared:
    """Compile the source and assemble ``plain.o`` and ``want.o`` in `folder`.

    The verdict's word is "" when the files are there.  Raises ToolError when a tool is missing.
    """
    begun = time.perf_counter()
    prepared = _prepare(what, folder)
    verdict = prepared.verdict._replace(prepare_time=time.perf_counter() - begun)
    return prepared._replace(verdict=verdict)


def _prepare(what: Compile, folder: Path) -> Prepared:
    text, plain, want = folder / "f.s", folder / "plain.o", folder / "want.o"
    begun = time.perf_counter()
    done = toolchain.run(
        toolchain.compile_command(what.tools, what.flags, what.source, text),
        cwd=what.run_in or folder, root=what.tools.root,
    )  # fmt: skip
    verdict = Verdict("", compile_time=time.perf_counter() - begun)
    prepared = Prepared(verdict, plain, want)
    if done.status:
        return prepared._replace(verdict=_failed(verdict, "compile-failed", done))
    edit = assembly.edit(
        text.read_text("utf-8", "surrogateescape"), keep_alignment=what.keep_alignment
    )
    verdict = verdict._replace(nops=edit.nops, unwritable_indices=edit.unwritable_indices)
    begun = time.perf_counter()
    done = _assemble(what, edit.plain, plain)
    verdict = verdict._replace(assemble_time=time.perf_counter() - begun)
    if done.status:
        return prepared._replace(verdict=_failed(verdict, "compile-failed", done))
    _split(what, plain)
    prepared = prepared._replace(verdict=verdict._replace(size_before=plain.stat().st_size))
    if not edit.nops or not what.with_want:
        return prepared
    done, expanded = _assemble_expanding(what, edit.want, want)
    prepared = prepared._replace(expanded=expanded)
    if done.status:
        return prepared._replace(verdict=_failed(verdict, "assemble-failed", done))
    _split(what, want)
    return prepared


def _failed(verdict: Verdict, word: str, done: toolchain.Run) -> Verdict:
    return verdict._replace(verdict=word, detail=done.errors.strip())


def _assemble(what: Compile, text: str, output: Path) -> toolchain.Run:
    """Assemble `text`, which is left beside the object as a ``.s`` file."""
    file = output.with_suffix(".s")
    file.write_text(text, "utf-8", "surrogateescape")
    command = [*toolchain.assembler(what.tools, what.flags), "-o", str(output)]
    if toolchain.splits_itself(what.tools, what.flags):
        command += ["-split-dwarf-output", str(output.with_suffix(".dwo"))]
    return toolchain.run([*command, str(file)], cwd=output.parent, root=what.tools.root)


def _assemble_expanding(
    what: Compile, text: str, output: Path
) -> tuple[toolchain.Run, tuple[int, ...]]:
    """Assemble `text`; where conditional branches don't reach, expand those and try again.

    Returns how the assembler ended and the number of branches expanded in each round.
    """
    done = _assemble(what, text, output)
    expanded: list[int] = []
    while done.status and len(expanded) < _ROUNDS:
        far = {int(number) for number in _TOO_FAR.findall(done.errors)}
        grown = assembly.expand(text, far) if far else None
        if grown is None:
            break
        text = grown
        expanded.append(len(far))
        done = _assemble(what, text, output)
    return done, tuple(expanded)


def _split(what: Compile, path: Path) -> None:
    """Move an object's split DWARF into a .dwo beside it, as GCC's driver does.

    Raises ToolError.
    """
    if not toolchain.splits(what.flags) or toolchain.splits_itself(what.tools, what.flags):
        return
    objcopy = toolchain.binutil("objcopy", what.tools.root)
    for words in (["--extract-dwo", str(path), str(path.with_suffix(".dwo"))],
                  ["--strip-dwo", str(path)]):  # fmt: skip
        done = toolchain.run([objcopy, *words], cwd=path.parent, root=what.tools.root)
        if done.status:
            raise toolchain.ToolError(f"{objcopy} {words[0]}: {done.errors.strip()}")
