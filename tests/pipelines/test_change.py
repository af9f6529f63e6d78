"""Change, from two files to scores and maps."""

import numpy as np
import pytest
from scipy import ndimage

from hsi_toolkit.errors import Cancelled, SceneError
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene, read_class_map
from hsi_toolkit.tasks.change import Change

from ..change.conftest import BANDS, as_scene
from ..change.conftest import two_dates as two_dates


def write(path, cube):
    centres = np.linspace(450, 2200, len(cube))
    with RasterWriter(path, like=as_scene(cube), count=len(cube), wavelengths=centres) as writer:
        writer.write(cube, 0)
    return str(path)


@pytest.fixture
def paths(tmp_path, two_dates):
    return {name: write(tmp_path / f"{name}.tif", getattr(two_dates, name)) for name in ("before", "after")}


def outputs(tmp_path):
    return {name: str(tmp_path / f"{name}_out.tif") for name in ("output", "map", "types")}


@pytest.mark.parametrize("method", ["auto", "irmad", "chronochrome", "cva", "sam"])
def test_scores_map_and_types_agree(tmp_path, paths, two_dates, method):
    result = run(Change(**paths, **outputs(tmp_path), method=method))
    scores = open_scene(tmp_path / "output_out.tif")[0].to_numpy()
    labels, legend = read_class_map(tmp_path / "map_out.tif")
    types, kinds = read_class_map(tmp_path / "types_out.tif")
    assert [entry.name for entry in legend] == ["unchanged", "changed"]
    assert np.array_equal(labels == 2, scores > result["threshold"])
    assert np.array_equal(types >= 2, labels == 2)
    assert len(kinds) == 1 + len(result["types"])
    assert result["changed_pixels"] == (labels == 2).sum()
    assert (labels[two_dates.changed] == 2).mean() > 0.6


def test_the_types_say_where_the_change_shows(tmp_path, paths):
    result = run(Change(**paths, **outputs(tmp_path), type_count=3))
    assert len(result["types"]) == 3
    assert all("nm" in name and ("brighter" in name or "darker" in name) for name in result["types"])
    assert len(result["gain"]) == BANDS


def test_a_shift_is_reported(tmp_path, paths, two_dates):
    moved = np.stack([ndimage.shift(band, (2, -1), mode="nearest") for band in two_dates.after])
    paths["after"] = write(tmp_path / "moved.tif", moved)
    result = run(Change(**paths, output=str(tmp_path / "s.tif")))
    assert result["shift_pixels"] == pytest.approx([2, -1], abs=0.2)
    assert any("shifted by 2.2" in warning for warning in result["warnings"])


def test_pixels_without_data_in_either_are_no_data_everywhere(tmp_path, paths, two_dates):
    after = two_dates.after.copy()
    after[3, 5:8, 6] = np.nan
    paths["after"] = write(tmp_path / "gaps.tif", after)
    run(Change(**paths, **outputs(tmp_path)))
    gaps = np.isnan(after[3])
    assert np.array_equal(np.isnan(open_scene(tmp_path / "output_out.tif")[0].to_numpy()), gaps)
    for name in ("map", "types"):
        assert np.array_equal(read_class_map(tmp_path / f"{name}_out.tif")[0] == 0, gaps)


def test_the_same_scene_twice_has_hardly_changed(tmp_path, paths, two_dates):
    noise = 0.004 * np.random.default_rng(0).normal(size=two_dates.before.shape).astype(np.float32)
    paths["after"] = write(tmp_path / "again.tif", two_dates.before + noise)
    result = run(Change(**paths, **outputs(tmp_path)))
    assert result["changed_pixels"] < 0.01 * result["pixels"]


def test_a_cancelled_run_leaves_nothing(tmp_path, paths):
    class Late(Progress):
        fraction = 0.0

        def report(self, fraction, message=""):
            self.fraction = fraction

        def cancelled(self):
            return self.fraction > 0.2

    with pytest.raises(Cancelled):
        run(Change(**paths, **outputs(tmp_path)), Late())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["after.tif", "before.tif"]


def test_another_number_of_bands_is_refused(tmp_path, paths, two_dates):
    paths["after"] = write(tmp_path / "fewer.tif", two_dates.after[:9])
    with pytest.raises(SceneError, match=r"before\.tif has 16 bands, fewer\.tif has 9"):
        run(Change(**paths, output=str(tmp_path / "s.tif")))
