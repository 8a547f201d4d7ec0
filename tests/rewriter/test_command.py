from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def sample(samples: Path, tmp_path: Path) -> Path:
    return shutil.copy(samples / "recursion.o", tmp_path / "in.o")


def test_in_and_out_may_be_the_same_file(sample: Path) -> None:
    before = sample.read_bytes()
    assert command.main([str(sample), str(sample)]) == 0
    assert sample.read_bytes() != before
    assert command.main([str(sample), str(sample)]) == 0


def test_the_output_is_deterministic_and_a_second_run_changes_nothing(
    sample: Path, tmp_path: Path
) -> None:
    one, two, three = (tmp_path / name for name in ("1.o", "2.o", "3.o"))
    command.main([str(sample), str(one)])
    command.main([str(sample), str(two)])
    command.main([str(one), str(three)])
    assert one.read_bytes() == two.read_bytes() == three.read_bytes()


def test_the_output_keeps_the_mode_of_the_input(sample: Path, tmp_path: Path) -> None:
    sample.chmod(0o640)
    command.main([str(sample), str(tmp_path / "out.o")])
    assert stat.S_IMODE((tmp_path / "out.o").stat().st_mode) == 0o640


def test_a_list_writes_nothing(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--list", str(sample)]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["weigh", "weigh", "insert"] in [line[1:] for line in lines]
    assert ["balance", "_mcount", "exempt"] in [line[1:] for line in lines]
    assert os.listdir(tmp_path) == ["in.o"]


def test_the_report_names_every_insertion(sample: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command.main(["--report", str(report), str(sample), str(tmp_path / "out.o")])
    document = json.loads(report.read_text())
    assert len(document["insertions"]) == 4
    for insertion in document["insertions"]:
        assert insertion["callee"] == "weigh"
        assert insertion["new_offset"] >= insertion["old_offset"]
    grown = {section["section"] for section in document["sections"]}
    assert {".text.weigh", ".text.balance"} <= grown


def test_only_restricts_insertions_to_the_named_callees(sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.o"
    command.main(["--only", "nobody", str(sample), str(out)])
    assert out.read_bytes() == sample.read_bytes()


def test_only_file_reads_one_name_a_line(sample: Path, tmp_path: Path) -> None:
    names, out = tmp_path / "names", tmp_path / "out.o"
    names.write_text("nobody\nweigh\n")
    command.main(["--only-file", str(names), str(sample), str(out)])
    assert out.read_bytes() != sample.read_bytes()


def test_exempt_leaves_calls_alone(sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.o"
    command.main(["--exempt", "weigh", str(sample), str(out)])
    assert out.read_bytes() == sample.read_bytes()


def test_a_refusal_is_one_line_and_leaves_the_output_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.o", tmp_path / "out.o"
    source.write_bytes(b"not an object")
    out.write_bytes(b"before")
    assert command.main([str(source), str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"nopfix: {source}: not an ELF file")
    assert error.count("\n") == 1
    assert out.read_bytes() == b"before"


@pytest.mark.parametrize("name", ["missing.o", "."])
def test_what_cannot_be_read_is_an_input_error(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path / name), str(tmp_path / "out.o")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out.o").exists()


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.o")
    assert command.main([str(tmp_path / "in.o"), str(tmp_path / "out.o")]) == 3


def test_an_output_folder_that_is_missing_is_an_output_error(sample: Path, tmp_path: Path) -> None:
    assert command.main([str(sample), str(tmp_path / "no" / "out.o")]) == 3


def test_wrong_usage_exits_2(sample: Path) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main([str(sample)])
    assert exited.value.code == 2


def test_explain_says_where_a_branch_leads_and_why(
    tmp_path: Path, assemble: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    text = " .abiversion 2\n .type f,@function\nf: ld 12,8(3)\n mtctr 12\n bctr\n .size f,.-f\n"
    (tmp_path / "in.o").write_bytes(assemble(text))
    assert command.main(["--explain", str(tmp_path / "in.o")]) == 0
    assert capsys.readouterr().out.startswith(".text+0x8 (in f): tail call: ")


def test_a_reader_of_the_listing_that_has_seen_enough_is_no_failure(sample: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nopfix.rewriter", "--list", str(sample)],
            stdout=write, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_broken_hard_link_is_told_unless_asked_not_to(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, options in (("loud.o", []), ("quiet.o", ["--quiet"])):
        os.link(sample, tmp_path / name)
        assert command.main([*options, str(tmp_path / name), str(tmp_path / name)]) == 0
        said = capsys.readouterr().err
        assert said.count("hard link") == (0 if options else 1)
        assert said.count("\n") == (0 if options else 1)
