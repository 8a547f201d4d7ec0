"""What becomes of alignment: the oracle with the directives inside functions kept in.

An object doesn't say which labels its source aligned.  Where the assembler wrote padding, nopfix
has to restore the alignment; where none was needed nobody can know, so gas, which is given the
source, may pad a label that nopfix lets go.  This module measures both, for each alignment
directive in the code of each source::

    python -m nopfix.corpus.alignment --flags="-O2"          (make alignment)

prints how many objects equal gas's byte for byte, why the others don't, how many of the labels that
had padding are aligned as before, and by how much the code grew, beside what gas makes of the same
directives.

Where a directive's padding is in an object comes from symbols that a second assembly of the same
text has around it; the objects that are compared are made without them.  Where a label went in the
rewritten object is asked of `verifier`, which shares no code with the rewriter.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix import Options, Refusal, rewrite
from nopfix.corpus import oracle, plan, toolchain
from nopfix.corpus.prepare import Compile
from nopfix.corpus.toolchain import Tools
from nopfix.verifier import check, elf, names, pairing, stale_tables, verify
from nopfix.verifier.report import Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nopfix.corpus.plan import Source

CORPORA = ("gcc.c-torture/execute", "gcc.c-torture/compile")

#: ``.p2align POWER[,FILL[,MOST]]``; gas for PowerPC takes ``.align`` for the same.
_DIRECTIVE = re.compile(r"^\s*\.(p2align|align)\s+(\d+)(?:\s*,\s*\d*)?(?:\s*,\s*(\d+))?\s*$")
_MARK = "nopfix.pad.{}.{}"
_MARKED = re.compile(r"nopfix\.pad\.(\d+)\.([be])$")
_WORD = 4

NEEDED_NONE = "a label that needed no padding, or whose padding was over the directive's limit"
OVER_LIMIT = "padding that is now over the directive's limit: gas leaves it out"
COARSER = "a label that happened to lie on a coarser boundary, which is kept as well"
UNSEEN = "padding that was not told from instructions"
ELSE = "something else"


class Directive(NamedTuple):
    """One alignment directive in code: to how many bytes, with at most how much padding (bytes).

    `inner` says that it stands inside a function.
    """

    number: int
    alignment: int
    most: int
    inner: bool


class Padding(NamedTuple):
    """Where a directive's padding begins and ends, in bytes from its section's start."""

    section: int
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of padding."""
        return self.end - self.begin


class Label(NamedTuple):
    """One directive with its padding in the three objects."""

    directive: Directive
    plain: Padding
    want: Padding
    got: Padding | None


class Measured(NamedTuple):
    """One source: sizes are those of its code sections, in bytes.

    `why` are the reasons for which sections differ from gas's, empty when the objects are equal.
    """

    name: str
    verdict: str
    detail: str = ""
    labels: tuple[Label, ...] = ()
    why: tuple[str, ...] = ()
    nops: int = 0
    plain: int = 0
    want: int = 0
    got: int = 0
    shifted: int = 0


def directives(text: str) -> dict[int, Directive]:
    """The directives of a text that ask for more than a word, by line number."""
    lines = text.split("\n")
    found: dict[int, Directive] = {}
    for number, line in enumerate(lines):
        match = _DIRECTIVE.match(line)
        if match is None or (alignment := 1 << int(match.group(2))) <= _WORD:
            continue
        beside = (lines[number - 1 : number] or [""])[0] + (lines[number + 1 : number + 2] or [""])[
            0
        ]
        inner = match.group(1) == "p2align" and ".align" not in beside
        most = int(match.group(3) or 0) or alignment - 1
        found[number] = Directive(len(found), alignment, most, inner)
    return found


def marked(text: str, found: dict[int, Directive]) -> str:
    """The text with a symbol in front of and behind each directive."""
    lines = text.split("\n")
    for number, directive in found.items():
        begin, end = (_MARK.format(directive.number, side) for side in "be")
        lines[number] = f"{begin}:\n{lines[number]}\n{end}:"
    return "\n".join(lines)


