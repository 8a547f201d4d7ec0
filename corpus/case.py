"""One case of a regression run: what goes in, what comes out.

A case is a pure function of its inputs (the source's content, the compiler and its version, the
flags, the checks, nopfix itself), so it can run in any process on any machine that has the same
tools, and need not run again while none of them changed: `key` is a digest of all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import signal
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import chroot, debugger, execution, kept, objects, oracle, slots, toolchain
from nopfix.corpus.prepare import Compile, Prepared, Verdict, prepare
from nopfix.corpus.verdicts import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nopfix.corpus.toolchain import Tools

#: The checks by name, in the order in which they run.
CHECKS = ("oracle", "qemu", "verify", "slots", "gdb")

#: A case that takes longer counts as crashed.
TIMEOUT_SECONDS = 300


class Case(NamedTuple):
    """The inputs of a case.

    `source` is the file, a ``.c``/``.C`` or a ready-made ``.o``; `name` and `corpus` are for the
    reports, as is `origin`, the sources' version.  The compiler of `tools` is "" for a ready-made
    object.  `flags` are the matrix's, `own` those that the source itself asks for, put before them.
    `folder`, where set, is the folder to compile in (a kernel tree has relative include paths);
    `context` is a digest of the files that the source may include; `keep_in`, where set, the folder
    that keeps what compilers made (corpus.kept): the result doesn't depend on it.  `offset` is
    where in a library an object is.
    """

    corpus: str
    name: str
    source: str
    tools: Tools
    flags: tuple[str, ...]
    checks: tuple[str, ...]
    own: tuple[str, ...] = ()
    folder: str = ""
    context: str = ""
    keep_in: str = ""
    origin: str = ""
    offset: int = 0

    def all_flags(self) -> tuple[str, ...]:
        """Return what the compiler is given: the source's own flags, then the matrix's."""
        return (*self.own, *self.flags)


class Result(NamedTuple):
    """What came out: one row of the results.

    `verdict` is a word of corpus.verdicts, `behaviour` the word of corpus.execution when programs
    were run.  Sizes in bytes, times in seconds: of the clock, but `rewrite_cpu` of the processor.
    `compiler` is the tools' label; `version` and `assembler` say what they call themselves, and
    `origin` which sources they were given ("gcc-12.2.0").
    """

    key: str
    corpus: str
    source: str
    compiler: str
    version: str
    flags: str
    checks: str
    nopfix: str
    verdict: str
    detail: str
    behaviour: str
    nops: int
    size_before: int
    size_after: int
    compile_time: float
    assemble_time: float
    rewrite_time: float
    total_time: float
    rewrite_cpu: float = 0.0
    assembler: str = ""
    origin: str = ""

    def identity(self) -> tuple[str, ...]:
        """Return what makes two results those of one case, whichever nopfix and checks it had."""
        return self.corpus, self.source, self.compiler, self.flags


#: Which files give each check its verdict, below the folder of the packages.
_JUDGES = {
    "oracle": ("compare.py", "lines.py"),
    "qemu": ("execution.py",),
    "verify": ("../verifier/*.py",),
    "slots": ("slots.py",),
    "gdb": ("execution.py", "debugger.py"),
}
_ALWAYS = (
    "case.py", "oracle.py", "prepare.py", "assembly.py", "entries.py", "objects.py", "toolchain.py",
)  # fmt: skip


#: The commands around the rewriter, which can't change what becomes of an object.
AROUND = frozenset((
    "__main__.py", "command.py", "compiler_arguments.py", "objects_in_place.py", "output.py",
    "request.py", "server.py", "sibling_calls.py", "source_lines.py", "split_dwarf.py", "start.py",
    "toolchain.py", "wrapper.py",
))  # fmt: skip


@functools.cache
def nopfix_version() -> str:
    """Return a digest of the rewriter's own sources: what "the same nopfix" means here."""
    return _code_digest(("../rewriter/**/*.py", "../dwarf/*.py"), AROUND)


