"""A journal holds whole blocks only, whatever became of the process, the disk or the file."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.blockwise.journal import BlockJournal, journal_path
from hsi_toolkit.errors import OutputError

RUN = {"scene": "a", "rows": 4}


def block(number: int) -> dict[str, np.ndarray]:
    return {
        "classes": np.full((3, 5), number, np.uint16),
        "shares": np.arange(30.0).reshape(2, 3, 5) + number,
    }


def interrupted(path: Path, count: int = 3, run: dict[str, object] | None = None) -> None:
    """Leave a journal of ``count`` blocks, as a run does that ends with an error."""
    with suppress(KeyboardInterrupt), BlockJournal(path, run or RUN) as journal:
        for number in range(count):
            journal.add(number, block(number))
        raise KeyboardInterrupt


def same(found: dict[str, np.ndarray] | None, expected: dict[str, np.ndarray]) -> bool:
    return found is not None and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name])
        for name in expected
    )


def test_it_lies_beside_the_output(tmp_path: Path) -> None:
    assert journal_path(tmp_path / "map.tif") == tmp_path / "map.part.journal"


def test_what_an_interrupted_run_finished_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    interrupted(path)
    with BlockJournal(path, RUN) as journal:
        assert journal.finished == {0, 1, 2}
        assert "3 blocks" in journal.note
        assert all(same(journal.read(number), block(number)) for number in range(3))
        assert journal.read(3) is None
    assert not list(tmp_path.iterdir())


def test_a_second_interruption_keeps_the_blocks_of_both(tmp_path: Path) -> None:
    path = tmp_path / "j"
    interrupted(path)
    with suppress(KeyboardInterrupt), BlockJournal(path, RUN) as journal:
        journal.add(7, block(7))
        raise KeyboardInterrupt
    with BlockJournal(path, RUN) as journal:
        assert journal.finished == {0, 1, 2, 7}
        assert same(journal.read(7), block(7))


def test_without_a_finished_block_nothing_stays(tmp_path: Path) -> None:
    interrupted(tmp_path / "j", count=0)
    assert not list(tmp_path.iterdir())


def test_kept_it_stays_although_all_went_well(tmp_path: Path) -> None:
    with BlockJournal(tmp_path / "j", RUN, keep=True) as journal:
        journal.add(0, block(0))
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_another_runs_blocks_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "j"
    interrupted(path, run=RUN | {"rows": 5})
    with BlockJournal(path, RUN) as journal:
        assert not journal.finished
        assert "another run" in journal.note


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_record_that_was_cut_off_is_not_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    interrupted(path)
    os.truncate(path, path.stat().st_size - cut)
    with BlockJournal(path, RUN) as journal:
        assert journal.finished == {0, 1}
        journal.add(2, block(2))
        assert same(journal.read(2), block(2))


def test_damage_anywhere_costs_blocks_but_gives_no_wrong_ones(tmp_path: Path) -> None:
    path = tmp_path / "j"
    interrupted(path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 13):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        with BlockJournal(path, RUN, keep=True) as journal:
            found = {number: journal.read(number) for number in range(3)}
        assert any(arrays is None for arrays in found.values()), position
        for number, arrays in found.items():
            assert arrays is None or same(arrays, block(number)), position


@pytest.mark.parametrize("content", [b"", b"another file"], ids=["empty", "foreign"])
def test_what_is_no_journal_is_not_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with BlockJournal(path, RUN) as journal:
        assert not journal.finished
        assert ("damaged" in journal.note) == bool(content)


def test_two_processes_cannot_have_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with (
        BlockJournal(path, RUN),
        pytest.raises(OutputError, match="Another process"),
        BlockJournal(path, RUN),
    ):
        pass


def test_a_full_disk_is_one_clear_error_and_keeps_the_blocks_before(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "j"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with BlockJournal(path, RUN, keep=True) as journal:
            journal.add(0, block(0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
            with pytest.raises(OutputError, match="goes on from what is finished"):
                journal.add(1, block(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    with BlockJournal(path, RUN) as journal:
        assert journal.finished == {0}
        assert same(journal.read(0), block(0))


KILLED = """
import os, signal, sys
from hsi_toolkit.blockwise.journal import BlockJournal
from hsi_toolkit.files import atomic_path
import numpy as np
with atomic_path(sys.argv[1] + ".tif"), BlockJournal(sys.argv[1], {"run": 1}) as journal:
    journal.add(0, {"a": np.zeros(3)})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_beside_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode
    assert len(list(tmp_path.glob(".*.part.tif"))) == 1
    with BlockJournal(path, {"run": 1}) as journal:
        assert journal.finished == {0}
    assert not list(tmp_path.iterdir())
