"""Negate or drop every branch of the proofs in turn: which of these mutants no test notices.

    python -m tests.mutation [--module NAME] [--match TEXT] [--every N] [--keep FILE]
                             [--objects FOLDER]

The problem: a proof that accepts too much is silently wrong, and a line that the tests run through
may still decide nothing that they look at.  So each condition of the functions that transfer,
merge and look up values is made wrong in turn, and tests have to fail.  What is left over is either
a gap in the tests or makes no difference; docs/proofs.md says which.

The rule: a mutant is a function's code with one condition negated, one never true (or, where it
only filters, always), or one operand of an ``and`` or ``or`` left out.  The tests are collected
and run once as they are, and which of them come by which line is noted; then each mutant gets a
process of its own, forked from that one, in which the live function has the other code and the
tests run that come by its line: first what noticed other mutants of the function, then of the
module, then what is fastest.  The first test that fails ends it.  Most tests look at nothing but
what `data_in_code.analyse` makes of an object: where that is the same as without the mutant for all
objects that such a test reads, it isn't run.  What assembles is remembered: a thousand mutants ask
for the same hundred objects.  With ``--keep`` all that is known in the next run as well, for the
tests whose file hasn't changed.  With ``--objects`` a mutant that survives has to
give the same objects and refusals for all below a folder as well.

A test that takes ten times as long as without a mutant, and some seconds, has noticed it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import inspect
import os
import pickle
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import nopfix
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.proof import data_in_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[2]
PROOFS = ROOT / "rewriter" / "proof"
MODULES = (
    *("control_flow", "evidence", "indirect", "reaching", "readers", "resolve", "steps"),
    *("switch_table", "trials", "walks"),
)
TESTS = (
    "test_indirect",
    "test_switch_table",
    "test_steps",
    "test_trials",
    "test_walks",
    "test_control_flow",
    "test_data_in_code",
    "test_units",
    "test_claims",
)
# These look at what `analyse` says of objects, and at nothing else.
OF_ANALYSIS = (
    *("test_indirect", "test_switch_table", "test_steps", "test_trials"),
    "test_data_in_code",
)
# How much processor time a test may take with a mutant: so many times its own, and seconds more.
_TIMES, _MORE = 10, 3
NOTICED, SURVIVED = 0, 1


class Mutant(NamedTuple):
    """One function of a module with one condition that is wrong: where, what, and its code."""

    module: str
    function: str
    line: int
    change: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.module}.py:{self.line} {self.function}: {self.change}"


# -- what is made wrong ----------------------------------------------------------------------------


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module of rewriter/proof."""
    path = PROOFS / f"{module}.py"
    tree = ast.parse(path.read_text())
    for name, function in _functions(tree, ""):
        for number, node in enumerate(ast.walk(function)):
            for kind, change in _changes(node):
                new = copy.deepcopy(tree)
                same = next(f for n, f in _functions(new, "") if n == name)
                target = list(ast.walk(same))[number]
                kind(target)
                ast.fix_missing_locations(_Single().visit(new))
                code = _code(compile(new, str(path), "exec"), name.split("."))
                line = _line(node)
                yield Mutant(module, name, line, change, code)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")


def _changes(node: ast.AST) -> Iterator[tuple[Callable[[Any], None], str]]:
    """What can be made wrong of a node: what changes the same node of another tree, and words."""
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        text = ast.unparse(node.test)
        yield _negate, f"not ({text})"
        yield _never, f"never ({text})"
    elif isinstance(node, ast.comprehension):
        for index, test in enumerate(node.ifs):
            text = ast.unparse(test)
            yield lambda other, index=index: other.ifs.pop(index), f"always ({text})"
    elif isinstance(node, ast.BoolOp):
        for index, value in enumerate(node.values):
            text = ast.unparse(value)
            yield lambda other, index=index: other.values.pop(index), f"without ({text})"


def _line(node: Any) -> int:
    """The line on which what is made wrong of a node begins."""
    test = node.ifs[0] if isinstance(node, ast.comprehension) else getattr(node, "test", node)
    line: int = test.lineno
    return line


