"""The method hypersigma of unmixing, detection and change, from files to files."""

from itertools import permutations

import geopandas as gpd
import numpy as np
import pytest
import torch
from affine import Affine
from scipy import ndimage
from scipy.special import softmax
from shapely.geometry import Point

from hsi_toolkit.errors import Cancelled, HsiError, ModelError, ParameterError
from hsi_toolkit.models.hypersigma import encoders
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.mae import MAEConfig, SpatMAE, SpecMAE
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, make_scene, open_scene, read_class_map
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.anomalies import Anomalies
from hsi_toolkit.tasks.change import Change
from hsi_toolkit.tasks.target import Target
from hsi_toolkit.tasks.unmix import Unmix
from tests.unmixing.conftest import smooth_spectra

ROWS, COLUMNS = 21, 26
ODD = ((3, 4), (10, 20), (17, 9))
TINY = TransformerSize(dim=16, depth=4, heads=2, out_indices=(0, 1, 2, 3), drop_path=0.0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The size called small is a much smaller one here, and sees fewer samples."""
    monkeypatch.setattr(encoders, "SIZES", {**encoders.SIZES, "small": TINY})
    fewer = {"detection.learned.TILES": 16, "unmixing.learned.TILES": 8, "unmixing.learned.BATCH": 2}
    for name, value in (fewer | {"change.learned.PIXELS": 40, "change.learned.BATCH": 8}).items():
        monkeypatch.setattr(f"hsi_toolkit.{name}", value)


def write(path, cube, good=None):
    like = make_scene(cube, path=path, crs="EPSG:32633", transform=Affine(10, 0, 4e5, 0, -10, 5.8e6))
    with RasterWriter(
        path, like=like, count=len(cube), wavelengths=wavelength(len(cube)), good=good
    ) as writer:
        writer.write(cube, 0)
    return str(path)


def wavelength(bands):
    return np.linspace(450, 2300, bands)


def background(bands, seed=0):
    """A scene (bands, ROWS, COLUMNS) with odd pixels of one spectrum, and one pixel without data."""
    rng = np.random.default_rng(seed)
    cube = np.tensordot(rng.normal(size=(bands, 4)), rng.normal(size=(4, ROWS, COLUMNS)), 1)
    cube += 20 + 0.1 * rng.normal(size=cube.shape)
    odd = 20 + 3 * np.random.default_rng(9).normal(size=bands)
    for row, column in ODD:
        cube[:, row, column] = odd
    cube[:, 0, -1] = np.nan
    return cube.astype(np.float32)


@pytest.fixture
def scene(tmp_path):
    return write(tmp_path / "scene.tif", background(60))


def checked(scores, threshold, labels):
    """Scores for every pixel with data, and the map that belongs to them."""
    values, classes = open_scene(scores)[0].to_numpy(), read_class_map(labels)[0]
    assert np.isnan(values[0, -1])
    assert np.isnan(values).sum() == 1
    assert np.array_equal(classes, np.where(np.isnan(values), 0, 1 + (values > threshold)))
    return values


def test_anomalies_are_scored_and_mapped(tmp_path, scene):
    outputs = {"output": str(tmp_path / "s.tif"), "detections": str(tmp_path / "d.tif")}
    result = run(Anomalies(scene=scene, method="hypersigma", epochs=2, false_alarm_rate=0.05, **outputs))
    checked(outputs["output"], result["threshold"], outputs["detections"])
    assert result["facts"]["Network"] == "HyperSIGMA small, from random weights"
    assert result["facts"]["Training"].startswith("2 epochs")
    assert result["outputs"] == {"scores": outputs["output"], "detections": outputs["detections"]}


def test_targets_are_scored_and_mapped(tmp_path, scene):
    drawn = str(tmp_path / "p.gpkg")
    points = [Point(4e5 + 10 * (column + 0.5), 5.8e6 - 10 * (row + 0.5)) for row, column in ODD[:2]]
    gpd.GeoDataFrame(geometry=points, crs="EPSG:32633").to_file(drawn, driver="GPKG")
    outputs = {"output": str(tmp_path / "s.tif"), "detections": str(tmp_path / "d.tif")}
    result = run(
        Target(scene=scene, target=drawn, method="hypersigma", epochs=12, false_alarm_rate=0.05, **outputs)
    )
    values = checked(outputs["output"], result["threshold"], outputs["detections"])
    assert result["signatures"] == 2
    odd = np.zeros(values.shape, bool)
    odd[tuple(zip(*ODD, strict=True))] = True
    assert values[odd].mean() > np.nanquantile(values[~odd], 0.9)


@pytest.mark.slow
def test_change_is_scored_mapped_and_sorted(tmp_path, scene):
    after = 1.2 * background(60) + 3
    after[:, 5:9, 5:11] = 1.2 * background(60)[:, 12:16, 12:18][::-1] + 3
    later = write(tmp_path / "later.tif", after)
    outputs = {name: str(tmp_path / f"{name}.tif") for name in ("output", "map", "types")}
    result = run(Change(before=scene, after=later, method="hypersigma", epochs=15, **outputs))
    values = checked(outputs["output"], result["threshold"], outputs["map"])
    changed = np.zeros(values.shape, bool)
    changed[5:9, 5:11] = True
    assert values[6:8, 6:10].min() > result["threshold"]
    assert (values[~changed] > result["threshold"]).sum() < 60
    assert (values[:, :3] <= result["threshold"])[1:].all()
    assert len(result["types"]) >= 1
    assert result["gain"] == pytest.approx([1 / 1.2] * 60, rel=0.05)
    assert result["facts"]["Network"].startswith("HyperSIGMA")


@pytest.mark.parametrize(("light", "epochs"), [pytest.param(0.0, 12, marks=pytest.mark.slow), (0.4, 1)])
def test_abundances_add_up_and_endmembers_are_refined(tmp_path, light, epochs):
    rng = np.random.default_rng(2)
    rough = ndimage.gaussian_filter(rng.normal(size=(3, ROWS, COLUMNS)), (0, 3, 3))
    shares = softmax(120 * rough, axis=0)
    brightness = 1 + light * rng.uniform(-1, 1, (ROWS, COLUMNS))
    cube = (np.tensordot(smooth_spectra(3).T, shares, 1) * brightness).astype(np.float32)
    cube += rng.normal(0, 0.002, cube.shape).astype(np.float32)
    cube[:, 4, 5] = np.nan
    path = write(tmp_path / "lake.tif", cube)
    outputs = {name: str(tmp_path / f"{name}.tif") for name in ("output", "error")}
    spectra = str(tmp_path / "em.csv")
    task = Unmix(scene=path, endmembers="3", method="hypersigma", epochs=epochs, spectra=spectra, **outputs)
    result = run(task)
    found = open_scene(outputs["output"]).to_numpy()
    assert np.isnan(found[:, 4, 5]).all()
    assert np.isnan(found).sum() == 3
    assert np.nanmin(found) >= 0
    np.testing.assert_allclose(found.sum(axis=0)[5:], 1, atol=1e-5)
    known = open_scene(outputs["error"]).to_numpy()
    assert result["error"] == pytest.approx(np.sqrt(np.nanmean(known**2)), rel=1e-4)
    assert result["brightness"] == ("free" if light else "even")
    assert SpectralLibrary.read(spectra).spectra.shape == (3, len(cube))
    if epochs == 1:
        return
    best = min(np.nanmean((found[list(order)] - shares) ** 2) for order in permutations(range(3)))
    assert best < 0.5 * np.var(shares)
    run(Unmix(**{**task.to_dict(), "overwrite": True}))
    np.testing.assert_array_equal(open_scene(outputs["output"]).to_numpy(), found)


@pytest.mark.parametrize(("bands", "shape"), [(200, (1, 1)), (425, (3, 50)), (60, (70, 5))])
def test_scenes_of_any_size_and_number_of_bands_are_unmixed(tmp_path, bands, shape):
    spectra = np.abs(np.random.default_rng(0).normal(size=(3, bands))) + 0.1
    shares = np.random.default_rng(1).dirichlet(np.ones(3), shape)
    path = write(tmp_path / "scene.tif", (shares @ spectra).transpose(2, 0, 1).astype(np.float32))
    library = str(tmp_path / "library.csv")
    SpectralLibrary(spectra, ("one", "two", "three"), wavelength(bands)).write(library)
    output = str(tmp_path / "a.tif")
    result = run(Unmix(scene=path, endmembers=library, method="hypersigma", epochs=1, output=output))
    assert open_scene(output).shape == (3, *shape)
    assert result["pixels"] == shape[0] * shape[1]


def scattered(bands, shape, seed):
    """A scene of two materials with noise and a few odd pixels; on another date with another seed."""
    ground, noise = np.random.default_rng(bands), np.random.default_rng(seed)
    cube = np.tensordot(ground.uniform(5, 20, (bands, 2)), ground.uniform(size=(2, *shape)), 1)
    cube += noise.normal(0, 0.1, cube.shape)
    cube[:, shape[0] // 2, shape[1] // 2] += ground.uniform(2, 5, bands)
    return cube.astype(np.float32)


@pytest.mark.parametrize("kind", [Anomalies, Target, Change])
@pytest.mark.parametrize(
    ("bands", "shape"),
    [(1, (16, 20)), (60, (70, 5)), (200, (1, 1)), (200, (20, 21)), (425, (3, 50)), (425, (30, 29))],
)
def test_any_size_and_number_of_bands_gives_scores_or_a_sentence(tmp_path, kind, bands, shape):
    first, second = (write(tmp_path / f"{seed}.tif", scattered(bands, shape, seed)) for seed in (1, 2))
    values = {"output": str(tmp_path / "s.tif"), "method": "hypersigma", "epochs": 1}
    if kind is Change:
        values |= {"before": first, "after": second}
    else:
        values["scene"] = first
    if kind is Target:
        signature = 20 + 5 * np.random.default_rng(5).random((1, bands))
        values["target"] = str(tmp_path / "target.csv")
        SpectralLibrary(signature, ("target",), wavelength(bands)).write(values["target"])
    # A single pixel has nothing to be compared with; change takes two pixels a band to compare spectra.
    pixels = shape[0] * shape[1]
    if pixels == 1 or (kind is Change and pixels < 2 * bands):
        with pytest.raises(HsiError, match="pixel") as caught:
            run(kind(**values))
        assert caught.value.remedy
        assert not (tmp_path / "s.tif").exists()
        return
    run(kind(**values))
    scores = open_scene(values["output"])
    assert scores.shape == (1, *shape)
    assert np.isfinite(scores.to_numpy()).all()


def test_a_single_pixel_has_nothing_unusual_and_the_error_says_so(tmp_path):
    path = write(tmp_path / "one.tif", np.ones((20, 1, 1), np.float32))
    with pytest.raises(HsiError, match="pixel"):
        run(Anomalies(scene=path, output=str(tmp_path / "s.tif"), method="hypersigma", epochs=1))
    assert not (tmp_path / "s.tif").exists()


def test_pretrained_encoders_are_the_start_of_every_task(tmp_path, scene, monkeypatch):
    monkeypatch.setattr("hsi_toolkit.models.hypersigma.loading.SIZES", {"tiny": TINY})
    monkeypatch.setattr(encoders, "SIZES", {"tiny": TINY})
    config = MAEConfig(
        size=TINY, bands=100, img_size=64, patch=8, decoder_dim=16, decoder_depth=1, decoder_heads=2
    )
    for name, kind in (("spat", SpatMAE), ("spec", SpecMAE)):
        torch.save({"model": kind(config).state_dict()}, tmp_path / f"{name}.pth")
    weights = ",".join(str(tmp_path / f"{name}.pth") for name in ("spat", "spec"))
    output = str(tmp_path / "out.tif")
    given = {"method": "hypersigma", "epochs": 1, "weights": weights, "output": output, "overwrite": True}
    drawn = str(tmp_path / "library.csv")
    SpectralLibrary(background(60)[:, 3, 4][None], ("odd",), wavelength(60)).write(drawn)
    for task in (
        Anomalies(scene=scene, **given),
        Target(scene=scene, target=drawn, **given),
        Change(before=scene, after=write(tmp_path / "later.tif", 1.1 * background(60)), **given),
        Unmix(scene=scene, endmembers="2", **given),
    ):
        network = run(task)["facts"]["Network"]
        assert network.startswith("HyperSIGMA tiny, from spatial encoder tiny from spat.pth"), task.name
        assert "spectral encoder tiny from spec.pth" in network, task.name


def test_weights_that_are_none_are_refused_before_anything_is_read(tmp_path, scene):
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"nothing")
    task = Anomalies(scene=scene, output=str(tmp_path / "s.tif"), method="hypersigma", weights=str(wrong))
    with pytest.raises(ModelError, match=r"wrong\.pth"):
        run(task)


def test_unmixing_by_a_network_has_no_uncertainty(tmp_path, scene):
    task = Unmix(
        scene=scene, output=str(tmp_path / "a.tif"), uncertainty=str(tmp_path / "u.tif"), method="hypersigma"
    )
    with pytest.raises(ParameterError, match="'hypersigma' gives no uncertainty"):
        run(task)


@pytest.mark.parametrize("moment", [0.3, 0.6, 0.95])
def test_a_cancelled_run_leaves_nothing(tmp_path, scene, moment):
    class Late(Progress):
        fraction = 0.0

        def report(self, fraction, message=""):
            assert fraction >= self.fraction - 1e-9, message
            self.fraction = fraction

        def cancelled(self):
            return self.fraction > moment

    task = Anomalies(
        scene=scene,
        output=str(tmp_path / "s.tif"),
        detections=str(tmp_path / "d.tif"),
        method="hypersigma",
        epochs=2,
    )
    with pytest.raises(Cancelled):
        run(task, Late())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["scene.tif"]
