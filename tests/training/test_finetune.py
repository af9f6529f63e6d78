"""Fine-tuning from a few labelled clusters."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from hsi_toolkit.errors import Cancelled, LabelError, ModelError, ParameterError, SceneError
from hsi_toolkit.models.bundle import Architecture, Json, ModelBundle, ModelMetadata, parts
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hsimae import HSIMAE, HSIMAEConfig
from hsi_toolkit.progress import Progress
from hsi_toolkit.training import finetune
from hsi_toolkit.training.dual_branch import Recipe
from hsi_toolkit.training.finetune import FinetuneConfig, TrainedClassifier, train_classifier
from hsi_toolkit.training.head_start import KEY
from hsi_toolkit.training.preparation import LabelledPixels, Pixels
from hsi_toolkit.training.schedule import CosineSchedule
from hsi_toolkit.training.windows import SceneWindows

BANDS, SIZE, CLASSES = 40, 60, 3
QUICK = FinetuneConfig(epochs=2, n_unlabelled=256)


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "steps", lambda self, n_labelled: 2)


def make_scene(patch: int, noise: float = 0.3) -> tuple[xr.DataArray, np.ndarray]:
    """A mosaic of square patches of three spectra, and its classes (H, W)."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, CLASSES, (SIZE // patch + 1, SIZE // patch + 1))
    classes = tiles.repeat(patch, axis=0).repeat(patch, axis=1)[:SIZE, :SIZE]
    smooth = np.cumsum(rng.normal(size=(CLASSES, BANDS)), axis=1)
    values = 20 + smooth[classes] + rng.normal(0, noise, (SIZE, SIZE, BANDS))
    scene = xr.DataArray(values.transpose(2, 0, 1).astype(np.float32), dims=("band", "y", "x"))
    return scene, classes


