"""Training HyperSIGMA's classifier on a few labelled windows."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from hsi_toolkit.errors import Cancelled, LabelError
from hsi_toolkit.inference.classify import MapOutputs, classify_scene
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.mae import MAEConfig, SpatMAE, SpecMAE
from hsi_toolkit.models.hypersigma.weights import PretrainedEncoders, read_encoders
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import read_class_map
from hsi_toolkit.training.preparation import LabelledPixels
from hsi_toolkit.training.sigma_finetune import SigmaConfig, TrainedHyperSigma, train_hypersigma
from hsi_toolkit.training.windows import SceneWindows

TINY = TransformerSize(dim=24, depth=4, heads=3, out_indices=(0, 1, 2, 3))
SIDE = 36
QUICK = SigmaConfig(epochs=3, batch_size=16, least_steps=6, most_steps=6)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("loading", "encoders"):
        monkeypatch.setattr(f"hsi_toolkit.models.hypersigma.{module}.SIZES", {"small": TINY})


def make_scene(bands: int, seed: int = 0) -> tuple[xr.DataArray, np.ndarray]:
    """Three covers in vertical stripes of 12 columns."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), 12)[None].repeat(SIDE, axis=0)
    pure = rng.random((3, bands)).astype(np.float32)
    cube = pure[truth].transpose(2, 0, 1) + 0.02 * rng.standard_normal((bands, SIDE, SIDE))
    return xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x")), truth


def pixels(truth: np.ndarray, first: int, last: int) -> LabelledPixels:
    """Every third pixel of the rows, as labels."""
    rows, cols = (each.ravel() for each in np.mgrid[first:last:3, 1:SIDE:3])
    classes = truth[rows, cols].astype(np.int64)
    return LabelledPixels(rows.astype(np.int64), cols.astype(np.int64), classes, classes)


def trained(
    scene: xr.DataArray,
    truth: np.ndarray,
    config: SigmaConfig = QUICK,
    checkpoint: Path | None = None,
    encoders: PretrainedEncoders | None = None,
    progress: Progress | None = None,
) -> TrainedHyperSigma:
    return train_hypersigma(
        SceneWindows(scene),
        pixels(truth, 0, 12),
        pixels(truth, 24, 36),
        config,
        n_classes=3,
        encoders=encoders,
        checkpoint=checkpoint,
        progress=progress,
    )


@pytest.mark.parametrize("bands", [1, 5, 60, 200, 425])
def test_scenes_of_any_number_of_bands_are_learnt_from(bands: int) -> None:
    scene, truth = make_scene(bands)
    result = trained(scene, truth, SigmaConfig(epochs=1, batch_size=8, least_steps=1, most_steps=1))
    assert result.classifier.spectral.n_features == min(30, bands)
    assert np.isfinite(result.losses["classification"]).all()


def test_training_beats_the_untrained_network_and_its_map_streams(tmp_path: Path) -> None:
    scene, truth = make_scene(12)
    result = trained(scene, truth, SigmaConfig(epochs=12, batch_size=16, least_steps=12, most_steps=12))
    accuracy = result.scores["average accuracy"]
    assert max(accuracy) > 0.9
    outputs = MapOutputs(tmp_path / "map.tif")
    classify_scene(scene, result.classifier, outputs, device="cpu", memory_limit=300 << 20)
    mapped, _ = read_class_map(tmp_path / "map.tif")
    assert np.mean(mapped[:, 2:-2] == truth[:, 2:-2] + 1) > 0.9
    classify_scene(scene, result.classifier, outputs, mode="fast", device="cpu", overwrite=True)
    fast, _ = read_class_map(tmp_path / "map.tif")
    assert np.mean(fast == mapped) > 0.9


