"""The components of a scene: the same from any window, and back to the scene."""

import numpy as np
import pytest
import xarray as xr

from hsi_toolkit.denoising.components import SceneComponents
from hsi_toolkit.pipelines.denoise import survey_scene
from hsi_toolkit.progress import Progress

BANDS, ROWS, COLUMNS = 24, 40, 50


def made(seed=0):
    """Three materials with noise that differs from band to band, and what the scene would be without."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS] / 8.0
    clean = np.einsum(
        "bm,myx->byx", rng.random((BANDS, 3)), np.stack([np.sin(x) + 2, np.cos(y) + 2, np.sin(x + y) + 2])
    )
    sigma = np.linspace(0.02, 0.06, BANDS)
    return (clean + rng.normal(size=clean.shape) * sigma[:, None, None]).astype(np.float32), clean, sigma


def components(cube, method="subspace"):
    scene = xr.DataArray(cube, dims=("band", "y", "x"), coords={"good": ("band", np.ones(BANDS, bool))})
    return SceneComponents(scene, survey_scene(scene, method, Progress()).model)


def test_components_are_few_and_their_noise_is_even():
    cube, clean, _ = made()
    found = components(cube)
    assert found.shape == (3, ROWS, COLUMNS)
    assert found.as_scene().shape == found.shape
    noisy = found.as_scene().values
    quiet = SceneComponents(found.scene.copy(data=clean.astype(np.float32)), found.model).as_scene().values
    np.testing.assert_allclose((noisy - quiet).std(axis=(1, 2)), 1, rtol=0.1)


@pytest.mark.parametrize("method", ["subspace", "robust"])
def test_a_window_is_a_part_of_the_whole(method):
    cube, _, _ = made()
    cube[:, 5, 6], cube[7, 8, 9] = np.nan, 10
    images = components(cube, method).as_scene()
    part = images.isel(band=[2, 0], y=slice(4, 20), x=slice(3, 30)).values
    np.testing.assert_allclose(part, images.values[[2, 0], 4:20, 3:30], atol=1e-4)
    assert np.isnan(part[:, 1, 3]).all()
    assert np.isnan(part).sum() == 2


def test_how_many_pixels_are_worked_on_together_changes_nothing(monkeypatch):
    cube, _, _ = made()
    cube[:, 5, 6], cube[7, 8, 9] = np.nan, 10
    found = components(cube, "robust")
    images = found.as_scene().values
    back = found.restored(images, 0)
    monkeypatch.setattr("hsi_toolkit.denoising.components._PIXELS", 70)
    np.testing.assert_allclose(found.as_scene().values, images, atol=1e-4)
    np.testing.assert_allclose(found.restored(images, 0), back, atol=1e-5)


def test_a_stripe_is_gone_and_what_is_missing_stays_so():
    cube, clean, sigma = made()
    cube[3, :, 17] += 1.5
    cube[:, 5, 6], cube[4, 8, 9] = np.nan, np.nan
    found = components(cube)
    found.model.faults.columns.offset[3, 17] = 1.5
    back = np.concatenate(
        [found.restored(found.as_scene()[:, y0 : y0 + 20].values, y0) for y0 in (0, 20)], axis=1
    )
    assert np.array_equal(np.isnan(back), np.isnan(cube))
    error = np.sqrt(np.nanmean((back - clean) ** 2, axis=(1, 2)))
    assert (error < 1.1 * sigma).all()
    assert abs(np.mean(back[3, :, 17] - clean[3, :, 17])) < 0.05


def test_a_rare_pixel_keeps_what_the_components_do_not_hold():
    cube, _, _ = made()
    cube[:, 30, 31] += np.where(np.arange(BANDS) % 2, 0.5, -0.5)
    found = components(cube)
    rows = found.restored(found.as_scene()[:, 28:34].values, 28)
    assert np.abs(rows[:, 2, 31] - cube[:, 30, 31]).max() < 0.25
