from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter import command

if TYPE_CHECKING:
    from collections.abc import Callable


ROOT = Path(__file__).parent.parent.parent


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


def run_in_shell(
    arguments: str, folder: Path, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command by a shell in ``folder``, with ``data`` by a pipe."""
    line = f'"$0" -m nopfix.rewriter {arguments}'
    return subprocess.run(
        ["bash", "-c", line, sys.executable],
        cwd=folder,
        input=data,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "--list in.o >&-",
        "--list --json in.o >&-",
        "--html - in.o >&-",
        "-v in.o out.o >&-",
        "in.o - >&-",
        "--list in.o >/dev/full",
        "-v in.o out.o >/dev/full",
        "in.o - >/dev/full",
        "--in-place -v in.o >/dev/full",
        "--in-place -v in.o other.o >&-",
    ],
)
def test_what_standard_output_cant_take_is_an_output_error_in_one_line(
    sample: Path, arguments: str
) -> None:
    shutil.copy(sample, sample.with_name("other.o"))
    done = run_in_shell(arguments, sample.parent)
    lines = [line for line in done.stderr.decode().splitlines() if " files: " not in line]
    assert len(lines) == 1
    assert lines[0].startswith("nopfix: standard output: ")
    assert done.returncode == 3


def test_files_are_rewritten_though_standard_streams_are_closed(
    sample: Path, tmp_path: Path
) -> None:
    assert run_in_shell("in.o out.o", tmp_path).returncode == 0
    wanted = (tmp_path / "out.o").read_bytes()
    closed = "<&- >&- 2>&-"
    assert run_in_shell(f"in.o closed.o {closed}", tmp_path).returncode == 0
    assert (tmp_path / "closed.o").read_bytes() == wanted
    for name in ("1.o", "2.o"):
        shutil.copy(sample, tmp_path / name)
    assert run_in_shell(f"--in-place -j2 1.o 2.o {closed}", tmp_path).returncode == 0
    assert (tmp_path / "1.o").read_bytes() == (tmp_path / "2.o").read_bytes() == wanted


def test_a_closed_standard_input_is_an_input_error(tmp_path: Path) -> None:
    done = run_in_shell("- out.o <&-", tmp_path)
    assert (done.returncode, os.listdir(tmp_path)) == (3, [])
    assert done.stderr.startswith(b"nopfix: standard input: ")


def test_what_is_said_never_gets_into_the_object(sample: Path) -> None:
    # A verbose line for each nop, and nobody on standard error to hear it.
    done = run_in_shell("-v in.o - 2>&-", sample.parent)
    run_in_shell("in.o out.o", sample.parent)
    assert done.stdout == sample.with_name("out.o").read_bytes()
    assert run_in_shell("nowhere.o - 2>/dev/full", sample.parent).returncode == 3


def test_a_file_is_done_though_nobody_reads_what_is_said_of_the_one_before(
    sample: Path, tmp_path: Path
) -> None:
    shutil.copy(sample, tmp_path / "other.o")
    done = run_in_shell("--in-place -v in.o other.o >/dev/full", tmp_path)
    assert done.stderr.endswith(b"2 files: 2 rewritten\n")
    assert sample.read_bytes() == (tmp_path / "other.o").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    ["in.o /dev/stdout | cat", "in.o >(cat)", "<(cat in.o) -", "/dev/stdin - < in.o", "- - < in.o"],
)
def test_pipes_that_the_shell_holds_open_are_read_and_written(sample: Path, arguments: str) -> None:
    done = run_in_shell(f"{arguments}; wait $!", sample.parent)
    assert run_in_shell("in.o out.o", sample.parent).returncode == 0
    assert (done.stdout, done.stderr) == (sample.with_name("out.o").read_bytes(), b"")


def test_standard_input_by_its_path_may_be_a_pipe(sample: Path) -> None:
    done = run_in_shell("/dev/stdin out.o", sample.parent, sample.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert stat.S_IMODE(sample.with_name("out.o").stat().st_mode) == 0o644


def test_a_pipe_that_nobody_reads_is_an_output_error(sample: Path) -> None:
    done = run_in_shell("in.o >(exit)", sample.parent)
    # Whether the other side has gone by then is its own affair.
    assert done.returncode in (0, 3)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "--report out.o in.o out.o",
        "--report in.o in.o out.o",
        "--report link in.o out.o",
        "--html in.o in.o",
        "--bundle ./in.o in.o",
        "--html page --bundle page in.o",
        "--report split.dwo --dwo split.dwo in.o in.o",
        "--report - in.o -",
    ],
)
def test_nothing_is_written_over_something_else_that_is_named(sample: Path, arguments: str) -> None:
    before = sample.read_bytes()
    sample.with_name("link").symlink_to("in.o")
    sample.with_name("split.dwo").write_bytes(b"")
    done = run_in_shell(arguments, sample.parent)
    assert (done.returncode, done.stdout) == (2, b"")
    assert sorted(os.listdir(sample.parent)) == ["in.o", "link", "split.dwo"]
    assert sample.read_bytes() == before


def test_a_report_may_go_to_standard_output_or_nowhere(sample: Path) -> None:
    done = run_in_shell("--report - in.o out.o", sample.parent)
    assert json.loads(done.stdout)["insertions"]
    assert run_in_shell("--report /dev/null in.o /dev/null", sample.parent).returncode == 0


@pytest.mark.parametrize("output", ["nowhere/out.o", "in.o/out.o", "/proc/out.o"])
def test_a_message_names_the_file_that_was_asked_for(sample: Path, output: str) -> None:
    done = run_in_shell(f"in.o {output}", sample.parent)
    assert done.stderr.decode().startswith(f"nopfix: {output}: ")


def test_names_may_be_as_long_as_names_can_be(tmp_path: Path, sample: Path) -> None:
    name = "\u8a9e" * 84 + ".o"  # 255 bytes
    shutil.copy(sample, tmp_path / name)
    assert command.main(["--in-place", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes() != sample.read_bytes()