def paddings(obj: elf.Object) -> dict[int, Padding]:
    """Where the marked paddings in code are, by the directive's number."""
    places: dict[tuple[int, str], elf.Symbol] = {}
    for symbol in obj.symbols:
        match = _MARKED.match(symbol.name)
        if match and obj.sections[symbol.section].executable:
            places[int(match.group(1)), match.group(2)] = symbol
    return {
        number: Padding(begin.section, begin.value, places[number, "e"].value)
        for (number, side), begin in places.items()
        if side == "b"
    }


def measure(source: Source, tools: Tools, flags: tuple[str, ...]) -> Measured:
    """Measure one source; the verdict's words are those of corpus.oracle."""
    with tempfile.TemporaryDirectory(prefix="nopfix-alignment-") as scratch:
        folder = Path(scratch)
        every = (*source.flags, *flags)
        what = Compile(source.path, tools, every, keep_alignment=True)
        verdict = oracle.run_case(what, folder=folder)
        if verdict.verdict not in ("equal", "differs"):
            return Measured(source.name, verdict.verdict, verdict.detail)
        plain, want, got = (
            elf.read((folder / f"{n}.o").read_bytes()) for n in ("plain", "want", "got")
        )
        report = verify(plain.raw, got.raw, need_slots=True)
        if not report.verified:
            return Measured(source.name, "not-verified", str(report.differences[0]))
        try:
            shifted = _shifted(plain.raw)
        except Refusal as refusal:
            return Measured(source.name, "refused", str(refusal))
        marks = []
        found = {}
        for name in ("plain", "want"):
            text = (folder / f"{name}.s").read_text("utf-8", "surrogateescape")
            found = directives(text)
            file = folder / f"marked-{name}.s"
            file.write_text(marked(text, found), "utf-8", "surrogateescape")
            made = file.with_suffix(".o")
            command = [*toolchain.assembler(tools, every), "-o", str(made), str(file)]
            done = toolchain.run(command, cwd=folder)
            if done.status:
                return Measured(source.name, "assemble-failed", done.errors.strip())
            marks.append(paddings(elf.read(made.read_bytes())))
        before, wanted = marks
        labels = tuple(_labels(found.values(), before, wanted, _pairings(plain, got)))
    why = () if verdict.verdict == "equal" else tuple(_reasons(labels, plain, want, got))
    return Measured(
        source.name,
        verdict.verdict,
        verdict.detail,
        labels,
        why,
        verdict.nops,
        _code_size(plain),
        _code_size(want),
        _code_size(got),
        shifted,
    )


def _shifted(data: bytes) -> int:
    """Bytes of code in the object that nopfix writes when it lets all alignment go.

    Raises Refusal where something that has to be aligned isn't then.
    """
    result = rewrite(data, Options(realign=False))
    return _code_size(elf.read(bytes(result.data)))


def _code_size(obj: elf.Object) -> int:
    return sum(section.size for section in obj.sections if section.executable)


def _pairings(old: elf.Object, new: elf.Object) -> dict[int, pairing.Pairing]:
    """Where each offset of code went, by section number."""
    references, findings = names.references(old)[0], Findings()
    tables = stale_tables.Checker(old, new, references, findings)
    named = names.collect(old, references)
    found, _ = check.pair_code(old, new, named, tables, findings, need_slots=False)
    return {
        section.number: found.get(section.number, pairing.unmoved(section.size))
        for section in old.sections
        if section.executable
    }


def _labels(
    found: Iterable[Directive],
    plain: dict[int, Padding],
    want: dict[int, Padding],
    went: dict[int, pairing.Pairing],
) -> Iterator[Label]:
    for directive in found:
        if directive.number not in plain:
            continue
        before = plain[directive.number]
        begin = went[before.section].end(before.begin)
        end = went[before.section].start(before.end)
        after = None if begin is None or end is None else Padding(before.section, begin, end)
        yield Label(directive, before, want[directive.number], after)


def _reasons(
    labels: tuple[Label, ...], plain: elf.Object, want: elf.Object, got: elf.Object
) -> Iterator[str]:
    """For each code section that differs from gas's, why the first differing padding does."""
    for section in plain.sections:
        number = section.number
        if section.executable and want.sections[number].data != got.sections[number].data:
            mine = sorted(
                (label for label in labels if label.plain.section == number),
                key=lambda label: label.plain.end,
            )
            first = next((m for m in mine if m.got is None or m.got.size != m.want.size), None)
            yield _reason(first)


