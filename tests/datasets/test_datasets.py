"""Cutting scenes into patches, reading them, and training and testing codecs on them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine

from hsi_toolkit.datasets import PatchSet, TileRule, tile_scenes
from hsi_toolkit.errors import Cancelled, ModelError, OutputError, ParameterError, SceneError
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.codecs.files import load_codec
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.tasks import TASKS
from hsi_toolkit.training.codec import CodecConfig, train_codec
from hsi_toolkit.training.ranks import Ranks

BANDS, SIDE = 12, 16


def scene_file(folder: Path, name: str = "scene", seed: int = 0, rows: int = 5 * SIDE + 3) -> Path:
    """A scene of smooth spectra, reflectance, one band of which is bad and one corner without data."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0.1, 0.6, 2 * SIDE)
    down = np.linspace(0.2, 0.9, rows)[:, None]
    shape = np.sin(np.linspace(0.5, 2.5, BANDS))[:, None, None]
    cube = (shape * (across * down)[None] + rng.normal(0, 0.002, (BANDS, rows, 2 * SIDE))).astype(np.float32)
    cube[:, :3, :3] = np.nan
    good = np.arange(BANDS) != 4
    path = folder / f"{name}.tif"
    like = make_scene(cube, path=path)
    with RasterWriter(
        path,
        like=like,
        count=BANDS,
        wavelengths=np.linspace(450, 900, BANDS),
        good=good,
        quantity="reflectance",
    ) as writer:
        writer.write(cube, 0)
    return path


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "set"
    tile_scenes([open_scene(scene_file(tmp_path))], folder, TileRule(side=SIDE, seed=1))
    return folder


def test_patches_hold_the_scene_and_say_where_they_lie(tmp_path, dataset):
    scene = open_scene(tmp_path / "scene.tif")
    first = dataset / "patches" / "tile_001" / "tile_001-patch_01"
    image = open_scene(first / "tile_001-patch_01-SPECTRAL_IMAGE.TIF")
    # The corner without data leaves the first square out.
    wanted = scene[:, :SIDE, SIDE : 2 * SIDE]
    assert np.array_equal(image.values, wanted.values)
    assert np.allclose(image["wavelength"], scene["wavelength"])
    assert image.rio.transform() == scene.rio.transform() @ Affine.translation(SIDE, 0)
    data = np.load(first / "tile_001-patch_01-DATA.npy", allow_pickle=False)
    assert data.shape == (BANDS - 1, SIDE, SIDE)
    np.testing.assert_allclose(data, np.clip(wanted.values[scene["good"].values], 0, 1), atol=1e-7)


def test_every_patch_is_in_one_part_of_each_split(dataset):
    patches = {f"{path.parent.parent.name}/{path.parent.name}/{path.name}" for path in dataset.rglob("*.npy")}
    assert len(patches) == 9
    for difficulty in ("easy", "hard"):
        parts = [
            (dataset / "splits" / difficulty / f"{part}.csv").read_text().splitlines()
            for part in ("train", "val", "test")
        ]
        assert sorted(itertools.chain(*parts)) == sorted(patches)
        assert all(parts)


def test_hard_parts_share_no_scene(tmp_path):
    scenes = [open_scene(scene_file(tmp_path, f"s{seed}", seed)) for seed in range(4)]
    tile_scenes(scenes, tmp_path / "set", TileRule(side=SIDE))
    lists = (tmp_path / "set/splits/hard").glob("*.csv")
    tiles = [{line.split("/")[0] for line in path.read_text().splitlines()} for path in lists]
    assert sum(map(len, tiles)) == len(set.union(*tiles)) == 4


def test_patches_are_read_in_the_order_asked_for_and_cropped(dataset):
    patches = PatchSet.of(dataset, "easy", "train")
    windows = [(slice(1, 5), slice(2, 6))] * 3
    batches = list(patches.batches([2, 0, 1], 2, crop=windows, workers=3))
    assert [len(batch) for batch in batches] == [2, 1]
    assert np.array_equal(batches[0][1], patches[0][:, 1:5, 2:6])
    assert np.array_equal(batches[1][0], patches[1][:, 1:5, 2:6])


def test_what_cannot_be_cut_is_said(tmp_path):
    scene = open_scene(scene_file(tmp_path))
    with pytest.raises(SceneError, match="gives no patch of 64 pixels"):
        tile_scenes([scene], tmp_path / "a", TileRule(side=64))
    with pytest.raises(SceneError, match="too few to train, validate and test"):
        tile_scenes([scene[:, 3 : 3 + SIDE, :]], tmp_path / "b", TileRule(side=SIDE, valid=0.5))
    with pytest.raises(ParameterError, match="A patch of 4 pixels"):
        tile_scenes([scene], tmp_path / "c", TileRule(side=4))
    with pytest.raises(SceneError, match=r"100 % of the values of scene 1 lie above 1 and would be cut off"):
        tile_scenes([scene * 10_000], tmp_path / "e", TileRule(side=SIDE))
    assert not any((tmp_path / "e").iterdir())
    tile_scenes([scene], tmp_path / "d", TileRule(side=SIDE))
    with pytest.raises(OutputError, match="holds a data set already"):
        tile_scenes([scene], tmp_path / "d", TileRule(side=SIDE))
    assert not (tmp_path / "a" / "patches").exists()


