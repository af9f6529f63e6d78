"""The decision for or against context."""

import numpy as np
import pytest
import torch

from hsi_toolkit.training.gate import ContextGate, agreement, buffered_folds, smoothing_gain


def clusters(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, positions and groups of four clusters of four pixels for each of three classes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(12), 4)
    centres = rng.permutation(36)[:12]
    corner = np.stack([centres // 6, centres % 6], axis=1) * 20
    positions = corner[groups] + np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (12, 1))
    return groups // 4, positions, groups


def test_agreement_is_cohens_kappa() -> None:
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert agreement(first, first, 2) == pytest.approx(1.0)
    assert agreement(first, second, 2) == pytest.approx(0.0)
    assert agreement(first, 1 - first, 2) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("kappa", "gain", "error", "context"),
    [
        (0.9, 0.02, 0.01, True),
        (0.9, -0.05, 0.02, True),
        (0.9, -0.2, 0.02, False),
        (0.4, 0.2, 0.02, False),
        (0.9, float("nan"), float("nan"), True),
    ],
)
def test_context_needs_agreement_and_no_clear_loss(
    kappa: float, gain: float, error: float, context: bool
) -> None:
    assert ContextGate.decide(kappa, gain, error).context is context


def test_folds_hold_out_whole_groups_and_keep_their_distance() -> None:
    classes, positions, groups = clusters()
    positions[groups == 1] = positions[groups == 0] + 3
    tested = []
    for train, test in buffered_folds(classes, positions, groups):
        assert not set(groups[train]) & set(groups[test])
        distance = np.abs(positions[train][:, None] - positions[test][None]).max(axis=2)
        assert distance.min() > 4
        tested += test.tolist()
    assert sorted(tested) == list(range(len(classes)))


def test_a_class_of_one_group_is_not_tested() -> None:
    classes, positions, groups = clusters()
    kept = (classes != 2) | (groups == 8)
    for _, test in buffered_folds(classes[kept], positions[kept], groups[kept]):
        assert 2 not in classes[kept][test]


def test_gain_tells_whether_smoothing_helps() -> None:
    classes, positions, groups = clusters()
    rng = np.random.default_rng(1)
    signal = np.eye(3)[classes]
    clean = torch.from_numpy(signal + rng.normal(0, 0.1, signal.shape)).float()
    noisy = torch.from_numpy(signal + rng.normal(0, 1.5, signal.shape)).float()
    gain, error = smoothing_gain(noisy, clean, classes, positions, groups)
    assert gain > 2 * error > 0
    assert smoothing_gain(clean, noisy, classes, positions, groups)[0] == pytest.approx(-gain)


def test_gain_is_unknown_with_one_group_a_class() -> None:
    classes, positions, groups = clusters()
    kept = groups % 4 == 0
    values = torch.rand(int(kept.sum()), 5)
    gain, _ = smoothing_gain(values, values, classes[kept], positions[kept], groups[kept])
    assert np.isnan(gain)


def test_sharpening_fades_out_towards_fields() -> None:
    def sharpening(kappa: float) -> float:
        return ContextGate.decide(kappa, 0.0, 1.0).sharpening

    assert sharpening(0.2) == sharpening(0.5) == 1.0
    assert sharpening(0.625) == pytest.approx(0.5)
    assert sharpening(0.9) == 0.0
