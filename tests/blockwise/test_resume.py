"""A map that was interrupted anywhere and begun again is the map of an undisturbed run, to the last byte."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.blockwise.journal import BlockJournal, journal_path
from hsi_toolkit.inference import classify
from hsi_toolkit.inference.classify import MapOutputs, MapResult, classify_scene
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from tests.inference.conftest import small_classifier, small_scene

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH, ROWS, MOMENTS = 38, 23, 4, 20
NAMES = ("{}.tif", "{}_p.tif", "{}_u.tif")

BLOCK_BYTES = ROWS * WIDTH * 2 * (1 + 3 + 1) + 400
"""About what a finished block takes in the journal: five layers of 16 bits, and what is said of them."""

Job = Callable[[str, str, int], int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = small_scene(HEIGHT, WIDTH, smooth=True).to_numpy()
    values[:, 9:13, 5:9] = np.nan
    np.save(tmp_path / "scene.npy", values)
    return tmp_path


@pytest.fixture
def job(folder: Path) -> Iterator[Job]:
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("needs fork and SIGKILL")
    command = [sys.executable, "-m", "tests.blockwise.killed_map", str(folder)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def ask(mode: str, name: str, limit: int) -> int:
            requests.write(f"{mode} {name} {limit}\n")
            requests.flush()
            return int(answers.readline())

        yield ask
        requests.close()


def files(folder: Path, name: str) -> list[bytes]:
    return [(folder / each.format(name)).read_bytes() for each in NAMES]


@pytest.mark.slow
def test_killed_at_twenty_random_moments(folder: Path, job: Job) -> None:
    modes = ("exact", "fast")
    assert [job(mode, mode, -1) for mode in modes] == [0, 0]
    before = {path.name for path in folder.iterdir()}
    # About what an undisturbed run writes: the moments lie before its end, in or between its blocks.
    moments = np.random.default_rng(9).integers(0, BLOCK_BYTES * -(-HEIGHT // ROWS), MOMENTS)
    resumed = set()
    for number, moment in enumerate(moments):
        mode = modes[number % 2]
        assert job(mode, "map", int(moment)) == signal.SIGKILL
        assert not (folder / "map.tif").exists()
        assert job(mode, "map", -1) == 0
        assert files(folder, "map") == files(folder, mode), moment
        resumed.add(int((folder / "map.resumed").read_text()))
        for path in folder.glob("map*"):
            path.unlink()
        assert {path.name for path in folder.iterdir()} == before
    assert len(resumed) > 4


@pytest.mark.slow
def test_killed_again_and_again(folder: Path, job: Job) -> None:
    assert job("exact", "whole", -1) == 0
    runs = 0
    # Each run finishes two blocks and is killed within the third.
    while job("exact", "map", int(2.5 * BLOCK_BYTES)) == signal.SIGKILL:
        runs += 1
        assert runs < 10
    assert runs == 4
    assert files(folder, "map") == files(folder, "whole")
    assert int((folder / "map.resumed").read_text()) == 8


def mapped(folder: Path, name: str, progress: Progress | None = None, **options: object) -> MapResult:
    outputs = MapOutputs(*(folder / each.format(name) for each in NAMES))
    chosen: dict[str, object] = {"mode": "exact", "device": "cpu"} | options
    return classify_scene(
        open_scene(folder / "scene.npy", ":byx"),
        small_classifier(),
        outputs,
        journal=journal_path(folder / f"{name}.tif"),
        progress=progress,
        **chosen,  # type: ignore[arg-type]
    )


class Notes(Progress):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a map that was interrupted after three of ten blocks."""
    monkeypatch.setattr(classify, "rows_within", lambda *_, **__: ROWS)
    add = BlockJournal.add

    def stop(self: BlockJournal, number: int, arrays: dict[str, np.ndarray]) -> None:
        add(self, number, arrays)
        if number == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BlockJournal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            mapped(folder, "map")
    assert sorted(path.name for path in folder.iterdir()) == ["map.part.journal", "scene.npy"]
    return folder


def test_finished_blocks_are_not_computed_again(interrupted: Path) -> None:
    notes = Notes()
    result, whole = mapped(interrupted, "map", notes), mapped(interrupted, "whole")
    assert (result.resumed, whole.resumed) == (3, 0)
    assert any("3 blocks" in line for line in notes.lines)
    assert files(interrupted, "map") == files(interrupted, "whole")
    same = ("pixels", "without_data", "windows", "rechecked", "precision")
    assert all(getattr(result, name) == getattr(whole, name) for name in same)
    assert not list(interrupted.glob("*.journal*"))


def test_blocks_of_another_mode_are_not_used(interrupted: Path) -> None:
    notes = Notes()
    assert mapped(interrupted, "map", notes, mode="fast").resumed == 0
    assert any("another run" in line for line in notes.lines)


def test_blocks_of_a_scene_that_was_changed_are_not_used(interrupted: Path) -> None:
    values = np.load(interrupted / "scene.npy")
    values[:, 3] *= 1.1
    np.save(interrupted / "scene.npy", values)
    assert mapped(interrupted, "map").resumed == 0


def test_blocks_cut_for_the_memory_there_was_are_used_with_the_memory_there_is(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "rows_within", lambda *_, **__: 19)
    assert mapped(interrupted, "map").resumed == 3


def test_a_memory_limit_that_was_given_is_kept(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "rows_within", lambda *_, **__: 2)
    assert mapped(interrupted, "map", memory_limit=256 << 20).resumed == 0


def test_a_damaged_block_is_computed_again(interrupted: Path) -> None:
    path = interrupted / "map.part.journal"
    content = bytearray(path.read_bytes())
    content[-BLOCK_BYTES // 2] ^= 1
    path.write_bytes(content)
    mapped(interrupted, "map")
    mapped(interrupted, "whole")
    assert files(interrupted, "map") == files(interrupted, "whole")


def test_threads_do_not_change_a_byte(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(classify, "rows_within", lambda *_, **__: 20)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            mapped(folder, f"threads{threads}")
    finally:
        torch.set_num_threads(before)
    assert files(folder, "threads1") == files(folder, "threads3")
