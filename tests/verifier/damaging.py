"""Damages nopfix's output for many objects, and lists what nopfix-verify accepts of that.

`python -m tests.verifier.damaging OBJECT... --per-kind 40` rewrites each object (with the
.dwo beside it) and damages what comes out: `--per-kind` mutants of each kind, drawn at random, of
damage.py and damaged_records.py. `--kind "byte of the file" --per-kind 0` changes every byte. What
is accepted stands in a line of its own: object, kind, what was done. It is harmless
(docs/verifier.md lists the kinds) or a fault of nopfix-verify. The exit status is 1 when a right
object isn't verified.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import nopfix
from nopfix.verifier import Unreadable, verify
from tests.verifier import damage, damaged_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = damage.KINDS | damaged_records.KINDS


Both = tuple[bytes, bytes]
"""A file of IN and its counterpart in OUT."""


def caught(old: bytes, new: bytes, dwo: Both | None = None) -> bool:
    """Whether nopfix-verify says no to OUT."""
    try:
        return not verify(old, new, dwo=dwo).verified
    except Unreadable:
        return True


def drawn(mutants: damage.Mutants, number: int, draw: random.Random) -> damage.Mutants:
    """That many mutants at random, or all (0), in one pass over them (reservoir sampling)."""
    if not number:
        yield from mutants
        return
    kept: list[tuple[str, damage.Made]] = []
    for index, mutant in enumerate(mutants):
        if index < number:
            kept.append(mutant)
        elif (place := draw.randrange(index + 1)) < number:
            kept[place] = mutant
    yield from kept


def rewritten(path: Path) -> tuple[Both, Both | None]:
    """An object and what nopfix makes of it; the same for the .dwo beside it, if there is one.

    Raises nopfix.Refusal.
    """
    old, beside = path.read_bytes(), path.with_suffix(".dwo")
    split = {beside.name: beside.read_bytes()} if beside.exists() else {}
    result = nopfix.rewrite(old, nopfix.Options(dwo=split))
    both = [(data, result.dwo.get(name, data)) for name, data in split.items()]
    return (old, bytes(result.data)), both[0] if both else None


def accepted(
    both: Both, dwo: Both | None, kind: str, number: int, draw: random.Random
) -> Iterator[tuple[str, bool]]:
    """What was done, and whether it was accepted, of each mutant that differs from OUT."""
    old, new = both
    for what, make in drawn(KINDS[kind](new), number, draw):
        mutant = make()
        if mutant != new:
            yield what, not caught(old, mutant, dwo)
    for what, make in drawn(KINDS[kind](dwo[1]), number, draw) if dwo else ():
        mutant = make()
        if dwo and mutant != dwo[1]:
            yield f".dwo: {what}", not caught(old, new, (dwo[0], mutant))


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.verifier.damaging", description=__doc__)
    parser.add_argument("objects", nargs="+", type=Path, metavar="OBJECT")
    parser.add_argument("--per-kind", type=int, default=40, metavar="N", help="0: all")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    options = parser.parse_args(None if arguments is None else [*arguments])
    total = found = alarms = 0
    for path in options.objects:
        draw, begun, count = random.Random(f"{options.seed} {path.name}"), time.process_time(), 0
        try:
            both, dwo = rewritten(path)
        except nopfix.Refusal as error:
            print(f"{path}: refused: {error}")
            continue
        if both[0] == both[1] or caught(*both, dwo):
            alarms += both[0] != both[1]
            print(f"{path}: {'unchanged' if both[0] == both[1] else 'NOT VERIFIED'}")
            continue
        for kind in options.kind or KINDS:
            for what, bad in accepted(both, dwo, kind, options.per_kind, draw):
                count += 1
                found += bad
                if bad:
                    print(f"{path}: accepted: {kind}: {what}", flush=True)
        total += count
        print(f"{path}: {count} mutants, {time.process_time() - begun:.0f} s", flush=True)
    print(f"{total} mutants, {found} accepted, {alarms} right objects not verified")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
