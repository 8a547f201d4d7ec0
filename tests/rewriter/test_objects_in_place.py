"""What the wrapper does with an object, whatever is wrong with it."""

from __future__ import annotations

import os
import posix
import shutil
import subprocess
from pathlib import Path

import pytest

from nopfix.rewriter import pipeline
from nopfix.rewriter.build import objects_in_place
from nopfix.rewriter.build.objects_in_place import DONE, REFUSED
from nopfix.rewriter.errors import INTERNAL_ERROR

AS = shutil.which("powerpc64le-linux-gnu-as")
SAMPLE = Path(__file__).parents[2] / "samples" / "recursion.o"
SEEDS = Path(__file__).parents[1] / "fuzz" / "seeds"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    copy = tmp_path / "an object.o"
    shutil.copy(SAMPLE, copy)
    return copy


def test_the_object_is_replaced_with_its_mode_kept(path: Path) -> None:
    path.chmod(0o640)
    assert objects_in_place.rewrite(str(path)) == DONE
    assert path.read_bytes() == pipeline.rewrite(SAMPLE.read_bytes()).data != SAMPLE.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == [path.name]


def test_an_object_that_needs_nothing_is_not_written(path: Path) -> None:
    assert objects_in_place.rewrite(str(path)) == DONE
    os.utime(path, (1, 1))
    assert objects_in_place.rewrite(str(path)) == DONE
    assert path.stat().st_mtime == 1


def test_hand_written_assembly_stays_where_only_compiled_objects_are_wanted(
    tmp_path: Path,
) -> None:
    if AS is None:
        pytest.skip("powerpc64le-linux-gnu-as is not installed")
    file = tmp_path / "x.o"
    for text, compiled in (
        ("f: bl f", False),
        ('.file "x.s"\nf: bl f', False),
        ('.file "x.c"\nf: bl f', True),
        ('.ident "a compiler"\nf: bl f', True),
    ):
        for flags, assembler in (((), AS), (("-g",), AS)):
            command = [assembler, "-a64", *flags, "-o", str(file)]
            subprocess.run(command, input=f".abiversion 2\n{text}\n", text=True, check=True)
            before = file.read_bytes()
            assert objects_in_place.rewrite(str(file), only_compiled=True) == DONE
            assert (file.read_bytes() != before) is compiled, (text, flags)


def test_what_is_no_file_is_nothing_to_do(tmp_path: Path) -> None:
    assert objects_in_place.rewrite(str(tmp_path)) == DONE
    assert objects_in_place.rewrite("/dev/null") == DONE


def test_an_object_that_is_gone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert objects_in_place.rewrite(str(tmp_path / "none.o")) == REFUSED
    assert capsys.readouterr().err == f"nopfix: {tmp_path}/none.o: No such file or directory\n"


def test_an_object_in_a_pipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert objects_in_place.rewrite(str(tmp_path / "pipe")) == REFUSED
    assert capsys.readouterr().err.endswith("can't be given slots; name a file with -o\n")


@pytest.mark.parametrize(
    "data", [b"", b"!<arch>\n", b"\x7fELF\x02\x01", b"\x7fELF\x01\x01" + bytes(80)]
)
def test_files_that_arent_ours_stay(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.o"
    file.write_bytes(data)
    assert objects_in_place.rewrite(str(file)) == DONE
    assert file.read_bytes() == data


def test_bitcode_is_refused_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.o"
    file.write_bytes(b"BC\xc0\xde" + bytes(60))
    assert objects_in_place.rewrite(str(file)) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith(f"nopfix: {file}: LLVM bitcode")
    assert "-flto" in said
    assert said.count("\n") == 1


def test_a_damaged_object_is_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(SAMPLE.read_bytes()[:-100])
    assert objects_in_place.rewrite(str(path)) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith(f"nopfix: {path}: ")
    assert said.count("\n") == 1


def test_a_bug_is_one_line_unless_it_is_looked_for(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr(pipeline, "rewrite", broken)
    assert objects_in_place.rewrite(str(path)) == INTERNAL_ERROR
    said = capsys.readouterr().err
    assert "internal error, KeyError" in said
    assert said.count("\n") == 1
    assert path.read_bytes() == SAMPLE.read_bytes()
    monkeypatch.setenv("NOPFIX_DEBUG", "1")
    assert objects_in_place.rewrite(str(path)) == INTERNAL_ERROR
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_leaves_the_object_and_no_temporary(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "write", full)
    assert objects_in_place.rewrite(str(path)) == REFUSED
    monkeypatch.undo()
    assert "No space left on device" in capsys.readouterr().err
    assert path.read_bytes() == SAMPLE.read_bytes()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("written", [1, 2])
def test_split_dwarf_and_its_object_are_replaced_together_or_not_at_all(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    names = ["split.dwo", "split.o"]
    for name in names:
        shutil.copy(SEEDS / name, tmp_path)
    write, left = os.write, iter(range(written))

    def fills_up(descriptor: int, data: bytes) -> int:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    def unchanged() -> list[bool]:
        return [(tmp_path / n).read_bytes() == (SEEDS / n).read_bytes() for n in names]

    monkeypatch.setattr(posix, "write", fills_up)
    done = objects_in_place.rewrite(str(tmp_path / "split.o")) == DONE
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert done is (written == len(names))
    assert ("No space left on device" in said) is not done
    assert unchanged() == [not done] * len(names)
    assert sorted(os.listdir(tmp_path)) == names
