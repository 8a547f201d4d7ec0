"""Run many cases: in a pool of local processes, or on a Dask cluster.

Both are the same to the caller: an iterator of results, in whatever order they come, exactly one
for each case.  A worker process that dies takes no case with it: its cases are run a second time,
one by one, and a case that kills its worker again has the verdict "crashed".
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeAlias

from nopfix.corpus import case
from nopfix.corpus.prepare import Verdict
from nopfix.corpus.toolchain import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from nopfix.corpus.case import Case, Result

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
    return case.result(one, Verdict("crashed", "the worker process died"))


def _stop(signum: int, frame: object) -> None:
    raise SystemExit(1)


def _begin_worker() -> None:
    """Let a worker process end on SIGINT, and when the process that runs the pool has ended.

    A worker waits for work on a pipe that its siblings hold open too, so it wouldn't notice.
    """
    signal.signal(signal.SIGINT, _stop)

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_worker(work: Work, cases: Sequence[Case]) -> list[Result]:
    """Do the work; when stopped, the case that ran has removed its folder, and the process ends."""
    try:
        return work(cases)
    except SystemExit:
        os._exit(1)


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool whose workers stop at once when the block is left by an exception.

    Raises ToolError where the system has no semaphores, as in a root folder without /dev/shm: the
    error that Python has for it names no file.
    """
    try:
        pool = ProcessPoolExecutor(jobs, initializer=_begin_worker)
    except OSError as error:
        text = f"no worker processes: {error.strerror}; mount /dev/shm, where all may write"
        raise ToolError(text) from error
    try:
        yield pool
    except BaseException:
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                os.kill(worker.pid, signal.SIGINT)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


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
    with _pool(jobs) as pool:
        running: dict[Future[list[Result]], Sequence[Case]] = {}
        broken = False
        while running or (waiting and not broken):
            while waiting and len(running) < 2 * jobs and not broken:
                chunk = waiting.pop()
                try:
                    running[pool.submit(_in_worker, work, chunk)] = chunk
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
    with _pool(1) as pool:
        try:
            yield from pool.submit(_in_worker, work, [one]).result()
        except BrokenProcessPool:
            yield died(one)


def run_on_cluster(cases: Sequence[Case], address: str, work: Work = run_chunk) -> Iterator[Result]:
    """Run `cases` on the Dask cluster whose scheduler is at `address`.

    The workers need this package, the same tools and the same source paths.  Dask runs the cases of
    a worker that died on another one.  Cases that were there when several workers died are run
    again one by one; one that does it again has the verdict "crashed".  Raises ImportError when
    dask.distributed isn't installed (the ``cluster`` extra), ToolError for a worker that has
    another nopfix, compiler or source than there is here.
    """
    import distributed

    untyped: Any = distributed
    suspects: list[Case] = []
    with untyped.Client(address, set_as_default=False) as client:

        def submit(piece: Sequence[Case]) -> Any:
            return client.submit(work, piece, pure=False, retries=2)

        futures = {submit(piece): piece for piece in chunks(cases)}
        for future in untyped.as_completed(list(futures), loop=client.loop):
            piece = futures.pop(future)
            try:
                yield from _as_asked(piece, future.result())
            except untyped.KilledWorker:
                suspects.extend(piece)
            future.release()
        for one in suspects:
            try:
                yield from _as_asked([one], submit([one]).result())
            except untyped.KilledWorker:
                yield died(one)


def _as_asked(piece: Sequence[Case], results: Sequence[Result]) -> Sequence[Result]:
    """Return what a worker made of its cases.  Raises ToolError where it ran something else."""
    for one, result in zip(piece, results, strict=True):
        if result.key != case.key(one):
            raise ToolError(
                f"{one.name}: a worker has another nopfix, compiler, assembler or source than this "
                f"machine ({result.version}, nopfix {result.nopfix})"
            )
    return results