@functools.cache
def _code_digest(patterns: tuple[str, ...], without: frozenset[str] = frozenset()) -> str:
    digest = hashlib.sha256()
    for pattern in patterns:
        files = Path(__file__).parent.glob(pattern)
        for file in sorted(file for file in files if file.name not in without):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def content(source: Path | str) -> str:
    """Return a digest of a file; a file that many cases share is read once."""
    status = Path(source).stat()
    return _content_digest(str(source), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=50_000)
def _content_digest(source: str, modified: int, size: int) -> str:
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()


def _compiled_from(case: Case) -> tuple[str, ...]:
    """Return all that the compiler and the assembler are given for `case`, and what they are."""
    return (
        content(case.source), case.context, case.name, toolchain.version(case.tools),
        toolchain.assembler_version(case.tools), *case.all_flags(),
    )  # fmt: skip


def key(case: Case) -> str:
    """Return a digest of all the inputs of `case`, the code that judges it included.

    Raises OSError for a source that isn't there, ToolError for a compiler that isn't.
    """
    made = _compiled_from(case) if case.tools.compiler else (content(case.source), case.name)
    judges = _code_digest((*_ALWAYS, *(file for check in case.checks for file in _JUDGES[check])))
    parts = (case.corpus, case.tools.label(), *made, "", *case.checks, nopfix_version(), judges)
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


class _TooLong(BaseException):
    """The case's time is up.  No Exception, so that no handler on the way takes it for a bug."""


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raise _TooLong in the block after `seconds`.

    A signal interrupts a process's main thread only.  A Dask worker runs cases in another thread,
    which is interrupted between two instructions of Python's; the tools have limits of their own.
    """
    if threading.current_thread() is not threading.main_thread():
        timer = threading.Timer(seconds, _interrupt, (threading.get_ident(),))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        return

    def stop(signum: int, frame: object) -> None:
        raise _TooLong

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _interrupt(thread: int) -> None:
    """Raise _TooLong in a thread of this process."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_TooLong))


class _Outcome(NamedTuple):
    """What the checks found, and the seconds that they took after the preparation."""

    verdict: Verdict
    behaviour: str = ""
    seconds: float = 0.0


def run(case: Case) -> Result:
    """Run one case; never raises for what the case does, only for missing tools (ToolError)."""
    with tempfile.TemporaryDirectory(prefix="nopfix-case-") as name:
        try:
            with _time_limit(TIMEOUT_SECONDS):
                chroot.show(case.tools.root, _folders(case))
                outcome = _run_in(case, Path(name))
        except _TooLong:
            outcome = _Outcome(Verdict("crashed", f"no end after {TIMEOUT_SECONDS} s"))
        except (toolchain.ToolError, chroot.RootError):
            raise
        except Exception:
            detail = traceback.format_exc(limit=-4).strip()
            outcome = _Outcome(Verdict("crashed", detail))
    verdict = outcome.verdict._replace(detail=outcome.verdict.detail.replace(name, "")[:4000])
    return result(case, verdict, outcome.behaviour, verdict.prepare_time + outcome.seconds)


def _folders(case: Case) -> tuple[Path | str, ...]:
    """Return the folders that a compiler elsewhere has to see."""
    return (Path(case.source).parent, *([case.folder] if case.folder else []))


def result(case: Case, verdict: Verdict, behaviour: str = "", total_time: float = 0.0) -> Result:
    """Return the row of a case that came out so."""
    compiled = bool(case.tools.compiler)
    return Result(
        key=key(case),
        corpus=case.corpus,
        source=case.name,
        compiler=case.tools.label() if compiled else "",
        version=toolchain.version(case.tools) if compiled else "",
        flags=" ".join(case.flags),
        checks=",".join(case.checks),
        nopfix=nopfix_version(),
        verdict=verdict.verdict,
        detail=verdict.detail,
        behaviour=behaviour,
        nops=verdict.nops,
        size_before=verdict.size_before,
        size_after=verdict.size_after,
        compile_time=verdict.compile_time,
        assemble_time=verdict.assemble_time,
        rewrite_time=verdict.rewrite_time,
        total_time=total_time,
        rewrite_cpu=verdict.rewrite_cpu,
        assembler=toolchain.assembler_version(case.tools) if compiled else "",
        origin=case.origin,
    )


