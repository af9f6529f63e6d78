"""The cosine schedule."""

import itertools

import pytest

from hsi_toolkit.training.schedule import CosineSchedule


def test_it_warms_up_linearly_and_falls_to_the_floor() -> None:
    schedule = CosineSchedule(peak=1.0, floor=0.1, steps=100, warmup_steps=10, start=0.2)
    warm = [schedule.value(index) for index in range(10)]
    assert warm[0] == 0.2
    assert all(b - a == pytest.approx(0.08) for a, b in itertools.pairwise(warm))
    falling = [schedule.value(index) for index in range(10, 101)]
    assert all(a > b for a, b in itertools.pairwise(falling))
    assert schedule.value(100) == schedule.value(1000) == 0.1


def test_the_rate_lags_one_step_behind_as_in_the_published_code() -> None:
    schedule = CosineSchedule(peak=1.0, floor=0.0, steps=20, warmup_steps=2)
    assert [schedule.lr(step) for step in range(3)] == [0.0, 0.0, 0.5]


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert CosineSchedule(peak=0.3, floor=0.0, steps=10).lr(0) == pytest.approx(0.3)
