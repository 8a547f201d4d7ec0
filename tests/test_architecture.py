"""The map of the house: docs/architecture.md names every module, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rewriter", "dwarf")
TEXT = (ROOT / "docs" / "architecture.md").read_text()


def modules(package: str) -> set[str]:
    found = {path.name for path in (ROOT / package).rglob("*.py")}
    return found - {"__init__.py", "__main__.py"}


def section(package: str) -> str:
    """The part of the page about ``package``, up to the next package's."""
    _, _, rest = TEXT.partition(f"## {package}/")
    return re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_named_and_every_named_module_exists(package: str) -> None:
    named = set(re.findall(r"`([a-z_0-9]+\.py)`", section(package)))
    assert modules(package) - named == set()
    others = modules("rewriter") | modules("dwarf") | {"offset_map.py"}
    assert named - others == set()


TESTED = TEXT.partition("## Where it is tested")[2].partition("\n## ")[0]


def with_tests(package: str) -> set[str]:
    """The modules of a package that have a test file of their name."""
    here = {path.name for path in (ROOT / "tests" / package).glob("test_*.py")}
    return {name for name in modules(package) if f"test_{name}" in here}


def elsewhere() -> dict[str, set[str]]:
    """The tests of each module that has no file of its own, from the page's table."""
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \|$", TESTED, re.MULTILINE)
    return {
        module: set(re.findall(r"`(test_[a-z_]+\.py)`", tests))
        for names, tests in rows
        for module in re.findall(r"`([a-z_]+\.py)`", names)
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_test_file_or_a_row_that_names_some(package: str) -> None:
    named = elsewhere()
    assert modules(package) - with_tests(package) - named.keys() == set()
    here = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert {tests for own in named.values() for tests in own} - here == set()


def test_no_row_names_a_module_that_has_tests_of_its_own_or_is_gone() -> None:
    without = {name for package in PACKAGES for name in modules(package) - with_tests(package)}
    assert elsewhere().keys() - without == set()


LONGEST, MOST_PARAMETERS = 60, 6
ONE_PIECE = {"_rows", "_move_list"}
"""Hot loops, whose docstrings say what was measured."""


def parameters(node: ast.FunctionDef) -> int:
    """How many parameters a function has, without ``self``."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in every)


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_can_be_read_at_once(package: str) -> None:
    found = {
        f"{path.name}: {node.name}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name not in ONE_PIECE
        and ((node.end_lineno or 0) - node.lineno >= LONGEST or parameters(node) > MOST_PARAMETERS)
    }
    assert found == set()


def literals(node: ast.expr) -> bool:
    """Whether ``node`` is a number, or a collection of some."""
    if isinstance(node, ast.Tuple | ast.Set | ast.List):
        return any(literals(element) for element in node.elts)
    return isinstance(node, ast.Constant) and type(node.value) is int


def is_relocation_type(node: ast.expr) -> bool:
    """Whether ``node`` is the type of a relocation: ``x.types[i]`` or ``reference.type``."""
    text = ast.unparse(node)
    return bool(re.search(r"\.types\b|\breference\.type$", text))


def is_opcode(node: ast.expr) -> bool:
    """Whether ``node`` is an instruction's opcode: ``word >> 26``, or a variable of that name."""
    text = ast.unparse(node)
    return text.endswith((" >> 26", " >> 1 & 1023", " >> 1 & 511")) or text in OPCODES


OPCODES = ("opcode", "primary", "extended")


def test_no_module_but_those_of_power_compares_an_opcode_with_a_number() -> None:
    # 0 is no instruction's.
    found = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "rewriter").rglob("*.py")
        if path.parent.name != "power"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and is_opcode(node.left)
        and any(literals(other) and ast.unparse(other) != "0" for other in node.comparators)
    ]
    assert found == []


def test_no_module_but_the_table_compares_a_relocation_type_with_a_number() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "rewriter").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and is_relocation_type(node.left)
        and any(literals(other) for other in node.comparators)
    ]
    assert found == []


def test_relocations_are_looked_through_by_the_model_alone_to_find_who_points_where() -> None:
    # moves.py writes their tables, debug_sections.py hands them to dwarf/ as they are.
    others = {"program.py", "moves.py", "debug_sections.py"}
    found = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "rewriter").rglob("*.py")
        if path.name not in others
        for parent in ast.walk(ast.parse(path.read_text()))
        for node in ast.iter_child_nodes(parent)
        if isinstance(node, ast.Attribute)
        and node.attr == "relocations"
        and not isinstance(parent, ast.Compare)  # whether a section has any
    ]
    assert found == []


def imports(path: Path) -> set[str]:
    """The modules that a module imports, wherever in it and for type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FORBIDDEN = {
    "dwarf": {"rewriter", "verifier", "corpus"},
    "verifier": {"rewriter", "dwarf", "corpus"},
    "rewriter": {"corpus"},
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_keeps_to_those_below_it(package: str) -> None:
    found = {
        f"{path.name}: {module}"
        for path in (ROOT / package).rglob("*.py")
        for module in imports(path)
        if module.startswith(tuple(f"nopfix.{other}" for other in FORBIDDEN[package]))
    }
    assert found == set()


FLOORS = (
    ("errors", "options"),
    ("power",),
    ("object",),
    ("proof",),
    ("layout",),
    ("references",),
    ("kpatch",),
    ("report", "pipeline"),
    ("build", "show"),
    ("one_file",),
    ("many_files",),
    ("command", "plain_form", "__main__"),
)
"""The rooms of rewriter/ and what stands between them, from the ground up."""

FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}


def floor(module: str) -> int:
    """On which floor a module of rewriter/ stands."""
    return FLOOR[module.removeprefix("nopfix.rewriter.").partition(".")[0]]


def test_arrows_run_down_only() -> None:
    found = {
        f"{own} imports {module}"
        for path in (ROOT / "rewriter").rglob("*.py")
        if path.name != "__init__.py"
        for own in [".".join(path.relative_to(ROOT / "rewriter").with_suffix("").parts)]
        for module in imports(path)
        if module.startswith("nopfix.rewriter.") and floor(module) > floor(own)
    }
    assert found == set()
