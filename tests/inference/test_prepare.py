"""Blocks become features and windows as if the whole scene had been padded."""

import numpy as np
import pytest
import torch

from hsi_toolkit.inference import prepare as module
from hsi_toolkit.inference.prepare import Windows, prepare
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import iter_blocks

CPU = torch.device("cpu")


def padded_windows(values: np.ndarray, radius: int) -> np.ndarray:
    """(rows, columns, bands, side, side) windows of values (bands, rows, columns), edges by reflection."""
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)), "symmetric")
    side = 2 * radius + 1
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2)).transpose(1, 2, 0, 3, 4)


@pytest.mark.parametrize("tile_values", [10**9, 3000, 1])
def test_windows_are_cut_from_the_reflected_scene(make_classifier, make_scene, monkeypatch, tile_values):
    monkeypatch.setattr(module, "TILE_VALUES", tile_values)
    classifier, scene = make_classifier(), make_scene(11, 13)
    cut = padded_windows(scene.values, 4)
    for block in iter_blocks(scene, rows=5, halo=5):
        prepared = prepare(classifier, block, CPU, Progress())
        windows = Windows(prepared, 4).at(prepared.pixels)
        raw = torch.from_numpy(np.ascontiguousarray(cut[block.y0 : block.y1])).flatten(0, 1)
        expected = classifier.spectral.components(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(windows, expected, atol=1e-5, rtol=1e-5)
        assert prepared.core().tolist() == list(range((block.y1 - block.y0) * 13))


def test_pixels_without_data_are_left_out_and_replaced_by_the_middle_one(make_classifier, make_scene):
    classifier, scene = make_classifier(), make_scene(9, 10)
    scene.values[3, 4, 5] = np.nan
    scene.values[:, 0, 0] = np.inf
    (block,) = iter_blocks(scene, rows=9, halo=4)
    prepared = prepare(classifier, block, CPU, Progress())
    assert set(range(90)) - set(prepared.core().tolist()) == {0, 45}
    number = prepared.numbers(torch.tensor([4]), torch.tensor([6]))
    window = Windows(prepared, 4).at(number)[0]
    torch.testing.assert_close(window[:, 4, 3], window[:, 4, 4])
    assert window.isfinite().all()


def test_experts_see_every_pixel_with_its_neighbourhood(make_classifier, make_scene):
    classifier, scene = make_classifier(), make_scene(9, 10)
    (block,) = iter_blocks(scene, rows=9, halo=4)
    prepared = prepare(classifier, block, CPU, Progress())
    cut = torch.from_numpy(np.ascontiguousarray(padded_windows(scene.values, 4))).flatten(0, 1)
    expected = classifier.expert_logits(classifier.filter.centres(cut))
    torch.testing.assert_close(prepared.experts, expected, atol=1e-4, rtol=1e-4)


def test_without_experts_there_is_no_opinion(make_classifier, make_scene):
    (block,) = iter_blocks(make_scene(5, 6), rows=5, halo=4)
    assert prepare(make_classifier(experts=False), block, CPU, Progress()).experts is None
