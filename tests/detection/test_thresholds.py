"""Thresholds at a false-alarm rate."""

import numpy as np
import pytest

from hsi_toolkit.detection.thresholds import (
    COSINE,
    LOGNORMAL,
    NORMAL,
    ScoreDistribution,
    false_alarm_threshold,
)
from hsi_toolkit.errors import SceneError


def distribution(*parts):
    result = ScoreDistribution()
    for part in parts:
        result.update(np.asarray(part, np.float32))
    return result


def test_streamed_quantiles_are_those_of_all_scores():
    scores = np.random.default_rng(0).normal(size=20_000)
    shares = np.array([0.9, 0.5, 0.1, 0.01])
    streamed = distribution(*np.array_split(scores, 9)).exceeded_by(shares)
    np.testing.assert_allclose(streamed, np.quantile(scores, 1 - shares), atol=2e-3)


@pytest.mark.parametrize(
    ("tail", "shape"),
    [(LOGNORMAL, np.exp), (NORMAL, np.positive), (COSINE, np.tanh)],
    ids=["lognormal", "normal", "cosine"],
)
@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_targets_in_the_tail_do_not_raise_the_threshold_much(tail, shape, rate):
    rng = np.random.default_rng(1)
    background = rng.normal(size=200_000)
    targets = rng.normal(8, 1, size=400)
    background, targets = shape(0.5 * background), shape(0.5 * targets)
    threshold = false_alarm_threshold(distribution(background, targets), rate, tail)
    assert rate / 3 < (background > threshold).mean() < 2 * rate
    assert (targets > threshold).mean() > 0.95


def test_scores_that_are_not_finite_do_not_count():
    assert distribution([1.0, np.nan, np.inf, 2.0]).n_scores == 2


def test_no_score_at_all_is_an_error():
    with pytest.raises(SceneError, match="No pixel has a score"):
        false_alarm_threshold(distribution([np.nan]), 1e-3)
