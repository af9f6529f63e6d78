"""A scene and a sharper image of the same place."""

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from hsi_toolkit.errors import SceneError
from hsi_toolkit.fusion import Axis
from hsi_toolkit.pipelines import run
from hsi_toolkit.quality import CubeComparison
from hsi_toolkit.scene import RasterWriter, make_scene, open_scene
from hsi_toolkit.tasks.superresolve import Superresolve

RATIO, BANDS = 4, 30
UTM = CRS.from_epsg(32633)


def write(path, cube, pixel, *, crs=UTM, left=400000.0, wavelengths=None):
    transform = Affine(pixel, 0, left, 0, -pixel, 5800000)
    like = make_scene(cube, path=path, crs=crs, transform=transform if crs else None)
    with RasterWriter(path, like=like, count=len(cube), wavelengths=wavelengths, overwrite=True) as writer:
        writer.write(cube, 0)
    return str(path)


@pytest.fixture(scope="module")
def truth():
    """Four materials in fields with sharp edges, mixed a little, (30, 96, 112)."""
    rng = np.random.default_rng(1)
    spectra = gaussian_filter(rng.uniform(0.05, 0.6, (4, BANDS)), (0, 3))
    field = np.argmax([gaussian_filter(rng.normal(size=(96, 112)), 4) for _ in range(4)], axis=0)
    shares = gaussian_filter(np.eye(4)[field], (0.5, 0.5, 0))
    light = 1 + 0.1 * gaussian_filter(rng.normal(size=(96, 112)), 2)
    return np.einsum("ijm,mb->bij", shares * light[..., None], spectra).astype(np.float32)


@pytest.fixture(scope="module")
def pair(truth):
    """The scene at a quarter of the resolution and the guide with four broad bands, both with noise."""
    rng = np.random.default_rng(2)
    rows, cols = (Axis(n, n // RATIO, 1 / RATIO, 0.0) for n in truth.shape[1:])
    coarse = rows.blur(0.45) @ truth @ cols.blur(0.45).T
    guide = truth[: BANDS // 4 * 4].reshape(4, -1, *truth.shape[1:]).mean(axis=1)
    noisy = (each + rng.normal(0, 0.002, each.shape) for each in (coarse, guide))
    return tuple(each.astype(np.float32) for each in noisy)


def psnr(cube, truth):
    sums = CubeComparison(truth.max(axis=(1, 2)).astype(float))
    sums.update(cube, truth)
    return sums.result().mean_psnr


@pytest.mark.parametrize(("method", "gain"), [("gsa", 8), ("bayes", 8), ("cnmf", 3)])
def test_the_sharp_scene_is_far_closer_to_the_truth_than_interpolation(tmp_path, truth, pair, method, gain):
    coarse, guide = pair
    wavelengths = np.linspace(450, 2400, BANDS)
    task = Superresolve(
        scene=write(tmp_path / "scene.tif", coarse, 30.0, wavelengths=wavelengths),
        guide=write(tmp_path / "guide.tif", guide, 7.5),
        output=str(tmp_path / "sharp.tif"),
        method=method,
    )
    result = run(task)
    sharp = open_scene(tmp_path / "sharp.tif")
    rows, cols = (Axis(n, n // RATIO, 1 / RATIO, 0.0) for n in truth.shape[1:])
    smooth = (rows.interpolate() @ coarse @ cols.interpolate().T).astype(np.float32)
    assert psnr(sharp.to_numpy(), truth) > psnr(smooth, truth) + gain
    assert result["ratio"] == pytest.approx(4)
    assert sharp.rio.transform().a == 7.5
    np.testing.assert_allclose(sharp["wavelength"], wavelengths, atol=0.01)


def test_tiles_do_not_show(tmp_path, pair, monkeypatch):
    coarse, guide = pair
    scene, sharper = write(tmp_path / "s.tif", coarse, 30.0), write(tmp_path / "g.tif", guide, 7.5)
    run(Superresolve(scene=scene, guide=sharper, output=str(tmp_path / "whole.tif")))
    monkeypatch.setattr("hsi_toolkit.pipelines.superresolve._TILE_PIXELS", 40 * 40)
    run(Superresolve(scene=scene, guide=sharper, output=str(tmp_path / "tiled.tif")))
    whole, tiled = (open_scene(tmp_path / name).to_numpy() for name in ("whole.tif", "tiled.tif"))
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


def test_a_guide_that_covers_a_part_gives_that_part(tmp_path, truth, pair):
    coarse, guide = pair
    part = guide[:, :, 37:]
    task = Superresolve(
        scene=write(tmp_path / "scene.tif", coarse, 30.0),
        guide=write(tmp_path / "guide.tif", part, 7.5, left=400000 + 37 * 7.5),
        output=str(tmp_path / "sharp.tif"),
    )
    run(task)
    sharp = open_scene(tmp_path / "sharp.tif").to_numpy()
    assert sharp.shape == (BANDS, 96, 75)
    assert psnr(sharp, truth[:, :, 37:]) > 30


def test_pixels_without_data_in_either_stay_without(tmp_path, pair):
    coarse, guide = (each.copy() for each in pair)
    coarse[:, 3, 4] = np.nan
    guide[:, 50, 60] = np.nan
    task = Superresolve(
        scene=write(tmp_path / "scene.tif", coarse, 30.0),
        guide=write(tmp_path / "guide.tif", guide, 7.5),
        output=str(tmp_path / "sharp.tif"),
    )
    run(task)
    missing = np.isnan(open_scene(tmp_path / "sharp.tif").to_numpy()).all(axis=0)
    assert missing[12:16, 16:20].all()
    assert missing[50, 60]
    assert missing.sum() == 17


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"crs": CRS.from_epsg(4326)}, "Reproject"),
        ({"left": 900000.0}, "does not lie over"),
        ({"pixel": 30.0}, "smaller pixels"),
    ],
)
def test_a_guide_that_does_not_fit_is_refused(tmp_path, pair, change, sentence):
    coarse, guide = pair
    task = Superresolve(
        scene=write(tmp_path / "scene.tif", coarse, 30.0),
        guide=write(tmp_path / "guide.tif", guide, **{"pixel": 7.5, **change}),
        output=str(tmp_path / "sharp.tif"),
    )
    with pytest.raises(SceneError, match=sentence):
        run(task)
    assert not (tmp_path / "sharp.tif").exists()