def test_a_missing_and_a_damaged_patch_are_named(dataset):
    listed = (dataset / "splits/easy/train.csv").read_text().splitlines()
    (dataset / "patches" / listed[1]).write_bytes(b"no array")
    with pytest.raises(SceneError, match="is no NumPy array"):
        PatchSet.of(dataset, "easy", "train")
    (dataset / "patches" / listed[1]).unlink()
    with pytest.raises(SceneError, match="1 of 6 files"):
        PatchSet.of(dataset, "easy", "train")


def config(**changes):
    return CodecConfig(**{"rate": "2", "epochs": 3, "crop": 4, "learning_rate": 1e-3, "seed": 3, **changes})


def parts(dataset):
    return PatchSet.of(dataset, "easy", "train"), PatchSet.of(dataset, "easy", "val")


@pytest.mark.parametrize("name", ["cae1d", "cae1da", "cae1de"])
def test_training_lowers_the_loss_and_the_seed_repeats_it(dataset, name):
    first, again = (train_codec(*parts(dataset), config(codec=name, epochs=4)) for _ in range(2))
    assert first.losses[-1] < first.losses[0]
    assert first.validation == again.validation
    assert min(first.validation) == first.validation[first.best_epoch - 1]


def test_a_run_that_was_killed_goes_on_on_the_same_curve(dataset, tmp_path):
    whole = train_codec(*parts(dataset), config())

    class Killed(Progress):
        def cancelled(self):
            return checkpoint.exists()

    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Cancelled):
        train_codec(*parts(dataset), config(), checkpoint=checkpoint, progress=Killed())
    resumed = train_codec(*parts(dataset), config(), checkpoint=checkpoint)
    assert resumed.losses == whole.losses
    assert resumed.validation == whole.validation
    for name, value in whole.codec.state_dict().items():
        assert torch.equal(resumed.codec.state_dict()[name], value)


def test_a_checkpoint_of_another_run_is_refused(dataset, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    train_codec(*parts(dataset), config(epochs=1), checkpoint=checkpoint)
    with pytest.raises(ModelError, match="other patches or settings"):
        train_codec(*parts(dataset), config(seed=4), checkpoint=checkpoint)
    checkpoint.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="or damaged"):
        train_codec(*parts(dataset), config(), checkpoint=checkpoint)


def test_patches_that_do_not_fit_are_refused(dataset):
    with pytest.raises(ParameterError, match="multiples of 8"):
        train_codec(*parts(dataset), config(codec="cae3d", crop=12))
    with pytest.raises(ParameterError, match="Windows of 40 pixels do not fit"):
        train_codec(*parts(dataset), config(crop=40))
    with pytest.raises(ParameterError, match="no codec 'cae3d' at '6'"):
        train_codec(*parts(dataset), config(codec="cae3d", rate="6"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch_size": 3}, "batch of 3 patches"), ({"codec": "cae1da"}, "normalises over a batch")],
)
def test_what_processes_cannot_divide_is_refused(dataset, settings, message):
    with pytest.raises(ParameterError, match=message):
        train_codec(*parts(dataset), config(**settings), ranks=Ranks(0, 2, torch.device("cpu")))


@pytest.mark.slow
def test_two_processes_train_a_codec_like_one(dataset, tmp_path, run_command):
    curves = []
    for processes in (1, 2):
        model = tmp_path / f"{processes}.safetensors"
        # Batches of four of the six patches: the second one is the smaller.
        run_command(
            "codec", "train", str(dataset), "-o", str(model), "--epochs", "4", "--batch-size", "4", "--crop",
            "8", "--learning-rate", "0.001", "--device", "cpu", processes=processes,
        )  # fmt: skip
        metrics = ModelBundle.read_metadata(model).provenance.metrics
        curves.append([metrics["losses"], metrics["validation"]])
    # The processes sum the same gradients in another order.
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    assert curves[0][0][-1] < curves[0][0][0]
    assert not list(tmp_path.glob("*.part.*"))


def test_the_tasks_go_from_a_scene_to_a_report(tmp_path):
    scene, folder, model = scene_file(tmp_path), tmp_path / "set", tmp_path / "codec.safetensors"
    made = run(TASKS["dataset_tile"].from_dict({"scenes": [str(scene)], "output": str(folder), "side": SIDE}))
    assert made["patches"] == 9
    trained = run(
        TASKS["codec_train"].from_dict(
            {"dataset": str(folder), "output": str(model), "rate": "4", "epochs": 2, "crop": 8}
        )
    )
    assert trained["bpppc"] == load_codec(model).bpppc
    assert not list(tmp_path.glob("*.part.*"))
    report = tmp_path / "report.html"
    tested = run(
        TASKS["codec_test"].from_dict(
            {"dataset": str(folder), "models": [str(model)], "report": str(report), "half": True}
        )
    )
    quality = tested["codecs"]["codec"]
    assert quality["patches"] == 1
    # Components take what little there is to know of these spectra in a few numbers.
    assert tested["principal_components"][-1]["psnr"] > quality["psnr"]
    assert "Rate and distortion" in report.read_text()
    assert json.loads(report.with_suffix(".json").read_text())["title"] == "Codecs on set"


def test_a_model_that_is_no_codec_is_refused(dataset, tmp_path):
    path = tmp_path / "weights.pth.tar"
    torch.save({"state_dict": {"a.weight": torch.zeros(3)}}, path)
    task = TASKS["codec_test"].from_dict({"dataset": str(dataset), "models": [str(path)]})
    with pytest.raises(ModelError):
        run(task)
