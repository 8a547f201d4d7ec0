"""`dwarf` stands alone, and its modules form layers: what they import of each other is a tree."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from nopfix import dwarf

FILES = sorted(Path(dwarf.__file__).parent.glob("*.py"))
STANDARD = {"__future__", "array", "bisect", "collections", "itertools", "struct", "typing"}
FOR_RECORDS = {"_collections", "types"}


def imported(file: Path) -> set[str]:
    """The modules that a file imports anywhere, for type checking included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = {alias.name for alias in node.names} if module == "nopfix.dwarf" else set()
            found |= {f"nopfix.dwarf.{name}" for name in names} or {module}
    return found


def test_nothing_but_the_standard_library_and_dwarf_is_imported() -> None:
    for file in FILES:
        packages = {name.removeprefix("nopfix.").split(".")[0] for name in imported(file)}
        allowed = STANDARD | FOR_RECORDS if file.name == "record.py" else STANDARD
        assert packages <= allowed | {"dwarf"}, file.name


def test_no_two_modules_need_each_other() -> None:
    graph = {f"nopfix.dwarf.{file.stem}": imported(file) for file in FILES}
    order = list(TopologicalSorter(graph).static_order())
    assert (
        order.index("nopfix.dwarf.section")
        < order.index("nopfix.dwarf.survey")
        < order.index("nopfix.dwarf.debug")
    )


def test_every_module_has_a_test_file_of_its_name() -> None:
    tests = {file.stem.removeprefix("test_") for file in Path(__file__).parent.glob("test_*.py")}
    assert {file.stem for file in FILES} - {"__init__"} <= tests


def test_a_number_of_the_standard_has_its_name_everywhere() -> None:
    """A name in a comment beside a number is what a constant is for."""
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            code, _, comment = line.partition("  # ")
            assert not (comment.startswith("DW_") and "0x" in code), f"{file.name}:{number}"