def test_the_same_seed_gives_the_same_network_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    scene, truth = make_scene(6)
    whole = trained(scene, truth)

    class Impatient(Progress):
        def report(self, fraction: float, message: str = "") -> None:
            self.over = message.startswith("Epoch 3")

        def cancelled(self) -> bool:
            return getattr(self, "over", False)

    checkpoint = tmp_path / "run.part.safetensors"
    with pytest.raises(Cancelled):
        trained(scene, truth, checkpoint=checkpoint, progress=Impatient())
    resumed = trained(scene, truth, checkpoint=checkpoint)
    assert resumed.curve == whole.curve
    for name, tensor in whole.classifier.network.state_dict().items():
        assert torch.equal(tensor, resumed.classifier.network.state_dict()[name]), name
    resumed.discard_checkpoint()
    assert not checkpoint.exists()


def test_a_damaged_checkpoint_or_one_of_another_run_is_started_over(tmp_path: Path) -> None:
    scene, truth = make_scene(6)
    checkpoint = tmp_path / "run.part.safetensors"
    checkpoint.write_bytes(b"nonsense")
    first = trained(scene, truth, SigmaConfig(epochs=1, least_steps=1, most_steps=1), checkpoint)
    assert first.epochs == 1
    other = trained(scene, truth, SigmaConfig(epochs=2, least_steps=1, most_steps=1), checkpoint)
    assert other.epochs == 2


def test_pretrained_encoders_bring_their_tokens_and_are_told(tmp_path: Path) -> None:
    config = MAEConfig(9, 8, 2, 9, TINY, 16, 1, 4)
    torch.save(SpatMAE(config).state_dict(), tmp_path / "spat.pth")
    torch.save(SpecMAE(config).state_dict(), tmp_path / "spec.pth")
    scene, truth = make_scene(6)
    encoders = read_encoders([tmp_path / "spat.pth", tmp_path / "spec.pth"])
    result = trained(scene, truth, SigmaConfig(epochs=1, least_steps=1, most_steps=1), encoders=encoders)
    assert result.classifier.network.config.tokens == 9
    assert [text.partition(":")[0] for text in result.taken] == [
        "spatial encoder small from spat.pth",
        "spectral encoder small from spec.pth",
    ]


def test_a_classifier_survives_being_taken_apart() -> None:
    scene, truth = make_scene(6)
    result = trained(scene, truth, SigmaConfig(epochs=1, least_steps=1, most_steps=1))
    again = HyperSigmaClassifier.from_tensors(*result.classifier.to_tensors())
    windows = torch.rand(3, 6, 9, 9)
    windows[0, :, 0, 0] = torch.nan
    with torch.inference_mode():
        assert torch.equal(again(windows), result.classifier(windows))
        assert again(windows).isfinite().all()


def test_what_cannot_be_learnt_is_said() -> None:
    scene, truth = make_scene(6)
    labels = pixels(truth, 0, 12)
    with pytest.raises(LabelError, match="only one class"):
        train_hypersigma(SceneWindows(scene), labels, None, QUICK, n_classes=1)
    with pytest.raises(LabelError, match="left of class number 4"):
        train_hypersigma(SceneWindows(scene), labels, None, QUICK, n_classes=4)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 40), (40, 2)])
def test_scenes_smaller_than_a_window_are_mapped(tmp_path: Path, rows: int, columns: int) -> None:
    scene, truth = make_scene(6)
    result = trained(scene, truth, SigmaConfig(epochs=1, least_steps=1, most_steps=1))
    small = xr.DataArray(np.random.default_rng(0).random((6, rows, columns), np.float32), dims=scene.dims)
    for mode in ("exact", "fast"):
        outputs = MapOutputs(tmp_path / f"{mode}.tif")
        mapped = classify_scene(small, result.classifier, outputs, mode=mode, device="cpu")  # type: ignore[arg-type]
        assert sum(mapped.pixels) == rows * columns


def test_with_layer_decay_the_first_layers_learn_most_slowly() -> None:
    scene, truth = make_scene(6)
    found = []
    for steps in (1, 4):
        config = SigmaConfig(epochs=1, batch_size=8, least_steps=steps, most_steps=steps, layer_decay=0.0)
        found.append(trained(scene, truth, config).classifier.network.state_dict())
    assert torch.equal(*(each["spat_encoder.blocks.0.mlp.fc1.weight"] for each in found))
    assert not torch.equal(*(each["classifier.4.weight"] for each in found))
