"""Collaborative filtering of component images."""

import numpy as np
import pytest
import torch

from hsi_toolkit.denoising.collaborative import collaborative_filter
from hsi_toolkit.errors import Cancelled
from hsi_toolkit.progress import Progress


def shapes(rows: int = 48, cols: int = 40) -> torch.Tensor:
    """Three images of discs and bars of falling contrast, (3, rows, cols)."""
    y, x = np.mgrid[:rows, :cols]
    discs = (np.hypot(y - 20, x - 18) < 9).astype(float) + (np.hypot(y - 38, x - 30) < 6)
    bars = ((x // 6) % 2).astype(float)
    return torch.tensor(np.stack([20 * discs, 8 * bars, 3 * discs * bars]), dtype=torch.float32)


def noise(like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def test_noise_falls_to_less_than_half_in_every_image() -> None:
    clean = shapes()
    result = collaborative_filter(clean + noise(clean))
    assert all(error(a, b) < 0.5 for a, b in zip(result, clean, strict=True))


def test_noise_alone_is_nearly_all_removed() -> None:
    result = collaborative_filter(noise(torch.zeros(2, 48, 48)))
    assert float(result.std()) < 0.2


def test_an_even_image_stays_even() -> None:
    result = collaborative_filter(torch.full((2, 30, 30), 1e5))
    torch.testing.assert_close(result, torch.full((2, 30, 30), 1e5), rtol=1e-5, atol=0)


def test_the_same_images_give_the_same_result() -> None:
    noisy = shapes() + noise(shapes())
    assert torch.equal(collaborative_filter(noisy), collaborative_filter(noisy))


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 2), (5, 5), (9, 13)])
def test_images_of_any_size_are_filtered(size: tuple[int, int]) -> None:
    result = collaborative_filter(noise(torch.zeros(2, *size)))
    assert result.shape == (2, *size)
    assert bool(result.isfinite().all())


def test_it_can_be_cancelled() -> None:
    class Impatient(Progress):
        def cancelled(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        collaborative_filter(shapes(), Impatient())
