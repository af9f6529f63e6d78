"""Two scenes side by side."""

import numpy as np
import pytest

from hsi_toolkit.change.pair import ScenePair
from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress

from .conftest import as_scene

CUBE = np.random.default_rng(0).normal(size=(5, 30, 20)).astype(np.float32)


def test_the_sample_holds_the_same_pixels_of_both_and_only_those_with_data():
    before = CUBE.copy()
    before[2, 4, 5] = np.nan
    first, second = ScenePair.of(as_scene(before), as_scene(2 * CUBE)).sample(Progress())
    assert len(first) == 30 * 20 - 1
    np.testing.assert_allclose(second, 2 * first, rtol=1e-6)


def test_a_large_scene_is_thinned_evenly():
    first, _ = ScenePair.of(as_scene(CUBE), as_scene(CUBE)).sample(Progress(), most=100)
    assert 50 <= len(first) <= 130


def test_blocks_cover_both_scenes_once():
    pair = ScenePair.of(as_scene(CUBE), as_scene(CUBE + 1))
    blocks = list(pair.blocks(Progress(), "", memory_limit=8 * 4 * 5 * 20 * 7))
    assert len(blocks) > 1
    for side, cube in ((0, CUBE), (1, CUBE + 1)):
        assert np.array_equal(np.concatenate([pairs[side].core for pairs in blocks], axis=1), cube)


def test_bands_bad_in_either_are_left_out():
    before = as_scene(CUBE).assign_coords(good=("band", np.arange(5) != 1))
    after = as_scene(CUBE).assign_coords(good=("band", np.arange(5) != 3))
    assert ScenePair.of(before, after).after.sizes["band"] == 3


@pytest.mark.parametrize(
    ("cube", "words"),
    [(CUBE[:4], "5 bands.*4"), (CUBE[:, :9], "30 rows.*9"), (CUBE[..., :7], "20 columns.*7")],
)
def test_scenes_of_other_sizes_are_refused(cube, words):
    with pytest.raises(SceneError, match=words):
        ScenePair.of(as_scene(CUBE), as_scene(cube))


def test_other_wavelengths_are_refused_with_the_difference():
    before = as_scene(CUBE).assign_coords(wavelength=("band", np.arange(5) * 10.0 + 500))
    after = as_scene(CUBE).assign_coords(wavelength=("band", np.arange(5) * 10.0 + 512))
    with pytest.raises(SceneError, match=r"differ by up to 12\.0 nm"):
        ScenePair.of(before, after)


def test_scenes_that_share_no_data_are_refused():
    with pytest.raises(SceneError, match="Only 0 pixels have data in both"):
        ScenePair.of(as_scene(CUBE), as_scene(np.full_like(CUBE, np.nan))).sample(Progress())
