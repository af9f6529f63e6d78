"""The closed-form head is the regression that pretraining's tasks solve."""

import pytest
import torch

from hsi_toolkit.training.episodes import ridge_scores
from hsi_toolkit.training.head_start import KEY, HeadStart


def test_its_logits_are_the_scores_of_the_tasks() -> None:
    generator = torch.Generator().manual_seed(0)
    known, others = torch.randn(30, 8, generator=generator), torch.randn(9, 8, generator=generator)
    classes = torch.arange(30) % 3
    weight, bias = HeadStart(0.1, 5.0).head(known, classes, 3)
    expected = 5.0 * ridge_scores(known, classes, others, torch.tensor(0.1))
    torch.testing.assert_close(others @ weight.T + bias, expected)


def test_classes_of_many_pixels_weigh_as_much_as_those_of_few() -> None:
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(20, 4, generator=generator)
    classes = torch.arange(20) % 2
    many = torch.cat([known, known[classes == 1].repeat(4, 1)])
    start = HeadStart(0.1, 1.0)
    once = start.head(known, classes, 2)
    often = start.head(many, torch.cat([classes, torch.ones(40, dtype=torch.long)]), 2)
    torch.testing.assert_close(once, often)


def test_only_whole_statements_of_a_model_file_count() -> None:
    assert HeadStart.of({KEY: {"ridge": 0.1, "temperature": 5.0}}) == HeadStart(0.1, 5.0)
    for extra in ({}, {KEY: None}, {KEY: {"ridge": 0.1}}, {KEY: {"ridge": 0.0, "temperature": 5.0}}):
        assert HeadStart.of(extra) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3])
def test_few_pixels_a_class_are_enough(count: int) -> None:
    known = torch.randn(2 * count, 16, generator=torch.Generator().manual_seed(0))
    weight, bias = HeadStart(0.1, 5.0).head(known, torch.arange(2 * count) % 2, 2)
    assert weight.isfinite().all()
    assert bias.isfinite().all()
