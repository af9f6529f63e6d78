"""Between window centres logits are bilinear, and what that cannot know is marked."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.inference.interpolation import LogitGrid, grid_positions


@given(length=st.integers(1, 60), stride=st.integers(2, 7), data=st.data())
def test_centres_surround_the_block_and_join_with_the_next(length: int, stride: int, data) -> None:
    start = data.draw(st.sampled_from(range(0, length, stride)))
    stop = min(length, start + stride * data.draw(st.integers(1, 10)))
    centres = grid_positions(start, stop, length, stride).tolist()
    assert centres[0] == start
    assert stop - 1 <= centres[-1] < length
    assert all(0 < after - before <= stride for before, after in pairwise(centres))
    if stop < length:
        assert centres[-1] == stop


def plane(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([2 * y - x, x + 0.5 * y, torch.full_like(x, -100.0)], dim=2)


def grid_of(logits: torch.Tensor, stride: int = 4) -> tuple[LogitGrid, torch.Tensor, torch.Tensor]:
    height, width = logits.shape[:2]
    rows, columns = grid_positions(0, height, height, stride), grid_positions(0, width, width, stride)
    at_centres = logits[rows][:, columns]
    grid = LogitGrid(at_centres, torch.ones(at_centres.shape[:2], dtype=torch.bool), rows, columns)
    return grid, torch.arange(height), torch.arange(width)


def test_a_plane_is_reproduced() -> None:
    for height, width in [(9, 9), (10, 7), (1, 6), (4, 1), (3, 2)]:
        logits = plane(height, width)
        grid, y, x = grid_of(logits)
        found, _ = grid.at(y, x)
        torch.testing.assert_close(found, logits)


def test_corners_without_data_take_no_part() -> None:
    logits = torch.zeros(5, 5, 2)
    logits[0, 0] = torch.tensor([4.0, 1.0])
    grid, _, _ = grid_of(logits)
    grid.valid[:] = False
    grid.valid[0, 0] = True
    found, doubtful = grid.at(torch.tensor([1, 0]), torch.tensor([2, 0]))
    torch.testing.assert_close(found, logits[0, 0].expand(2, 2, -1))
    assert not doubtful.any()


def test_doubtful_is_where_corners_differ_or_none_has_data() -> None:
    logits = torch.zeros(5, 9, 2)
    logits[:, :4, 0], logits[:, 4:, 1] = 1.0, 1.0
    grid, _, _ = grid_of(logits)
    _, doubtful = grid.at(torch.tensor([2]), torch.tensor([1, 3, 4, 6]))
    assert doubtful.tolist() == [[True, True, False, False]]
    grid.valid[:] = False
    _, doubtful = grid.at(torch.tensor([2]), torch.tensor([6]))
    assert doubtful.tolist() == [[True]]
