"""Anomalies, from a file to scores and a map."""

import numpy as np
import pytest

from hsi_toolkit.errors import Cancelled, ParameterError
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene, read_class_map
from hsi_toolkit.tasks.anomalies import Anomalies

from ..detection.conftest import odd_scene as odd_scene


@pytest.fixture
def path(tmp_path, odd_scene):
    target = tmp_path / "scene.tif"
    with RasterWriter(target, like=odd_scene.scene(), count=len(odd_scene.cube)) as writer:
        writer.write(odd_scene.cube, 0)
    return str(target)


@pytest.mark.parametrize("method", ["auto", "rx", "local-rx", "subspace-rx"])
def test_scores_and_map_are_written_and_show_the_odd_pixels(tmp_path, path, odd_scene, method):
    task = Anomalies(
        scene=path, output=str(tmp_path / "s.tif"), detections=str(tmp_path / "d.tif"), method=method
    )
    result = run(task)
    labels, legend = read_class_map(tmp_path / "d.tif")
    scores = open_scene(tmp_path / "s.tif")[0].to_numpy()
    assert [entry.name for entry in legend] == ["background", "anomaly"]
    assert (tmp_path / "d.qml").exists()
    assert np.array_equal(labels == 2, scores > result["threshold"])
    assert (labels[odd_scene.odd] == 2).all()
    assert result["detected_pixels"] == (labels == 2).sum() < 20


def test_a_cancelled_run_leaves_nothing(tmp_path, path):
    class Late(Progress):
        fraction = 0.0

        def report(self, fraction, message=""):
            self.fraction = fraction

        def cancelled(self):
            return self.fraction > 0.5

    task = Anomalies(scene=path, output=str(tmp_path / "s.tif"), detections=str(tmp_path / "d.tif"))
    with pytest.raises(Cancelled):
        run(task, Late())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["scene.tif"]


def test_a_guard_as_wide_as_the_window_is_refused(tmp_path, path):
    task = Anomalies(scene=path, output=str(tmp_path / "s.tif"), guard=5, window=5)
    with pytest.raises(ParameterError, match="The guard of 5 pixels is not smaller than the window of 5"):
        run(task)
