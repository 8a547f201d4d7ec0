"""What nopfix-verify says to its user, and rules that no single damaged byte shows."""

from __future__ import annotations

import ast
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nopfix.rewriter.command
from nopfix import verifier
from nopfix.rewriter.build import objects_in_place
from nopfix.verifier import Report, Unreadable, elf, loader, verify
from nopfix.verifier.command import main
from tests.verifier import damage

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent / "data"


def pair(name: str) -> tuple[bytes, bytes]:
    return (DATA / f"{name}.in.o").read_bytes(), (DATA / f"{name}.out.o").read_bytes()


def test_a_verified_pair_gives_status_0_and_names_the_number_of_nops(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(DATA / "plain.in.o"), str(DATA / "plain.out.o")]) == 0
    assert "verified: 8 nops inserted" in capsys.readouterr().out


def test_a_difference_names_section_offset_function_and_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, new = pair("plain")
    _, make = next(damage.branches(new))
    (tmp_path / "out.o").write_bytes(make())
    assert main([str(DATA / "plain.in.o"), str(tmp_path / "out.o")]) == 1
    printed = capsys.readouterr().out
    assert ".text+0x" in printed
    assert ": branch: goes to 0x" in printed
    assert "NOT verified: 1 differences" in printed


def test_an_input_that_is_missing_gives_status_3(tmp_path: Path) -> None:
    assert main([str(tmp_path / "none.o"), str(DATA / "plain.out.o")]) == 3


@pytest.mark.parametrize("damaged", [False, True])
def test_a_reader_that_has_seen_enough_changes_nothing_of_the_status(
    damaged: bool, tmp_path: Path
) -> None:
    old, new = pair("plain")
    (tmp_path / "old.o").write_bytes(old)
    (tmp_path / "new.o").write_bytes(old if damaged else new)
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nopfix.verifier", "--slots", "old.o", "new.o"],
            stdout=write, stderr=subprocess.PIPE, cwd=tmp_path,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (int(damaged), b"")


def test_the_report_lists_each_inserted_nop_with_function_and_callee(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ["--report", str(report), str(DATA / "plain.in.o"), str(DATA / "plain.out.o")]
    assert main(arguments) == 0
    found = json.loads(report.read_text())
    assert found["verified"]
    assert len(found["insertions"]) == 8
    assert {"main", "chosen"} <= {entry["function"] for entry in found["insertions"]}
    assert {"twice", "chosen"} >= {entry["callee"] for entry in found["insertions"]}


SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "verify-report.schema.json").read_text())
TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
TYPES |= {"null": type(None)}


def check_schema(value: object, kind: dict[str, Any]) -> None:
    """What of JSON Schema docs/verify-report.schema.json makes use of."""
    if "$ref" in kind:
        kind = SCHEMA["$defs"][kind["$ref"].rpartition("/")[2]]
    names = kind["type"] if isinstance(kind["type"], list) else [kind["type"]]
    assert type(value) in [TYPES[name] for name in names]
    if isinstance(value, list):
        for item in value:
            check_schema(item, kind["items"])
    elif isinstance(value, dict):
        properties = kind.get("properties")
        assert properties is None or set(value) == set(properties) == set(kind["required"])
        for name, item in value.items():
            check_schema(item, properties[name] if properties else kind["additionalProperties"])


def test_reports_are_as_their_schema_says(assemble: Callable[..., bytes]) -> None:
    old, new = pair("dwarf5")
    _, make = next(damage.branches(new))
    for report in (verify(old, new), verify(old, make())):
        check_schema(report.as_json(), {"$ref": "verification"})
    module = assemble('.abiversion 2\n.section .text.f,"ax"\nf: bl g\nblr')
    refused = loader.check(module)
    assert not refused.loads
    check_schema(refused.as_json(), {"$ref": "module"})


def test_a_difference_in_code_has_its_source_line() -> None:
    for name in ("dwarf5", "dwarf4", "dwarf64", "llvm"):
        old, new = pair(name)
        _, make = next(damage.branches(new))
        difference = verify(old, make()).differences[0]
        assert difference.function
        assert re.match(r".*kinds\.c:\d+$", difference.source), difference
        assert f"in {difference.function} {difference.source}" in str(difference)


def test_an_unchanged_object_is_verified_but_lacks_slots_when_they_are_asked_for() -> None:
    old, _ = pair("plain")
    assert verify(old, old).verified
    report = verify(old, old, need_slots=True)
    assert report.total == 8
    assert {difference.rule for difference in report.differences} == {"call-slot"}