def labels_of(classes: np.ndarray, count: int = 12, seed: int = 0) -> LabelledPixels:
    """Random labelled pixels, each a group of its own."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.argwhere(classes == label))[:count] for label in range(CLASSES)]
    positions = np.concatenate(chosen)
    known = np.repeat(np.arange(CLASSES), [len(part) for part in chosen])
    return LabelledPixels(positions[:, 0], positions[:, 1], known, np.arange(len(known)))


def train(
    scene: xr.DataArray,
    labels: LabelledPixels,
    config: FinetuneConfig = QUICK,
    validation: LabelledPixels | None = None,
    **options: object,
) -> TrainedClassifier:
    return train_classifier(
        SceneWindows(scene),
        labels,
        validation,
        config,
        n_classes=CLASSES,
        **options,  # type: ignore[arg-type]
    )


def accuracy(trained: TrainedClassifier, scene: xr.DataArray, classes: np.ndarray) -> float:
    rows, cols = np.divmod(np.arange(0, SIZE * SIZE, 7), SIZE)
    windows = torch.from_numpy(SceneWindows(scene).windows(rows, cols, trained.classifier.radius))
    with torch.inference_mode():
        mapped = trained.classifier(windows).argmax(dim=1).numpy()
    return float((mapped == classes[rows, cols]).mean())


def test_large_fields_are_classified_with_context() -> None:
    scene, classes = make_scene(patch=30, noise=1.0)
    trained = train(scene, labels_of(classes))
    assert trained.classifier.context
    assert trained.context_sentence.startswith("used")
    assert accuracy(trained, scene, classes) > 0.9


def test_pixels_as_large_as_objects_are_classified_without_context() -> None:
    scene, classes = make_scene(patch=1)
    trained = train(scene, labels_of(classes))
    assert not trained.classifier.context
    assert trained.context_sentence.startswith("not used")
    assert accuracy(trained, scene, classes) > 0.9


def test_the_same_seed_gives_the_same_classifier() -> None:
    scene, classes = make_scene(patch=30)
    tensors = [train(scene, labels_of(classes)).classifier.to_tensors()[0] for _ in range(2)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    other = train(scene, labels_of(classes), replace(QUICK, seed=1)).classifier.to_tensors()[0]
    assert not torch.equal(tensors[0]["network.cls_head.weight"], other["network.cls_head.weight"])


class Interrupt(Progress):
    """Cancels in the second epoch."""

    def __init__(self) -> None:
        self.stop = False

    def report(self, fraction: float, message: str = "") -> None:
        self.stop = message.startswith("Epoch 2")

    def cancelled(self) -> bool:
        return self.stop


def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    scene, classes = make_scene(patch=30)
    labels, checkpoint = labels_of(classes), tmp_path / "m.part.safetensors"
    with pytest.raises(Cancelled):
        train(scene, labels, checkpoint=checkpoint, progress=Interrupt())
    assert checkpoint.exists()
    resumed = train(scene, labels, checkpoint=checkpoint)
    straight = train(scene, labels)
    for name, tensor in straight.classifier.to_tensors()[0].items():
        assert torch.equal(resumed.classifier.to_tensors()[0][name], tensor), name
    assert resumed.losses == straight.losses
    resumed.discard_checkpoint()
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    scene, classes = make_scene(patch=30)
    checkpoint = tmp_path / "m.part.safetensors"
    train(scene, labels_of(classes), checkpoint=checkpoint)
    other = train(scene, labels_of(classes, seed=5), checkpoint=checkpoint)
    expected = train(scene, labels_of(classes, seed=5))
    assert other.losses == expected.losses
    checkpoint.write_bytes(b"damaged")
    assert train(scene, labels_of(classes, seed=5), checkpoint=checkpoint).losses == expected.losses


def test_validation_pixels_choose_the_epoch_and_end_training_early(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, classes = make_scene(patch=30)
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    monkeypatch.setattr(finetune, "_validate", lambda classifier, pixels: (next(losses), 0.5))
    config = replace(QUICK, epochs=5, patience=2)
    trained = train(scene, labels_of(classes), config, labels_of(classes, seed=9))
    assert trained.losses["validation"] == [3.0, 1.0, 2.0, 2.5]
    assert (trained.best_epoch, trained.epochs) == (2, 4)
    assert trained.scores == {"average accuracy": [0.5] * 4}


def test_the_kept_network_is_that_of_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, classes = make_scene(patch=30)
    losses = iter([1.0, 2.0])
    seen = []

    def validate(classifier: SceneClassifier, pixels: Pixels) -> tuple[float, float]:
        seen.append(classifier.network.cls_head.weight.detach().clone())
        return next(losses), 0.5

    monkeypatch.setattr(finetune, "_validate", validate)
    trained = train(scene, labels_of(classes), QUICK, labels_of(classes, seed=9))
    assert torch.equal(trained.classifier.network.cls_head.weight, seen[0])
    assert not torch.equal(seen[0], seen[1])


def test_validation_weighs_classes_equally_and_ends_in_the_experts() -> None:
    scene, classes = make_scene(patch=30)
    held_out = labels_of(classes, seed=9)
    trained = train(scene, labels_of(classes), replace(QUICK, epochs=1), held_out)
    assert 0.8 < trained.scores["average accuracy"][0] <= 1.0
    without = train(scene, labels_of(classes), replace(QUICK, epochs=1))
    assert without.classifier.experts is not None
    assert trained.classifier.experts is not None
    assert not torch.equal(
        trained.classifier.experts.spectral.weight, without.classifier.experts.spectral.weight
    )


def test_pretrained_weights_bring_their_size(tmp_path: Path) -> None:
    scene, classes = make_scene(patch=30)
    config = HSIMAEConfig(
        embed_dim=32, depth=2, num_heads=2, s_depth=1, decoder_embed_dim=16, decoder_depth=1,
        decoder_num_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    weights = HSIMAE(config).state_dict()
    path = tmp_path / "pretrained.pth"
    torch.save(weights, path)
    trained = train(scene, labels_of(classes), replace(QUICK, epochs=1, weights=str(path)))
    network = trained.classifier.network
    assert network.config.embed_dim == 32
    start = weights["blocks.0.attn.q.weight"]
    assert (network.state_dict()["blocks.0.attn.q.weight"] - start).abs().max() < 0.01


@pytest.mark.parametrize("patch", [20, 1])
def test_a_head_starts_where_pretraining_left_off(
    patch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps at no learning rate leave the regression of the classes on the pretrained embedding."""
    scene, classes = make_scene(patch)
    config = HSIMAEConfig.of_size("small")
    extra: dict[str, Json] = {KEY: {"ridge": 0.1, "temperature": 5.0}}
    for name, told in (("head", extra), ("none", {})):
        metadata = ModelMetadata(name, "pretrained", Architecture("hsimae", asdict(config)), extra=told)
        torch.manual_seed(0)
        ModelBundle(metadata, parts(network=HSIMAE(config).state_dict())).save(
            tmp_path / f"{name}.safetensors"
        )
    monkeypatch.setattr(CosineSchedule, "lr", lambda self, step: 0.0)
    labels = labels_of(classes)
    right = {}
    for name in ("head", "none"):
        settings = replace(QUICK, epochs=1, weights=str(tmp_path / f"{name}.safetensors"), network_weight=1.0)
        classifier = train(scene, labels, settings).classifier
        windows = torch.from_numpy(SceneWindows(scene).windows(labels.rows, labels.cols, 4))
        with torch.inference_mode():
            right[name] = (classifier(windows).argmax(dim=1).numpy() == labels.classes).mean()
    assert right["head"] > max(0.9, right["none"])


def test_weights_with_other_windows_are_refused(tmp_path: Path) -> None:
    scene, classes = make_scene(patch=30)
    config = replace(HSIMAEConfig.of_size("small"), img_size=15)
    torch.save(HSIMAE(config).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ModelError, match="cannot be fine-tuned"):
        train(scene, labels_of(classes), replace(QUICK, weights=str(tmp_path / "wide.pth")))


def test_nodata_pixels_and_empty_bands_are_left_out() -> None:
    scene, classes = make_scene(patch=30)
    scene[3] = np.nan
    scene[:, :4] = np.nan
    labels = labels_of(classes)
    trained = train(scene, labels)
    assert 3 not in trained.classifier.bands.tolist()
    assert len(trained.prepared.train) == int((labels.rows >= 4).sum())


def test_labels_that_cannot_be_learned_are_refused() -> None:
    scene, classes = make_scene(patch=30)
    labels = labels_of(classes)
    with pytest.raises(LabelError, match="only one class"):
        train_classifier(SceneWindows(scene), labels, None, QUICK, n_classes=1)
    with pytest.raises(LabelError, match="class number 4"):
        train_classifier(SceneWindows(scene), labels, None, QUICK, n_classes=4)
    with pytest.raises(SceneError):
        train(scene * np.nan, labels)


def test_settings_out_of_range_are_refused() -> None:
    scene, classes = make_scene(patch=30)
    for wrong in (replace(QUICK, epochs=0), replace(QUICK, network_weight=1.5)):
        with pytest.raises(ParameterError):
            train(scene, labels_of(classes), wrong)
