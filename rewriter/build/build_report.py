"""One report over a build: what became of each of its objects.

The problem: kpatch-build puts what the compiler says into a log that is gone or long when its own
message comes, a kernel has thousands of objects, and each of them is a process of its own.  The
rule: where $NOPFIX_REPORT names a folder, whoever has rewritten an object adds one line of JSON to
a file in it, in one write that nobody else's can lie within (open(2), O_APPEND).  At the end
`nopfix-serve --report FILE` makes one file of all that, and a page of text.

An object that was made more than once counts as it was made last; so does one that nopfix-serve
gave back to the wrapper.  What needed nothing and is gone at the end doesn't count: a kernel's make
has its compiler try 160 files that it throws away.

Source: open(2), write(2); kpatch-build (build.log in $CACHEDIR).
"""

from __future__ import annotations

import json
import os

from nopfix import __version__
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nopfix.rewriter.build.objects_in_place import Outcome

_LINES = "objects.jsonl"

VERDICTS = ("rewritten", "unchanged", "left out", "refused", "failed")
"""What can become of an object; "left out" are those on the skip list and what isn't ours."""

_SHOWN = 10  # lines of each kind on the page


class Object(Record):
    """What became of one object.

    ``object`` is its absolute path; ``verdict`` one of `VERDICTS`; ``slots`` how many nops were put
    in; ``left`` a line for each part that was left as compiled, ``sibling_calls`` one for each tail
    call that kpatch would refuse; ``message`` why it was refused; ``seconds`` processor time.
    """

    object: str
    verdict: str
    slots: int
    left: Sequence[str]
    sibling_calls: Sequence[str]
    message: str
    seconds: float


def add(folder: str, path: str, outcome: Outcome, message: str, seconds: float) -> None:
    """Add what became of the object ``path`` to the report in ``folder``, which is made if need be.

    Raises OSError.
    """
    known = Object(
        os.path.abspath(path), outcome.verdict, outcome.slots, outcome.left, outcome.sibling_calls,
        message, round(seconds, 4),
    )  # fmt: skip
    line = json.dumps(known._asdict(), ensure_ascii=True) + "\n"
    os.makedirs(folder, exist_ok=True)
    file = os.open(os.path.join(folder, _LINES), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line.encode("ascii"))
    finally:
        os.close(file)


def read(folder: str) -> list[Object]:
    """What became of each object of a build that counts, by path.

    Raises OSError, and ValueError for a file that `add` hasn't written.
    """
    found: dict[str, Object] = {}
    path = os.path.join(folder, _LINES)
    if os.path.isdir(folder) and not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            try:
                one = Object(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: not a line of a report") from error
            found[one.object] = one
    return [found[name] for name in sorted(found) if _counts(found[name])]


def _counts(one: Object) -> bool:
    """Whether it needed something, or is still there."""
    return one.verdict not in ("unchanged", "left out") or os.path.exists(one.object)


def verdicts(objects: Iterable[Object]) -> dict[str, int]:
    """How many objects came to what."""
    counts = dict.fromkeys(VERDICTS, 0)
    for one in objects:
        counts[one.verdict] += 1
    return counts


def summary(objects: Sequence[Object]) -> dict[str, object]:
    """The report as JSON has it: docs/build-report.schema.json."""
    return {
        "nopfix": __version__,
        "verdicts": verdicts(objects),
        "slots": sum(one.slots for one in objects),
        "left": sum(len(one.left) for one in objects),
        "sibling_calls": sum(len(one.sibling_calls) for one in objects),
        "seconds": round(sum(one.seconds for one in objects), 3),
        "objects": [one._asdict() for one in objects],
    }


def page(objects: Sequence[Object], file: str) -> Iterator[str]:
    """The lines of the page; ``file`` is where the report itself is."""
    found = verdicts(objects).items()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found if count)
    slots, seconds = sum(one.slots for one in objects), sum(one.seconds for one in objects)
    yield (
        f"nopfix: {len(objects)} objects: {counts or 'none'}; {slots} slots,"
        f" {seconds:.1f} s of processor time"
    )
    wrong = [one.message for one in objects if one.verdict in ("refused", "failed")]
    if wrong:
        yield from _listed(
            "refused, so the compiler's command failed; each line says the cure", wrong
        )
    left = [f"{one.object}: {line}" for one in objects for line in one.left]
    if left:
        yield from _listed(
            "left as compiled: the kernel refuses a live patch that changes these functions", left
        )
    sibling = [line for one in objects for line in one.sibling_calls]
    if sibling:
        yield from _listed(
            "sibling calls: a patch that changes one of these functions needs"
            " -fno-optimize-sibling-calls for it",
            sibling,
        )
    yield f"all of it: {file}; kpatch-build keeps what the compiler said in ~/.kpatch/build.log"


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield f"{title} ({len(lines)}):"
    for line in lines[:_SHOWN]:
        yield f"  {printable(line)}"
    if len(lines) > _SHOWN:
        yield f"  and {len(lines) - _SHOWN} more"


def write(folder: str, file: str) -> list[str]:
    """Make the report ``file`` of what is in ``folder``; returns the lines of the page.

    Raises OSError and ValueError.
    """
    objects = read(folder)
    with open(file, "w", encoding="ascii") as new:
        json.dump(summary(objects), new, indent=1)
        new.write("\n")
    return [*page(objects, file)]