def _reason(label: Label | None) -> str:
    if label is None:
        return ELSE
    directive, plain, want, got = label
    if not plain.size:
        return NEEDED_NONE
    if want.end % directive.alignment:
        return OVER_LIMIT
    return COARSER if got is not None and got.end % directive.alignment == 0 else UNSEEN


def kept(label: Label) -> bool:
    """Whether a label that had padding is aligned as before."""
    return label.got is not None and label.got.end % label.directive.alignment == 0


# -- the report -----------------------------------------------------------------------------------


def as_text(measured: list[Measured]) -> str:
    """The report, in Markdown."""
    judged = [one for one in measured if one.verdict in ("equal", "differs")]
    words = Counter(one.verdict for one in measured)
    lines = ["verdicts: " + ", ".join(f"{count} {word}" for word, count in words.most_common()), ""]
    lines += _table(judged, words)
    why = Counter(reason for one in judged for reason in one.why)
    lines += ["", "Code sections that differ from gas's, by the first padding that does:", ""]
    lines += [f"- {count}: {reason}" for reason, count in why.most_common()]
    lost = [
        f"{one.name}: {label}"
        for one in judged
        for label in one.labels
        if label.plain.size and not kept(label)
    ]
    return "\n".join([*lines, *(f"LOST {line}" for line in lost)])


def _table(judged: list[Measured], words: Counter[str]) -> list[str]:
    labels = [label for one in judged for label in one.labels]
    padded = [label for label in labels if label.plain.size]
    nops = _WORD * sum(one.nops for one in judged)
    plain = sum(one.plain for one in judged)

    def grown(size: int) -> str:
        return f"{size - plain} bytes ({100 * (size - plain) / plain:.2f} %)"

    def share(part: int, whole: int) -> str:
        return f"{part} ({100 * part / whole:.1f} %)" if whole else "0"

    inner = [label for label in padded if label.directive.inner]
    outer = [label for label in padded if not label.directive.inner]
    chance = [label for label in labels if not label.plain.size]
    return [
        "| | |",
        "| --- | ---: |",
        f"| objects with a call to fix | {len(judged)} |",
        f"| equal to gas's byte for byte | {share(words['equal'], len(judged))} |",
        f"| alignment directives in their code | {len(labels)} |",
        f"| functions and tables that had padding | {len(outer)} |",
        f"| of these aligned as before | {share(sum(map(kept, outer)), len(outer))} |",
        f"| labels inside functions that had padding | {len(inner)} |",
        f"| of these aligned as before | {share(sum(map(kept, inner)), len(inner))} |",
        f"| directives without padding | {len(chance)} |",
        f"| code before | {plain} bytes |",
        f"| the nops alone | {grown(plain + nops)} |",
        f"| growth by nopfix | {grown(sum(one.got for one in judged))} |",
        f"| growth by nopfix --no-realign | {grown(sum(one.shifted for one in judged))} |",
        f"| growth by gas, given the nops | {grown(sum(one.want for one in judged))} |",
    ]


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m nopfix.corpus.alignment",
        description="measure what nopfix makes of the alignment of labels",
    )
    parser.add_argument("--corpus", action="append", metavar="NAME|DIR")
    parser.add_argument("--cc", default="gcc-12", help="compiler (default %(default)s)")
    parser.add_argument("--flags", default="-O2", metavar='"..."')
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true", help="name each object")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when every label that had padding is aligned as before, else 1."""
    options = _arguments(arguments)
    inputs = [one for name in options.corpus or CORPORA for one in plan.sources_of(name)]
    flags = tuple(options.flags.split())
    count = len(inputs)
    with ProcessPoolExecutor(options.jobs) as pool:
        measured = list(
            pool.map(measure, inputs, [Tools(options.cc)] * count, [flags] * count, chunksize=8)
        )
    if options.verbose:
        for one in measured:
            print(f"{one.verdict:16}{one.name} {'; '.join(one.why)}")
            if one.verdict in ("crashed", "refused", "not-verified"):
                print(f"    {one.detail.splitlines()[-1]}")
    print(as_text(measured))
    judged = [label for one in measured for label in one.labels]
    return 0 if all(kept(label) for label in judged if label.plain.size) else 1


if __name__ == "__main__":
    sys.exit(main())