def test_the_pair_the_other_way_round_is_not_verified() -> None:
    old, new = pair("dwarf5")
    assert not verify(new, old).verified


def test_objects_of_different_sources_are_not_verified() -> None:
    old, _ = pair("plain")
    _, new = pair("throws")
    assert not verify(old, new).verified


@pytest.mark.parametrize("size", [0, 4, 63, 64, 200])
def test_a_truncated_object_is_unreadable_and_not_a_crash(size: int) -> None:
    old, new = pair("plain")
    with pytest.raises(Unreadable):
        verify(old, new[:size])


def test_every_difference_of_a_stale_section_is_found() -> None:
    """A rewriter that forgot one section: its bytes are IN's, everything else is right."""
    for name in ("dwarf5", "dwarf4", "throws-debug"):
        old, new = pair(name)
        before, after = elf.read(old), elf.read(new)
        stale = 0
        for section in before.sections:
            counterpart = after.sections[section.number]
            if section.size == counterpart.size and section.data != counterpart.data:
                assert not verify(
                    old, damage.patched(new, counterpart.offset, section.data)
                ).verified, f"{name}: stale {section.name}"
                stale += 1
        assert stale >= 4


def test_an_advance_over_padding_that_is_gone_may_be_left_out(
    assemble: Callable[..., bytes],
) -> None:
    # One word of padding in front of .L1; the slot takes its place.
    source = """
    .text
    .p2align 4
    .type g, @function
g:  blr
    .size g, .-g
    .p2align 4
    .globl f
    .type f, @function
f:  .cfi_startproc
    cmpdi 3,0
    beq .L1
    bl g
    .cfi_def_cfa_offset 32
    .p2align 4
.L1:
    .cfi_def_cfa_offset 0
    blr
    .cfi_endproc
    .size f, .-f
"""
    old = assemble(source)
    new = nopfix.rewrite(old).data
    slot = source.replace("bl g\n", "bl g\n    nop\n")
    assert new == assemble(slot)
    assert verify(old, new, need_slots=True).verified


def repacked(data: bytes, name: str, *, compress: bool, alignment: int) -> bytes:
    """The object with section `name` in another form, its bytes put at the file's end."""
    section = next(s for s in elf.read(data).sections if s.name == name)
    contents = section.data
    if compress:
        contents = struct.pack("<IIQQ", 1, 0, len(contents), 1) + zlib.compress(contents)
    (table,) = struct.unpack_from("<Q", data, 40)
    out = bytearray(data + bytes(-len(data) % 8))
    place = table + 64 * section.number
    struct.pack_into("<Q", out, place + 8, section.flags & ~0x800 | 0x800 * compress)
    struct.pack_into("<QQ", out, place + 24, len(out), len(contents))
    struct.pack_into("<Q", out, place + 48, alignment)
    return bytes(out + contents)


@pytest.mark.parametrize(
    ("name", "compress", "alignment", "rule"),
    [
        (".debug_info", False, 1, "section-header"),  # compressing it pays
        (".debug_rnglists", True, 8, "section-header"),  # compressing it doesn't
        (".debug_rnglists", False, 1, ""),
    ],
)
def test_a_section_changes_its_form_only_where_the_assembler_would(
    name: str, compress: bool, alignment: int, rule: str
) -> None:
    old, new = pair("compressed")
    mutant = repacked(new, name, compress=compress, alignment=alignment)
    rules = {found.rule for found in verify(old, mutant).differences}
    assert (rule in rules) if rule else "section-header" not in rules


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.o")
    for name in ("in.o", "."):
        assert main([str(tmp_path / name), str(DATA / "plain.out.o")]) == 3


