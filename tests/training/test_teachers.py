"""Spectral features and experts fitted on few labels."""

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from hsi_toolkit.training.teachers import fit_discriminant, fit_experts, fit_features


def labelled(n: int = 120, bands: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 4
    spectra = rng.normal(size=(4, bands))[classes] + rng.normal(0, 1.0, (n, bands))
    return (3 + spectra).astype(np.float32), classes


def test_features_are_white_and_shapes_ignore_brightness() -> None:
    spectra, _ = labelled(500)
    features = fit_features(spectra)
    values = features.with_shape(torch.from_numpy(spectra))
    assert values.shape == (500, 64)
    torch.testing.assert_close(values.std(dim=0), torch.ones(64), atol=0.01, rtol=0)
    bright = features.with_shape(torch.from_numpy(1.2 * spectra))
    assert (bright[:, 32:] - values[:, 32:]).abs().mean() < 0.05
    assert (bright[:, :32] - values[:, :32]).abs().mean() > 0.1


def test_discriminant_is_that_of_scikit_learn() -> None:
    values, classes = labelled()
    expert = fit_discriminant(values.astype(np.float64), classes, 4)
    original = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.25] * 4)
    original.fit(values, classes)
    others, _ = labelled(400, seed=1)
    same = expert(torch.from_numpy(others)).argmax(dim=1).numpy() == original.predict(others)
    assert same.mean() > 0.97


def test_a_constant_band_does_no_harm() -> None:
    values, classes = labelled()
    constant = np.concatenate([values, np.full((len(values), 1), 5.0, np.float32)], axis=1)
    with_it = fit_discriminant(constant.astype(np.float64), classes, 4)(torch.from_numpy(constant))
    without = fit_discriminant(values.astype(np.float64), classes, 4)(torch.from_numpy(values))
    assert with_it.isfinite().all()
    assert (with_it.argmax(dim=1) == without.argmax(dim=1)).float().mean() > 0.97


def test_experts_are_repeatable_and_calibrated_as_probabilities() -> None:
    spectra, classes = labelled()
    features = fit_features(spectra)
    values = torch.from_numpy(spectra)
    first = fit_experts(values, features, classes, 4, seed=3)(values, features.with_shape(values))
    second = fit_experts(values, features, classes, 4, seed=3)(values, features.with_shape(values))
    assert torch.equal(first, second)
    torch.testing.assert_close(first.exp().sum(dim=1), torch.ones(len(values)), atol=1e-4, rtol=0)


def test_a_class_of_one_pixel_can_be_learned() -> None:
    spectra, classes = labelled(41)
    kept = (classes != 3) | (np.arange(41) == 3)
    values = torch.from_numpy(spectra[kept])
    features = fit_features(spectra)
    stack = fit_experts(values, features, classes[kept], 4, seed=0)
    assert stack(values, features.with_shape(values)).isfinite().all()
