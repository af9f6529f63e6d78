"""Files are written whole or not at all, and what a killed process leaves can be told and removed."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import (
    atomic_path,
    check_output,
    remove_unfinished,
    staged_folder,
    temporary_pattern,
)


def test_the_target_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == target.suffix
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    target.write_text("old")
    with suppress(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), atomic_path(tmp_path / "map.tif"):
        raise OSError(28, "No space left on device")


def test_an_existing_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    target.touch()
    with pytest.raises(OutputError, match="exists already"):
        check_output(target, overwrite=False)
    assert check_output(target, overwrite=True) == target


def test_a_device_is_no_output() -> None:
    # Checked alone: writing would replace it.
    with pytest.raises(OutputError, match="is a device"):
        check_output(os.devnull, overwrite=True)


def test_the_temporary_name_tells_the_process(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "map.tif") as temporary:
        assert list(tmp_path.glob(temporary_pattern(os.getpid()))) == [temporary]
        # Not even those of a process whose number begins or ends alike.
        assert not list(tmp_path.glob(temporary_pattern(os.getpid() * 10)))
        assert not list(tmp_path.glob(temporary_pattern(int(str(os.getpid())[1:] or 0))))


def test_what_a_killed_process_leaves_can_be_found(tmp_path: Path) -> None:
    code = (
        "import os, sys; from hsi_toolkit.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path: os.kill(os.getpid(), 9)"
    )
    target = tmp_path / "map.tif"
    child = subprocess.Popen([sys.executable, "-c", code, target])
    child.wait()
    (leftover,) = tmp_path.iterdir()
    assert list(tmp_path.glob(temporary_pattern(child.pid))) == [leftover]


def test_unfinished_files_can_be_removed_before_their_block_ends(tmp_path: Path) -> None:
    done = tmp_path / "done.tif"
    with atomic_path(done):
        pass
    with suppress(OutputError), atomic_path(tmp_path / "map.tif"):
        remove_unfinished()
    assert list(tmp_path.iterdir()) == [done]


def test_staged_results_replace_nothing_until_all_are_there(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_text("before")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError), staged_folder(tmp_path) as staging:
        (staging / "map.tif").write_text(str(1 / 0))
    assert (tmp_path / "map.tif").read_text() == "before"
    with staged_folder(tmp_path) as staging:
        (staging / "map.tif").write_text("after")
        (staging / "report.html").write_text("report")
        assert (tmp_path / "map.tif").read_text() == "before"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "map.tif": "after",
        "notes.txt": "mine",
        "report.html": "report",
    }
