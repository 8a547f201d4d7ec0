"""Damages nopfix's output for many objects, and lists what nopfix-verify accepts of that.

`python -m tests.verifier.damaging OBJECT... --per-kind 40` rewrites each object (with the .dwo
files beside it) and damages what comes out: `--per-kind` mutants of each kind, drawn at random, of
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


def caught(old: bytes, new: bytes) -> bool:
    """Whether nopfix-verify says no to OUT."""
    try:
        return not verify(old, new).verified
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


def accepted(
    old: bytes, new: bytes, kind: str, number: int, draw: random.Random
) -> Iterator[tuple[str, bool]]:
    """What was done, and whether it was accepted, of each mutant that differs from OUT."""
    for what, make in drawn(KINDS[kind](new), number, draw):
        mutant = make()
        if mutant != new:
            yield what, not caught(old, mutant)


def rewritten(path: Path, old: bytes) -> bytes:
    """What nopfix makes of an object. Raises nopfix.Refusal."""
    split = {p.name: p.read_bytes() for p in path.parent.glob(f"{path.name[:-2]}.dwo")}
    return bytes(nopfix.rewrite(old, nopfix.Options(dwo=split)).data)


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
        old = path.read_bytes()
        try:
            new = rewritten(path, old)
        except nopfix.Refusal as error:
            print(f"{path}: refused: {error}")
            continue
        if new == old or caught(old, new):
            alarms += new != old
            print(f"{path}: {'unchanged' if new == old else 'NOT VERIFIED'}")
            continue
        for kind in options.kind or KINDS:
            for what, bad in accepted(old, new, kind, options.per_kind, draw):
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
