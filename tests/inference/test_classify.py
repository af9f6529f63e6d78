"""Maps of whole scenes, whatever the blocks they are made in."""

import numpy as np
import pytest
import rasterio
import torch

from hsi_toolkit.errors import Cancelled, ModelError, OutOfMemoryError, OutputError, ParameterError
from hsi_toolkit.inference import MapOutputs, batches, classify_scene, job, prepare, screening
from hsi_toolkit.inference.feature_major import FeatureMajorForward
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import ClassEntry, read_windows
from hsi_toolkit.spectral.resample import BandPlan

LEGEND = [
    ClassEntry(1, "wheat", (255, 200, 0)),
    ClassEntry(2, "beech", (0, 120, 0)),
    ClassEntry(3, "water", (0, 0, 200)),
]


def read(path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read()


def plain(classifier, scene) -> np.ndarray:
    """Log-probabilities (K, rows, columns) of every pixel's own window by the classifier itself."""
    height, width = scene.sizes["y"], scene.sizes["x"]
    rows, columns = np.indices((height, width)).reshape(2, -1)
    windows = torch.from_numpy(read_windows(scene, rows, columns, classifier.radius))
    with torch.inference_mode():
        return classifier(windows).numpy().T.reshape(-1, height, width)


def rows_for(scene, rows: int, halo: int = 4) -> int:
    """A memory limit that makes blocks of so many rows, for the classifiers of these tests."""
    line = 4 * scene.sizes["x"] * (3 * 12 + 2 * 16 + 6 * 3 + 16)
    return int((rows + 2 * halo + 0.5) * line / 0.75) + 1


class Blocks(Progress):
    """Notes how many blocks there were."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def report(self, fraction: float, message: str = "") -> None:
        if message:
            self.messages.append(message)


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("experts", [True, False])
def test_exact_is_the_classifier_at_every_pixel(tmp_path, make_classifier, make_scene, context, experts):
    classifier, scene = make_classifier(context=context, experts=experts), make_scene()
    outputs = MapOutputs(tmp_path / "map.tif", tmp_path / "p.tif", tmp_path / "u.tif")
    result = classify_scene(scene, classifier, outputs, classes=LEGEND, device="cpu", float32=True)
    expected = plain(classifier, scene)
    labels = read(tmp_path / "map.tif")[0]
    assert np.array_equal(labels, expected.argmax(0) + 1)
    probabilities = np.exp(expected)
    np.testing.assert_allclose(read(tmp_path / "p.tif") * 1e-4, probabilities, atol=1.5e-4)
    entropy = -(probabilities * expected).sum(0) / np.log(3)
    np.testing.assert_allclose(read(tmp_path / "u.tif")[0] * 1e-4, entropy, atol=2e-4)
    assert result.pixels == tuple(np.bincount(labels.ravel(), minlength=4)[1:])
    assert (result.without_data, result.windows, result.precision) == (0, 14 * 17, "float32")
    assert len(np.unique(labels)) == 3


def test_labels_do_not_depend_on_fast_arithmetic(tmp_path, make_classifier, make_scene, monkeypatch):
    monkeypatch.setattr(screening, "quick_dtypes", lambda device: (torch.bfloat16,))
    classifier, scene = make_classifier(), make_scene(30, 31)
    result = classify_scene(scene, classifier, MapOutputs(tmp_path / "map.tif"), device="cpu")
    assert np.array_equal(read(tmp_path / "map.tif")[0], plain(classifier, scene).argmax(0) + 1)
    assert result.precision == "bfloat16"


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("rows", [1, 5, 9])
def test_tiled_equals_whole(tmp_path, make_classifier, make_scene, mode, rows):
    classifier, scene = make_classifier(), make_scene(21, 18)
    scene.values[:, 6:9, 3:12] = np.nan
    whole, tiled = (MapOutputs(tmp_path / f"{name}.tif", tmp_path / f"{name}_p.tif") for name in "ab")
    halo, blocks = (4, -(-21 // rows)) if mode == "exact" else (5, -(-21 // (rows // 4 * 4 or 4)))
    seen = Blocks()
    options = {"mode": mode, "device": "cpu", "float32": True}
    classify_scene(scene, classifier, whole, **options)
    limit = rows_for(scene, max(rows, 4) if mode == "fast" else rows, halo)
    classify_scene(scene, classifier, tiled, memory_limit=limit, progress=seen, **options)
    assert len(seen.messages) == blocks
    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert np.abs(read(tmp_path / "a_p.tif").astype(int) - read(tmp_path / "b_p.tif")).max() <= 1


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("experts", [True, False])
def test_lines_too_long_to_hold_are_read_in_parts(
    tmp_path, make_classifier, make_scene, monkeypatch, mode, experts
):
    classifier, scene = make_classifier(experts=experts), make_scene(21, 90)
    scene.values[:, 6:9, 3:12] = np.nan
    scene.values[:, :, 40:75] = np.nan  # parts without any data
    scene.values[:, 12:] = np.nan  # blocks without any
    scene.values[3:, 14, 80:] = 0.5  # bands but the first
    whole, parts = (MapOutputs(tmp_path / f"{name}.tif", tmp_path / f"{name}_p.tif") for name in "ab")
    options = {"mode": mode, "device": "cpu", "float32": True}
    classify_scene(scene, classifier, whole, **options)
    line = 4 * 90 * (2 * 16 + 6 * 3 + 16)
    monkeypatch.setattr(prepare, "CHUNK_BYTES", 4 * 12 * 14 * 20)
    monkeypatch.setattr(job, "CHUNK_BYTES", 4 * 12 * 14 * 20)
    limit = int(((4 + 10.5) * line + 3 * prepare.CHUNK_BYTES) / 0.75) + 1
    read_columns = prepare.WideBlock.columns
    seen = []

    def noted(self, x0, x1):
        seen.append(read_columns(self, x0, x1))
        return seen[-1]

    monkeypatch.setattr(prepare.WideBlock, "columns", noted)
    result = classify_scene(scene, classifier, parts, memory_limit=limit, **options)
    assert {values is None for values in seen} == {True, False}
    assert max(values.nbytes for values in seen if values is not None) <= prepare.CHUNK_BYTES
    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert np.abs(read(tmp_path / "a_p.tif").astype(int) - read(tmp_path / "b_p.tif")).max() <= 1
    assert result.without_data == 21 * 90 - sum(result.pixels)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_pixels_without_data_stay_without_a_class(tmp_path, make_classifier, make_scene, mode):
    classifier, scene = make_classifier(), make_scene(16, 19)
    missing = np.zeros((16, 19), bool)
    missing[:6, :7], missing[10, 12], missing[8:, 15:] = True, True, True
    scene.values[:, missing] = np.nan
    scene.values[5, 13, 2] = np.nan
    missing[13, 2] = True
    outputs = MapOutputs(tmp_path / "map.tif", tmp_path / "p.tif", tmp_path / "u.tif")
    result = classify_scene(scene, classifier, outputs, mode=mode, device="cpu", float32=True)
    labels = read(tmp_path / "map.tif")[0]
    assert np.array_equal(labels == 0, missing)
    assert result.without_data == missing.sum()
    for name, shares in (("p", read(tmp_path / "p.tif")), ("u", read(tmp_path / "u.tif"))):
        assert np.array_equal((shares == 65535).all(0), missing), name
    if mode == "exact":
        found = plain(classifier, scene)[:, ~missing]
        assert np.array_equal(labels[~missing], found.argmax(0) + 1)


def test_a_scene_without_any_data_is_a_map_without_classes(tmp_path, make_classifier, make_scene):
    scene = make_scene(6, 7)
    scene.values[:] = np.nan
    for mode in ("exact", "fast"):
        path = tmp_path / f"{mode}.tif"
        result = classify_scene(scene, make_classifier(), MapOutputs(path), mode=mode, device="cpu")
        assert not read(path).any()
        assert result.windows == 0


def test_fast_is_close_to_exact_on_smooth_data_with_fewer_windows(tmp_path, make_classifier, make_scene):
    classifier, scene = make_classifier(), make_scene(41, 50, smooth=True)
    maps = {}
    for mode in ("exact", "fast"):
        path = tmp_path / f"{mode}.tif"
        maps[mode] = classify_scene(scene, classifier, MapOutputs(path), mode=mode, device="cpu")
    exact, fast = read(tmp_path / "exact.tif"), read(tmp_path / "fast.tif")
    assert len(np.unique(exact)) > 1
    assert (exact == fast).mean() > 0.98
    assert maps["fast"].windows < 0.35 * maps["exact"].windows


def test_without_context_fast_is_exact(tmp_path, make_classifier, make_scene):
    classifier, scene = make_classifier(context=False), make_scene()
    for mode in ("exact", "fast"):
        classify_scene(scene, classifier, MapOutputs(tmp_path / f"{mode}.tif"), mode=mode, device="cpu")
    assert np.array_equal(read(tmp_path / "exact.tif"), read(tmp_path / "fast.tif"))


def test_the_map_carries_legend_and_tags(tmp_path, make_classifier, make_scene):
    classify_scene(
        make_scene(5, 6),
        make_classifier(),
        MapOutputs(tmp_path / "map.tif", tmp_path / "p.tif"),
        classes=LEGEND,
        tags={"HSI_MODEL": "fields"},
        device="cpu",
    )
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert (raster.dtypes[0], raster.nodata) == ("uint8", 0)
        assert raster.tags()["HSI_MODEL"] == "fields"
        assert raster.colormap(1)[2] == (0, 120, 0, 255)
    with rasterio.open(tmp_path / "p.tif") as raster:
        assert raster.descriptions == ("wheat", "beech", "water")
        assert (raster.scales[0], raster.nodata) == (1e-4, 65535)


def test_more_than_255_classes_fit(tmp_path, make_classifier, make_scene):
    classifier = make_classifier(experts=False, n_classes=300)
    classify_scene(make_scene(5, 6), classifier, MapOutputs(tmp_path / "map.tif"), device="cpu")
    assert read(tmp_path / "map.tif").dtype == np.uint16


def test_a_plan_gives_the_bands_of_another_sensor(tmp_path, make_classifier, make_scene):
    classifier, scene = make_classifier(), make_scene(8, 9)
    matrix = np.zeros((24, 12), np.float32)
    matrix[np.arange(12) * 2, np.arange(12)] = matrix[np.arange(12) * 2 + 1, np.arange(12)] = 0.5
    other = make_scene(8, 9, bands=26)
    other.values[1:25] = np.repeat(scene.values, 2, axis=0)
    plan = BandPlan(tuple(range(1, 25)), matrix)
    classify_scene(scene, classifier, MapOutputs(tmp_path / "a.tif"), device="cpu")
    classify_scene(other, classifier, MapOutputs(tmp_path / "b.tif"), device="cpu", plan=plan)
    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))


def test_a_scene_of_other_bands_is_refused(tmp_path, make_classifier, make_scene):
    with pytest.raises(ModelError, match=r"12 bands.*7"):
        classify_scene(make_scene(bands=7), make_classifier(), MapOutputs(tmp_path / "map.tif"), device="cpu")
    assert not list(tmp_path.iterdir())


def test_cancelling_leaves_no_file(tmp_path, make_classifier, make_scene):
    class Impatient(Progress):
        asked = 0

        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 12

    scene = make_scene(40, 18)
    (tmp_path / "u.tif").write_text("what stood there before")
    outputs = MapOutputs(tmp_path / "map.tif", tmp_path / "p.tif", tmp_path / "u.tif")
    progress = Impatient()
    with pytest.raises(Cancelled):
        classify_scene(
            scene,
            make_classifier(),
            outputs,
            device="cpu",
            overwrite=True,
            memory_limit=rows_for(scene, 4),
            progress=progress,
        )
    assert progress.asked == 13
    assert [path.name for path in tmp_path.iterdir()] == ["u.tif"]
    assert (tmp_path / "u.tif").read_text() == "what stood there before"


def test_running_out_of_memory_makes_batches_smaller_not_the_map_wrong(
    tmp_path, make_classifier, make_scene, monkeypatch
):
    sizes: list[int] = []
    forward = FeatureMajorForward.__call__

    def greedy(self, windows):
        sizes.append(len(windows))
        if len(windows) > 20:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.")
        return forward(self, windows)

    monkeypatch.setattr(FeatureMajorForward, "__call__", greedy)
    classifier, scene = make_classifier(), make_scene()
    outputs = MapOutputs(tmp_path / "map.tif")
    classify_scene(scene, classifier, outputs, device="cpu", float32=True, batch_size=64)
    assert max(sizes) > 20 >= sizes[-1]
    assert np.array_equal(read(tmp_path / "map.tif")[0], plain(classifier, scene).argmax(0) + 1)


def test_too_little_memory_is_one_clear_error(tmp_path, make_classifier, make_scene):
    for mode in ("exact", "fast"):
        with pytest.raises(OutOfMemoryError, match="smallest block"):
            classify_scene(
                make_scene(),
                make_classifier(),
                MapOutputs(tmp_path / "map.tif"),
                mode=mode,
                device="cpu",
                memory_limit=20_000,
            )
    assert not list(tmp_path.iterdir())


def test_wrong_parameters_are_refused(tmp_path, make_classifier, make_scene):
    outputs = MapOutputs(tmp_path / "map.tif")
    with pytest.raises(ParameterError, match="'quick'"):
        classify_scene(make_scene(), make_classifier(), outputs, mode="quick")
    with pytest.raises(ParameterError, match="batch of 0"):
        classify_scene(make_scene(), make_classifier(), outputs, batch_size=0)
    with pytest.raises(OutputError, match="Two outputs"):
        MapOutputs(tmp_path / "map.tif", tmp_path / "map.tif")


def test_the_classifier_is_left_as_it_is(tmp_path, make_classifier, make_scene):
    classifier = make_classifier().train()
    bands = classifier.bands
    classify_scene(make_scene(6, 7), classifier, MapOutputs(tmp_path / "map.tif"), device="cpu")
    assert classifier.training
    assert classifier.bands is bands


def test_cancellation_is_looked_for_while_batches_run() -> None:
    assert batches.POLL_SECONDS <= 0.2
