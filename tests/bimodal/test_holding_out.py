"""Objects are held out so that nothing that is judged was looked at in training."""

import numpy as np
import pytest

from hsi_toolkit.bimodal.holding_out import hold_out_objects
from hsi_toolkit.bimodal.pairs import Classes, Pairs, Preparation
from hsi_toolkit.errors import LabelError
from hsi_toolkit.spectral.resample import SensorBands


def objects(labels: list[int], windows: np.ndarray | None = None) -> Pairs:
    count = len(labels)
    names = tuple("abcdef"[: max(labels) + 1])
    return Pairs(
        rgb=np.zeros((count, 4, 4, 3), np.float32),
        hs=np.zeros((count, 2, 2, 3), np.float32),
        preparation=Preparation(2, 4),
        bands=SensorBands(3, (0, 1, 2)),
        called=tuple(map(str, range(count))),
        labels=np.array(labels),
        classes=Classes(names, names, ("#000000",) * len(names)),
        windows=windows,
    )


def squares(places: np.ndarray, side: float) -> np.ndarray:
    return np.hstack([places, places + side])


def overlapping(one: np.ndarray, other: np.ndarray) -> bool:
    low = np.maximum(one[:, None, :2], other[None, :, :2]) - 0.5
    high = np.minimum(one[:, None, 2:], other[None, :, 2:]) + 0.5
    return bool((low < high).all(axis=-1).any())


def test_each_class_gives_its_share() -> None:
    labels = [0] * 40 + [1] * 10 + [2] * 2
    held_out = hold_out_objects(objects(labels), 0.3, 0)
    tested = np.bincount(np.array(labels)[held_out.test])
    assert tested.tolist() == [12, 3, 1]
    assert sorted([*held_out.train, *held_out.test]) == list(range(52))
    assert held_out.describe() == "16 of 52 objects were held out at random."


def test_a_class_of_one_object_is_trained_on() -> None:
    held_out = hold_out_objects(objects([0] * 9 + [1]), 0.3, 0)
    assert 9 in held_out.train


def test_images_that_overlap_stay_on_one_side() -> None:
    places = np.array([[40.0 * (index // 2), 3.0 * (index % 2)] for index in range(40)])
    windows = squares(places, 5.0)
    held_out = hold_out_objects(objects([index // 2 % 2 for index in range(40)], windows), 0.3, 0)
    assert not held_out.blocks
    assert not overlapping(windows[held_out.train], windows[held_out.test])
    assert len(held_out.apart) == 0


@pytest.mark.parametrize("seed", range(3))
def test_dense_ground_is_held_out_in_blocks(seed: int) -> None:
    generator = np.random.default_rng(seed)
    windows = squares(generator.uniform(0, 60, (600, 2)), 3.0)
    labels = generator.integers(0, 3, 600).tolist()
    held_out = hold_out_objects(objects(labels, windows), 0.3, seed)
    assert held_out.blocks
    assert not overlapping(windows[held_out.train], windows[held_out.test])
    assert 0.15 < len(held_out.test) / 600 < 0.45
    assert len(held_out.train) > 150
    assert set(np.array(labels)[held_out.test]) == {0, 1, 2}
    assert "used for neither" in held_out.describe()


def test_the_same_seed_gives_the_same_division() -> None:
    pairs = objects([index % 3 for index in range(60)])
    first, second, other = (hold_out_objects(pairs, 0.3, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.test, second.test)
    assert first.test.tolist() != other.test.tolist()


def test_objects_that_all_overlap_cannot_be_held_out() -> None:
    windows = squares(np.zeros((6, 2)), 5.0)
    with pytest.raises(LabelError, match="No object can be held out"):
        hold_out_objects(objects([0, 1] * 3, windows), 0.3, 0)
