"""``hsi map`` and ``hsi classify`` go on where they were interrupted."""

from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.blockwise.journal import BlockJournal
from hsi_toolkit.inference import classify
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks import TASKS

from .conftest import SmallScene

MAPS = ("map.tif", "uncertainty.tif")


@pytest.mark.slow
def test_a_map_from_polygons_goes_on_after_its_training_and_its_blocks(
    small_scene: SmallScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "rows_within", lambda *_, **__: 8)
    finished: list[int] = []
    add = BlockJournal.add

    def task(folder: str) -> object:
        (tmp_path / folder).mkdir(exist_ok=True)
        values = {"scene": str(small_scene.scene), "labels": str(small_scene.labels), "field": "cover"}
        return TASKS["map"].from_dict(values | {"output": str(tmp_path / folder), "device": "cpu"})

    def stop(self: BlockJournal, number: int, arrays: dict[str, np.ndarray]) -> None:
        add(self, number, arrays)
        finished.append(number)
        if number == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BlockJournal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            run(task("again"))
    assert finished == [0, 1, 2, 3, 4]
    assert not (tmp_path / "again" / "map.tif").exists()
    said: list[str] = []

    class Notes(Progress):
        def log(self, message: str) -> None:
            said.append(message)

    run(task("again"), Notes())
    assert any("5 blocks" in line for line in said)
    run(task("whole"))
    for name in MAPS:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "again").glob("*.part*"))
    assert not list((tmp_path / "again").glob(".*"))
