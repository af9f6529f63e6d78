"""Collaborative filtering of component images."""

import numpy as np
import pytest
import torch

from hsi_toolkit.denoising.collaborative import CollaborativeFilter, collaborative_filter
from hsi_toolkit.errors import Cancelled
from hsi_toolkit.progress import Progress

HELD_ROWS = 112
REACH = 64


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


@pytest.mark.parametrize("step", [1, 7, 33])
def test_rows_that_come_one_after_the_other_are_filtered_as_if_held_whole(step: int) -> None:
    noisy = shapes(rows=130) + noise(shapes(rows=130))
    stream = CollaborativeFilter(*noisy.shape[::2], noisy.device)
    parts = [stream.push(noisy[:, start : start + step]) for start in range(0, 130, step)]
    assert sum(part.shape[1] for part in parts) >= 130 - HELD_ROWS
    torch.testing.assert_close(
        torch.cat([*parts, stream.finish()], dim=1), collaborative_filter(noisy), rtol=0, atol=1e-5
    )


def test_what_lies_far_away_does_not_matter() -> None:
    noisy = noise(torch.zeros(2, 150, 40))
    changed = noisy.clone()
    changed[:, 100:] += 50
    before, after = collaborative_filter(noisy), collaborative_filter(changed)
    torch.testing.assert_close(after[:, : 100 - REACH], before[:, : 100 - REACH], rtol=0, atol=1e-4)


def test_more_images_than_have_principal_spectra_are_filtered_as_well() -> None:
    clean = torch.cat([shapes(), torch.zeros(37, 48, 40)])
    result = collaborative_filter(clean + noise(clean))
    assert error(result, clean) < 0.3


def test_no_rows_give_none() -> None:
    assert CollaborativeFilter(2, 6, torch.device("cpu")).finish().shape == (2, 0, 6)


def test_it_can_be_cancelled() -> None:
    class Impatient(Progress):
        def cancelled(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        collaborative_filter(shapes(), Impatient())
