"""Learned codecs inside compressed scenes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hsi_toolkit.compression.container import HszFile
from hsi_toolkit.compression.engine import Wish, compress_scene, verify
from hsi_toolkit.compression.learned import LearnedCodec
from hsi_toolkit.errors import ModelError, ParameterError, SceneError
from hsi_toolkit.models.codecs import CAE1D, CAE3D, Codec, SSCNet
from hsi_toolkit.scene import open_scene
from tests.compression.cubes import natural, write_tif

BANDS = 24


def codec(name: str) -> Codec:
    torch.manual_seed(0)
    made = {
        "cae1d": lambda: CAE1D(BANDS),
        "cae3d": lambda: CAE3D(BANDS, 2),
        "sscnet": lambda: SSCNet(BANDS, 8, 8),
    }
    return made[name]().eval()


@pytest.fixture
def scene(tmp_path: Path):
    cube = natural(bands=BANDS, rows=18, columns=13)
    cube[:, :3, :4] = -1
    return open_scene(write_tif(tmp_path / "a.tif", cube, nodata=-1))


@pytest.mark.parametrize("name", ["cae1d", "cae3d", "sscnet"])
@pytest.mark.parametrize("error", [0, 5])
def test_a_codec_with_its_residual_keeps_the_bound(scene, tmp_path: Path, name: str, error: int) -> None:
    target = tmp_path / "a.hsz"
    wish = Wish(max_error=float(error))
    outcome = compress_scene(scene, target, wish, codec=codec(name), alone=True)
    verify(scene, target)
    assert outcome.error == error
    assert HszFile.open(target).model()
    again = open_scene(target).values
    np.testing.assert_array_equal(np.isnan(again), np.isnan(scene.values))
    assert np.nanmax(np.abs(again - scene.values)) == error


def test_without_a_bound_there_are_latents_alone(scene, tmp_path: Path) -> None:
    network = codec("cae1d")
    outcome = compress_scene(scene, tmp_path / "a.hsz", codec=network, alone=True)
    assert outcome.header.guarantee == "none"
    again, before = open_scene(tmp_path / "a.hsz").values, scene.values
    np.testing.assert_array_equal(np.isnan(again), np.isnan(before))
    with torch.no_grad():
        image = np.nan_to_num(before / 1e4).clip(0, 1)
        plain = network.float()(torch.from_numpy(image[None]))[0].numpy() * 1e4
    # Quantising the latents does what it may, and no more.
    loss, unquantised = (
        np.nanmean((each - before) ** 2) for each in (again, np.where(np.isnan(before), np.nan, plain))
    )
    assert loss < 1.1 * unquantised


def test_prediction_is_taken_where_it_is_smaller_and_no_model_travels_for_nothing(
    scene, tmp_path: Path
) -> None:
    outcome = compress_scene(scene, tmp_path / "a.hsz", codec=codec("cae1d"))
    assert outcome.header.guarantee == "lossless"
    assert HszFile.open(tmp_path / "a.hsz").model() == b""
    np.testing.assert_array_equal(open_scene(tmp_path / "a.hsz").values, scene.values)


def test_numbers_that_could_be_rounded_otherwise_elsewhere_are_listed(scene, monkeypatch) -> None:
    """A machine whose network differs in the last digits decodes the same samples."""
    learned = LearnedCodec.of(codec("cae1d"), np.dtype(np.int16), "dn")
    samples = natural(bands=BANDS, rows=9, columns=8)
    restore = LearnedCodec._restore
    # All outputs lie at a half.
    monkeypatch.setattr(LearnedCodec, "_restore", lambda *given: np.floor(restore(*given)) + 0.5 - 1e-9)
    data, _ = learned.encode(samples, None, 0.0)
    monkeypatch.setattr(LearnedCodec, "_restore", lambda *given: np.floor(restore(*given)) + 0.5 + 1e-9)
    np.testing.assert_array_equal(learned.decode(data, samples.shape, samples.dtype), samples)


def test_a_machine_that_computes_something_else_is_found_out(scene, monkeypatch) -> None:
    learned = LearnedCodec.of(codec("cae1d"), np.dtype(np.int16), "dn")
    samples = natural(bands=BANDS, rows=9, columns=8)
    data, _ = learned.encode(samples, None, 5.0)
    restore = LearnedCodec._restore
    monkeypatch.setattr(LearnedCodec, "_restore", lambda *given: restore(*given) + 1)
    with pytest.raises(ValueError, match="other numbers on this machine"):
        learned.decode(data, samples.shape, samples.dtype)


def test_a_codec_of_other_bands_is_refused(scene, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 20 bands, the scene has 24"):
        compress_scene(scene, tmp_path / "a.hsz", codec=CAE1D(20))


def test_a_bound_on_floating_point_samples_is_refused(tmp_path: Path) -> None:
    cube = natural(bands=BANDS, rows=9, columns=8).astype(np.float32) * np.float32(0.37)
    scene = open_scene(write_tif(tmp_path / "a.tif", cube))
    with pytest.raises(ParameterError, match="float32"):
        compress_scene(scene, tmp_path / "a.hsz", Wish(max_error=1), codec=codec("cae1d"))


def test_models_that_do_not_fit_their_description_are_refused(scene, tmp_path: Path) -> None:
    model = LearnedCodec.of(codec("cae1d"), np.dtype(np.int16), "dn").model()
    for name, config in (
        ("cae1d", {"bands": 24, "halvings": 5}),
        ("cae3d", {"bands": 24, "latent": 2**40}),
        ("x", {}),
    ):
        with pytest.raises(ModelError):
            LearnedCodec.from_model(model, name, config, (0.0, 1e4, 1e-3))
    with pytest.raises(ModelError, match="damaged"):
        LearnedCodec.from_model(model[:-9], "cae1d", {"bands": 24}, (0.0, 1e4, 1e-3))


def test_a_scene_whose_model_is_damaged_says_so(scene, tmp_path: Path) -> None:
    target = tmp_path / "a.hsz"
    compress_scene(scene, target, Wish(max_error=5), codec=codec("cae1d"), alone=True)
    content = bytearray(target.read_bytes())
    position, length, _ = HszFile.open(target).entries[-1]
    content[position + length // 2] ^= 1
    target.write_bytes(content)
    with pytest.raises(SceneError, match="model in it"):
        open_scene(target).load()
