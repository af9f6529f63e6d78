"""Arithmetic on arrays and on tensors."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance

RNG = np.random.default_rng(3)
PIXELS = (RNG.normal(size=(5000, 7)) @ RNG.normal(size=(7, 7)) + 40).astype(np.float32)
TENSORS = Compute(torch.device("cpu"))


@dataclass(frozen=True)
class Inner:
    weights: np.ndarray
    name: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    mean: np.ndarray


@pytest.mark.parametrize("compute", [Compute(), TENSORS], ids=["numpy", "tensors"])
def test_a_function_of_pixels_sees_them_all_in_the_type_asked_for(compute):
    found = compute.pixelwise(lambda first, second: (first * second).sum(1), PIXELS, PIXELS, dtype=np.float64)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.square(PIXELS.astype(float)).sum(axis=1), rtol=1e-6)


def test_a_model_moves_with_the_arrays_of_its_parts():
    model = Outer(Inner(np.eye(2), "identity"), np.zeros(2))
    placed = TENSORS.place(model)
    assert isinstance(placed.inner.weights, torch.Tensor)
    assert isinstance(placed.mean, torch.Tensor)
    assert placed.inner.name == "identity"
    assert Compute().place(model) is model


def test_statistics_of_tensors_equal_those_of_arrays():
    pixels = PIXELS.copy()
    pixels[3, 2] = np.nan
    arrays, tensors = StreamingCovariance(7), StreamingCovariance(7)
    arrays.update(pixels)
    for part in np.array_split(pixels, 3):
        tensors.update(part, TENSORS)
    assert tensors.n_pixels == arrays.n_pixels == len(pixels) - 1
    np.testing.assert_allclose(tensors.mean, arrays.mean, rtol=1e-12)
    np.testing.assert_allclose(tensors.covariance, arrays.covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_and_auto_does_without():
    with pytest.raises(ParameterError, match="finds no CUDA device"):
        Compute.on("cuda")
    assert Compute.on("auto").device is None
