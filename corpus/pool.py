"""Run many cases: in a pool of local processes, or on a Dask cluster.

Both are the same to the caller: an iterator of results, in whatever order they come, exactly one
for each case.  A worker process that dies takes no case with it: its cases are run a second time,
one by one, and a case that kills its worker again has the verdict "crashed".
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeAlias

from corpus import case
from corpus.case import Case, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

#: Cases handed to a worker at once: enough to hide the cost of handing over, few enough that a
#: worker that dies costs little.
CHUNK = 8


#: What a worker does with some cases.
Work: TypeAlias = "Callable[[Sequence[Case]], list[Result]]"


def run_chunk(cases: Sequence[Case]) -> list[Result]:
    """Run some cases; what workers are asked to do."""
    return [case.run(one) for one in cases]


def chunks(cases: Sequence[Case], size: int = CHUNK) -> list[Sequence[Case]]:
    """Cut a list of cases into pieces of `size`."""
    return [cases[start : start + size] for start in range(0, len(cases), size)]


def died(one: Case) -> Result:
    """Return the result of a case that took its worker down twice."""
    return Result(
        key=case.key(one), corpus=one.corpus, source=one.name, compiler=one.compiler,
        version="", flags=" ".join(one.flags), checks=",".join(one.checks),
        nopfix=case.nopfix_version(), verdict="crashed", detail="the worker process died",
        behaviour="", nops=0, size_before=0, size_after=0, compile_time=0.0, assemble_time=0.0,
        rewrite_time=0.0, total_time=0.0,
    )  # fmt: skip


def run_local(cases: Sequence[Case], jobs: int, work: Work = run_chunk) -> Iterator[Result]:
    """Run `cases` in `jobs` processes (0: one for each processor)."""
    todo = chunks(cases)
    suspects: list[Case] = []
    while todo:
        todo = yield from _run_until_broken(todo, jobs or os.cpu_count() or 1, suspects, work)
    for one in suspects:
        yield from _run_alone(one, work)


def _run_until_broken(
    todo: list[Sequence[Case]], jobs: int, suspects: list[Case], work: Work
) -> Generator[Result, None, list[Sequence[Case]]]:
    """Run chunks until all are done or the pool breaks; return those not begun.

    Cases that were running when the pool broke are added to `suspects`.
    """
    waiting = list(reversed(todo))
    with ProcessPoolExecutor(jobs) as pool:
        running: dict[Future[list[Result]], Sequence[Case]] = {}
        broken = False
        while running or (waiting and not broken):
            while waiting and len(running) < 2 * jobs and not broken:
                chunk = waiting.pop()
                try:
                    running[pool.submit(work, chunk)] = chunk
                except BrokenProcessPool:
                    waiting.append(chunk)
                    broken = True
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                chunk = running.pop(future)
                try:
                    yield from future.result()
                except BrokenProcessPool:
                    broken = True
                    suspects.extend(chunk)
    return list(reversed(waiting))


def _run_alone(one: Case, work: Work) -> Iterator[Result]:
    with ProcessPoolExecutor(1) as pool:
        try:
            yield from pool.submit(work, [one]).result()
        except BrokenProcessPool:
            yield died(one)


def run_on_cluster(cases: Sequence[Case], address: str) -> Iterator[Result]:
    """Run `cases` on the Dask cluster whose scheduler is at `address`.

    The workers need this package, the same tools and the same source paths.  Dask runs the cases of
    a worker that died on another one; those that kill workers again and again are given up as
    "crashed".  Raises ImportError when dask.distributed isn't installed (the ``cluster`` extra).
    """
    import distributed

    untyped: Any = distributed
    with untyped.Client(address, set_as_default=False) as client:
        pieces = chunks(cases)
        futures = {
            client.submit(run_chunk, piece, pure=False, retries=2): piece for piece in pieces
        }
        for future in untyped.as_completed(list(futures), loop=client.loop):
            piece = futures.pop(future)
            try:
                yield from future.result()
            except untyped.KilledWorker:
                for one in piece:
                    yield died(one)
            future.release()