def _negate(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _never(node: Any) -> None:
    node.test = ast.Constant(value=False)


class _Single(ast.NodeTransformer):
    """Puts the one operand that an ``and`` or ``or`` has left in its place."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """The operand, or the node as it is."""
        self.generic_visit(node)
        return node if len(node.values) > 1 else node.values[0]


def _code(code: CodeType, path: Sequence[str]) -> CodeType:
    for name in path:
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return code


def put_in(mutant: Mutant) -> None:
    """Give the live function the mutant's code."""
    found: Any = importlib.import_module(f"nopfix.rewriter.proof.{mutant.module}")
    for name in mutant.function.split("."):
        found = inspect.getattr_static(found, name)
    found = getattr(found, "__func__", None) or getattr(found, "fget", None) or found
    assert isinstance(found, FunctionType)
    found.__code__ = mutant.code


# -- the tests -------------------------------------------------------------------------------------


class Remembered:
    """`subprocess.run` that runs an assembler or compiler only once for the same text."""

    def __init__(self) -> None:
        self._run = subprocess.run
        self.objects: dict[tuple[object, ...], bytes] = {}

    def __call__(self, command: Any, *rest: Any, **options: Any) -> Any:
        """The same as `subprocess.run`."""
        if "-o" not in command:
            return self._run(command, *rest, **options)
        at = list(command).index("-o") + 1
        inputs = (_content(word) for word in (*command[:at], *command[at + 1 :]))
        key = (*inputs, options.get("input"))
        known = self.objects.get(key)
        if known is None:
            done = self._run(command, *rest, **options)
            if Path(command[at]).exists():
                self.objects[key] = Path(command[at]).read_bytes()
            return done
        Path(command[at]).write_bytes(known)
        return subprocess.CompletedProcess(command, 0, b"", b"")


def _content(word: str | os.PathLike[str]) -> str | bytes:
    """A file's content in place of its name; any other word of a command as it is."""
    return Path(word).read_bytes() if Path(word).is_file() else str(word)


class Seen(NamedTuple):
    """What was seen of a test as it is: its file's digest, its lines, the objects that it reads.

    ``seconds`` are of the processor.
    """

    digest: str
    lines: frozenset[tuple[str, int]]
    read: tuple[bytes, ...]
    seconds: float


class Judge:
    """A pytest plugin that runs the collected tests for each mutant in place of once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.judged: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.outcomes: dict[Path, str] = {}
        self._analyses: dict[bytes, str] = {}
        self._failed = False
        self._seen: list[Seen] = []
        self._comes_by: dict[tuple[str, int], list[int]] = {}
        self._noticed: dict[str, Counter[int]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests as they are, then for each mutant."""
        self._look_on(session)
        for path in self.options.objects.rglob("*") if self.options.objects else ():
            if path.is_file() and path.read_bytes()[:4] == b"\x7fELF":
                self.outcomes[path] = _outcome(path)
        wanted = self.options.match
        every = (
            mutant
            for module in self.options.module
            for mutant in mutants(module)
            if not wanted or any(text in str(mutant) for text in wanted)
        )
        end = time.monotonic() + self.options.seconds
        for number, mutant in enumerate(every):
            if number % self.options.every != self.options.first:
                continue
            if time.monotonic() > end:
                break
            tests = self._tests_of(mutant)
            self.judged[mutant.module] += 1
            if self._judge(session, mutant, tests):
                continue
            self.survived[mutant.module] += 1
            print(f"survives {len(tests)} tests: {mutant}", file=sys.__stdout__, flush=True)
        return True

    def _look_on(self, session: pytest.Session) -> None:
        """Run each test as it is, or know from an earlier run by which lines it comes."""
        run = Remembered()
        subprocess.run = run  # type: ignore[assignment]
        keep: Path | None = self.options.keep
        known: dict[str, Seen] = {}
        if keep and keep.exists():
            run.objects, known = pickle.loads(keep.read_bytes())
        proofs = b"".join(path.read_bytes() for path in sorted(PROOFS.glob("*.py")))
        for number, item in enumerate(session.items):
            digest = hashlib.sha256(proofs + item.path.read_bytes()).hexdigest()
            if item.nodeid not in known or known[item.nodeid].digest != digest:
                known[item.nodeid] = self._look_at(item, digest)
            self._seen.append(known[item.nodeid])
            for line in self._seen[-1].lines:
                self._comes_by.setdefault(line, []).append(number)
        self._analyses = {data: _analysis(data) for seen in self._seen for data in seen.read}
        if keep:
            keep.write_bytes(pickle.dumps((run.objects, known)))

    def _look_at(self, item: pytest.Item, digest: str) -> Seen:
        """Run a test; note by which lines it comes, and how long it takes."""
        lines: set[tuple[str, int]] = set()
        objects: dict[bytes, None] = {}
        read = elf.read
        elf.read = lambda data: read(objects.setdefault(bytes(data)) or data)
        begin = time.process_time()
        sys.settrace(_tracer(lines))
        passes = self._passes(item)
        sys.settrace(None)
        elf.read = read
        if not passes:
            raise pytest.Session.Failed(f"{item.nodeid} fails without any mutant")
        seconds = time.process_time() - begin
        is_of_analysis = item.path.stem in OF_ANALYSIS
        return Seen(digest, frozenset(lines), tuple(objects) if is_of_analysis else (), seconds)

    def _tests_of(self, mutant: Mutant) -> list[int]:
        """The tests that come by a mutant, in the order in which they are best run."""
        function, module = (self._noticed.setdefault(name, Counter()) for name in _names(mutant))
        tests = self._comes_by.get((f"{mutant.module}.py", mutant.line), [])
        return sorted(
            tests,
            key=lambda number: (-function[number], -module[number], self._seen[number].seconds),
        )

    def _passes(self, item: pytest.Item) -> bool:
        self._failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self._failed

    def _judge(self, session: pytest.Session, mutant: Mutant, tests: Sequence[int]) -> bool:
        """Whether a test, or one of the objects, notices a mutant."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            status = NOTICED
            try:
                put_in(mutant)
                for number in tests:
                    os.write(writer, b"%d\n" % number)
                    self._limit(number)
                    if not self._is_changed(number):
                        continue
                    if not self._passes(session.items[number]):
                        os._exit(NOTICED)
                os.write(writer, b"-1\n")
                if all(_outcome(path) == known for path, known in self.outcomes.items()):
                    status = SURVIVED
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            ran = [int(line) for line in pipe.read().split()]
        noticed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != SURVIVED
        if noticed and ran and ran[-1] >= 0:
            for name in _names(mutant):
                self._noticed[name][ran[-1]] += 1
        return noticed

    def _is_changed(self, number: int) -> bool:
        """Whether a test may fail: something else is said of its objects, or nothing is known."""
        read = self._seen[number].read
        return not read or any(_analysis(data) != self._analyses[data] for data in read)

    def _limit(self, number: int) -> None:
        """Let a test end this process if it takes much longer than it should."""
        seconds = int(time.process_time() + _TIMES * self._seen[number].seconds) + _MORE
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _names(mutant: Mutant) -> tuple[str, str]:
    """What is noted of a mutant by: its function, its module."""
    return f"{mutant.module}.{mutant.function}", mutant.module


def _tracer(lines: set[tuple[str, int]]) -> Callable[[FrameType, str, Any], Any]:
    """For `sys.settrace`: notes the lines of the proofs' modules that are come by."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if f"{os.sep}proof{os.sep}" not in path:
            return None
        lines.add((os.path.basename(path), frame.f_lineno))
        return trace

    return trace


def _analysis(data: bytes) -> str:
    try:
        return repr(data_in_code.analyse(Program(elf.read(data))))
    except nopfix.Refusal as refusal:
        return str(refusal)


def _outcome(path: Path) -> str:
    try:
        return hashlib.sha256(nopfix.rewrite(path.read_bytes()).data).hexdigest()
    except nopfix.Refusal as refusal:
        return str(refusal)


def main() -> int:
    """Run the tests against each mutant; returns 0 when none survives."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--module", action="append", choices=MODULES, metavar="NAME", help="only this one")
    add("--match", action="append", metavar="TEXT", help="only those that are said with TEXT in it")
    add("--every", type=int, default=1, metavar="N", help="only every Nth mutant")
    add("--first", type=int, default=0, metavar="K", help="begin with the Kth (from 0) of them")
    add("--seconds", type=float, default=1e9, metavar="S", help="stop after as many seconds")
    add("--keep", type=Path, metavar="FILE", help="what the tests come by, for the next run")
    add("--objects", type=Path, metavar="FOLDER", help="objects that have to come out the same")
    options = parser.parse_args()
    options.module = options.module or MODULES
    judge = Judge(options)
    files = [str(ROOT / "tests" / "rewriter" / f"{name}.py") for name in TESTS]
    without = [
        word for name in ("xdist", "cacheprovider", "terminal") for word in ("-p", f"no:{name}")
    ]
    status = pytest.main([*without, "-o", "addopts=", *files], plugins=[judge])
    if status or not judge.judged:
        return 2
    for module, count in judge.judged.items():
        print(f"{module}: {count} mutants, {judge.survived[module]} survive", flush=True)
    return 1 if judge.survived else 0


if __name__ == "__main__":
    sys.exit(main())