def test_a_report_that_cannot_be_written_gives_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(DATA / "plain.in.o"), str(DATA / "plain.out.o")]
    assert main(["--report", str(tmp_path / "no" / "report"), *names]) == 3
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [IndexError, RecursionError, TypeError, AssertionError])
def test_its_own_mistake_is_an_internal_error_of_one_line(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(*_: object, **__: object) -> None:
        raise error("two\nlines")

    monkeypatch.setattr("nopfix.verifier.check.verify", raising)
    assert main([str(DATA / "plain.in.o"), str(DATA / "plain.out.o")]) == 70
    text = capsys.readouterr().err
    assert text.startswith("nopfix-verify: ")
    assert "internal error" in text
    assert text.count("\n") == 1


#: Run with a finder that knows neither library.
WITHOUT_LIBRARIES = """
import sys
sys.modules["capstone"] = sys.modules["elftools"] = None
from {module} import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("module", ["nopfix.verifier.command", "nopfix.rewriter.command"])
@pytest.mark.parametrize("damaged", [False, True])
def test_without_libraries_only_the_words_of_a_message_are_others(
    module: str, damaged: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out.o"
    data = (DATA / "plain.out.o").read_bytes()
    if damaged:
        _, make = next(damage.instructions(data))
        data = make()
    out.write_bytes(data)
    options = [] if module == "nopfix.verifier.command" else ["--verify", "--sibling-calls=ignore"]
    done = subprocess.run(
        [
            *(sys.executable, "-c", WITHOUT_LIBRARIES.format(module=module), *options),
            *(str(DATA / "plain.in.o"), str(out)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    expected = damaged and module == "nopfix.verifier.command"
    assert done.returncode == expected, done.stderr
    assert ("IN has `.long 0x" in done.stdout) == expected


@pytest.mark.parametrize("problem", ["differs", "raises"])
def test_nopfix_with_verify_leaves_the_output_as_it_was_when_it_is_not_verified(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def judge(before: bytes, after: bytes, dwo: None) -> Report:
        if problem == "raises":
            raise Unreadable("odd")
        return verify(before, after[:-1] + b"x")

    monkeypatch.setattr("nopfix.verifier.verify", judge)
    out = tmp_path / "out.o"
    out.write_bytes(b"before")
    arguments = ["--verify", "--sibling-calls=ignore", str(DATA / "plain.in.o"), str(out)]
    assert nopfix.rewriter.command.main(arguments) == 1
    text = capsys.readouterr().err
    assert "nopfix-verify" in text
    assert text.count("\n") == 1
    assert out.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out.o"]


@pytest.mark.parametrize("agrees", [True, False])
def test_the_wrapper_asks_when_nopfix_verify_is_set(
    agrees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(before: bytes, after: bytes, dwo: None) -> Report:
        return verify(before, after if agrees else after[:-1] + b"x")

    monkeypatch.setattr("nopfix.verifier.verify", judge)
    old, _ = pair("plain")
    path = tmp_path / "out.o"
    for environment in ({}, {"NOPFIX_VERIFY": "1"}):
        path.write_bytes(old)
        said: list[str] = []
        status = objects_in_place.rewrite(str(path), False, environment, said.append)
        refused = bool(environment) and not agrees
        assert (status, path.read_bytes() == old) == (refused, refused)
        assert ["nopfix-verify does not agree" in line for line in said] == [True] * refused


def imported(folder: Path) -> set[str]:
    """The top-level packages that the modules in ``folder`` import, wherever they do it."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(_top(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}: a relative import"
                found.add(_top(str(node.module)))
    return found - set(sys.stdlib_module_names)


def _top(module: str) -> str:
    """The package that a module belongs to; nopfix's own packages count as such."""
    return module.removeprefix("nopfix.").split(".")[0]


def test_the_verifier_shares_no_code_with_the_rewriter() -> None:
    top = Path(verifier.__file__).parent.parent
    assert imported(top / "verifier") == {"verifier", "elftools", "capstone"}
    assert "verifier" not in imported(top / "dwarf")
    # Who asks it, and the server, which loads it beforehand.
    asking = [
        p.name for p in (top / "rewriter").rglob("*.py") if "nopfix.verifier" in p.read_text()
    ]
    assert sorted(asking) == ["second_opinion.py", "server.py"]
    loaded = "import sys, nopfix.verifier; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=top
    )
    tops = {_top(module) for module in done.stdout.split()}
    assert "verifier" in tops
    assert not {"rewriter", "dwarf", "corpus"} & tops


@pytest.mark.parametrize(
    ("before", "after", "verified"), [(64, 64, True), (8, 8, True), (64, 8, False), (8, 4, False)]
)
def test_sections_are_aligned_in_the_file_no_less_than_they_were(
    before: int,
    after: int,
    verified: bool,
    aligned_sections: Callable[[int, str], str],
    assemble: Callable[..., bytes],
    laid_out: Callable[[bytes, int], bytes],
) -> None:
    old, new = (assemble(aligned_sections(1, slot)) for slot in ("", "    nop"))
    assert verify(laid_out(old, before), laid_out(new, after)).verified == verified


@pytest.mark.parametrize("words", range(1, 17))
def test_sections_that_lie_further_apart_by_chance_need_not_do_so_in_out(
    words: int,
    aligned_sections: Callable[[int, str], str],
    assemble: Callable[..., bytes],
    laid_out: Callable[[bytes, int], bytes],
) -> None:
    old, new = (assemble(aligned_sections(words, slot)) for slot in ("", "    nop"))
    assert verify(laid_out(old, 8), laid_out(new, 8)).verified