def _run_in(case: Case, folder: Path) -> _Outcome:
    """Prepare the case and run its checks."""
    if not case.tools.compiler:
        return _check(case, folder, lambda: _rewrite_object(case, folder))
    prepared = _prepared(case, folder)
    return _check(
        case, folder,
        lambda: oracle.judge(prepared, compare_with_want="oracle" in case.checks),
    )  # fmt: skip


def _check(case: Case, folder: Path, judge: Callable[[], Verdict]) -> _Outcome:
    """Run the case's checks one after the other; the first one that fails gives the verdict."""
    begun = time.perf_counter()
    verdict, behaviour = judge(), ""
    if verdict.verdict in GOOD:
        if "qemu" in case.checks and verdict.nops:
            cxx = Path(case.source).suffix in toolchain.CXX_SUFFIXES
            ran = execution.same_behaviour(
                folder / "plain.o", folder / "got.o", case.tools, cxx=cxx
            )
            behaviour = ran.verdict
            if behaviour == "changed":
                verdict = verdict._replace(verdict="run-changed", detail=ran.detail)
            elif behaviour == "same" and "gdb" in case.checks:
                verdict = _debugged(verdict, case, folder)
        for name, check in (("verify", _verified), ("slots", _with_slots)):
            if name in case.checks and verdict.verdict in GOOD:
                verdict = check(verdict, folder, case.tools.root)
    return _Outcome(verdict, behaviour, time.perf_counter() - begun)


def _debugged(verdict: Verdict, case: Case, folder: Path) -> Verdict:
    """Compare what gdb says of the programs that were linked to be run."""
    source = Path(case.source).name
    root = execution.linking(case.tools).root
    found = debugger.difference(folder / "before", folder / "after", source, root)
    return verdict._replace(verdict="gdb-changed", detail=found) if found else verdict


def _verified(verdict: Verdict, folder: Path, root: str) -> Verdict:
    """Ask nopfix-verify for its second opinion."""
    from nopfix import verifier

    report = verifier.verify(
        (folder / "plain.o").read_bytes(), (folder / "got.o").read_bytes(), need_slots=True
    )
    if report.verified:
        return verdict
    detail = "\n".join(map(str, report.differences[:10]))
    return verdict._replace(verdict="not-verified", detail=detail)


def _with_slots(verdict: Verdict, folder: Path, root: str) -> Verdict:
    """Count the calls without slot in objdump's output."""
    try:
        lacking = slots.calls_without_slot(folder / "got.o", root)
    except slots.Unreadable as why:
        return verdict._replace(verdict="unjudged", detail=f"the slots can't be counted: {why}")
    if not lacking:
        return verdict
    places = [f"{c.section}+{c.offset:#x} in {c.function}: {c.callee}" for c in lacking]
    return verdict._replace(verdict="no-slot", detail="\n".join(places))


def _prepared(case: Case, folder: Path) -> Prepared:
    """Prepare the case, or take what was kept of an earlier time."""
    with_want = "oracle" in case.checks
    path = None
    if case.keep_in:
        inputs = (*_compiled_from(case), "" if with_want else "plain only")
        path = kept.place(case.keep_in, inputs)
        if (found := kept.load(path, folder)) is not None:
            return found
    run_in = Path(case.folder) if case.folder else None
    what = Compile(
        Path(case.source), case.tools, case.all_flags(), run_in=run_in, with_want=with_want
    )
    prepared = prepare(what, folder)
    if path is not None:
        kept.save(path, prepared)
    return prepared


def _rewrite_object(case: Case, folder: Path) -> Verdict:
    """Rewrite a ready-made object: there is no assembly, so nothing to compare with."""
    data = objects.load(Path(case.source), case.offset)
    plain = folder / "plain.o"
    plain.write_bytes(data)
    base = Verdict("", size_before=len(data))
    try:
        lacking = slots.calls_without_slot(plain, case.tools.root)
    except slots.Unreadable as why:
        return base._replace(verdict="unjudged", detail=f"the slots can't be counted: {why}")
    base = base._replace(nops=len(lacking))
    return oracle.judge(Prepared(base, plain, plain), compare_with_want=False)
