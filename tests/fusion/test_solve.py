"""Sharpening a tile."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsi_toolkit.errors import Cancelled
from hsi_toolkit.fusion import Axis, CoupledEndmembers, FusionModel, Sharpener
from hsi_toolkit.progress import Progress

BANDS, RATIO, COARSE = 6, 3, 12
AXIS = Axis(fine=RATIO * COARSE, coarse=COARSE, step=1 / RATIO, shift=0.0)
SPECTRA = np.abs(np.random.default_rng(0).standard_normal((BANDS, 2))) + 0.2


def model() -> FusionModel:
    """Two components that are the scene's two materials, both seen by a guide of two bands."""
    inverse = np.linalg.pinv(SPECTRA).T
    return FusionModel(
        mean=np.zeros(BANDS),
        noise=np.full(BANDS, 0.01),
        projection=inverse,
        basis=SPECTRA,
        width=0.4,
        forward=np.eye(2),
        forward_offset=np.zeros(2),
        detail=np.eye(2),
        guide_variance=np.full(2, 1e-4),
        prior_variance=np.full(2, 0.01),
        guide_explained=np.ones(2),
    )


def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sharp fractions (2, H, W), the scene (bands, h, w) and the guide, which sees the fractions."""
    fractions = np.random.default_rng(1).dirichlet((1, 1), size=(AXIS.fine, AXIS.fine)).transpose(2, 0, 1)
    blur = AXIS.blur(0.4)
    scene = np.einsum("bk,kij->bij", SPECTRA, blur @ fractions @ blur.T)
    return fractions, scene.astype(np.float32), fractions.astype(np.float32)


def sharpener(method: str) -> Sharpener:
    ends = CoupledEndmembers(SPECTRA, np.eye(2)) if method == "cnmf" else None
    return Sharpener(model(), method=method, endmembers=ends)


@pytest.mark.parametrize("method", ["gsa", "bayes", "cnmf"])
def test_the_coefficients_hold_the_sharp_cube(method: str) -> None:
    fractions, scene, guide = pair()
    how = sharpener(method)
    coefficients = how.coefficients(scene, guide, AXIS, AXIS)
    assert coefficients.shape == (how.components, AXIS.fine, AXIS.fine)
    truth = np.einsum("bk,kij->bij", SPECTRA, fractions)
    np.testing.assert_allclose(how.cube(coefficients), truth, atol=0.12 * truth.max())


def test_a_part_of_the_coefficients_gives_that_part_of_the_cube() -> None:
    _, scene, guide = pair()
    guide[:, 4, 5] = np.nan
    how = sharpener("gsa")
    coefficients = how.coefficients(scene, guide, AXIS, AXIS)
    whole = how.cube(coefficients)
    np.testing.assert_allclose(how.cube(coefficients[:, 3:9]), whole[:, 3:9], atol=1e-6)
    assert np.isnan(whole[:, 4, 5]).all()
    assert np.isnan(whole).sum() == BANDS


@pytest.mark.parametrize("method", ["bayes", "cnmf"])
def test_every_step_can_be_cancelled(method: str) -> None:
    class AfterSome(Progress):
        left = 1

        def cancelled(self) -> bool:
            self.left -= 1
            return self.left < 0

    _, scene, guide = pair()
    with pytest.raises(Cancelled):
        sharpener(method).coefficients(scene, guide, AXIS, AXIS, AfterSome())


def test_the_most_probable_cube_believes_a_better_guide_more() -> None:
    fractions, scene, guide = pair()
    noisy = guide + np.float32(0.05) * np.random.default_rng(2).standard_normal(guide.shape, np.float32)
    errors = []
    for variance in (1e-6, 0.05**2):
        how = Sharpener(replace(model(), guide_variance=np.full(2, variance)), method="bayes")
        found = how.coefficients(scene, noisy, AXIS, AXIS)
        errors.append(float((found - torch.as_tensor(fractions)).square().mean()))
    assert errors[1] < errors[0]
