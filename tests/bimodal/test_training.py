"""Pretraining and fine-tuning of small networks: they learn, repeat themselves, stop, and go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hsi_toolkit.bimodal.finetuning import BiMAEFinetuning, finetune_bimae
from hsi_toolkit.bimodal.networks import load_pretrained, new_classifier, require_masking
from hsi_toolkit.bimodal.pairs import Classes, Pairs, Preparation, spectra_from_zero_to_one
from hsi_toolkit.bimodal.pretraining import BiMAEPretraining, pretrain_bimae
from hsi_toolkit.bimodal.steps import batch_for, epochs_for, predict, turned
from hsi_toolkit.errors import Cancelled, LabelError, ModelError, ParameterError
from hsi_toolkit.models.bimae import SIZES, BiMAEConfig, ClassifierConfig
from hsi_toolkit.models.zoo import import_model
from hsi_toolkit.progress import Progress
from hsi_toolkit.spectral.resample import SensorBands

NETWORK = BiMAEConfig(
    patch=4, bands=10, rgb_patches=4, dim=16, heads=2, depth=2, decoder_dim=8, hs_masked=0.6, hs_decoded=0.5
)


class Stopping(Progress):
    """Cancels after so many reports."""

    def __init__(self, after: int) -> None:
        self.left = after

    def report(self, fraction: float, message: str = "") -> None:
        self.left -= 1

    def cancelled(self) -> bool:
        return self.left < 0


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Class 0 and 1 differ in colour, 1 and 2 in the spectrum."""
    generator = np.random.default_rng(0)
    labels = np.arange(48) % 3
    rgb = generator.random((48, 8, 8, 3), np.float32) * 0.2
    rgb[labels > 0] += 0.7
    slope = np.linspace(0, 1, 10, dtype=np.float32)
    spectra = np.where((labels == 2)[:, None], slope[::-1], slope)[:, None, None]
    hs = spectra_from_zero_to_one(spectra + 0.1 * generator.random((48, 4, 4, 10), np.float32))
    classes = Classes(("a", "b", "c"), ("a", "b", "c"), ("#ff0000", "#00ff00", "#0000ff"))
    called = tuple(map(str, range(48)))
    return Pairs(rgb, hs, Preparation(4, 8), SensorBands(10, tuple(range(10))), called, labels, classes)


def finetuning(modality: str = "bimodal", **more: object) -> BiMAEFinetuning:
    config = ClassifierConfig(NETWORK, 3, modality)  # type: ignore[arg-type]
    return BiMAEFinetuning(config, **{"epochs": 25, "learning_rate": 3e-3, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(("modality", "told_apart"), [("bimodal", 3), ("rgb", 2), ("hs", 2)])
def test_each_modality_learns_what_it_shows(pairs: Pairs, modality: str, told_apart: int) -> None:
    train = np.arange(30)
    model, losses = finetune_bimae(pairs, train, finetuning(modality))
    assert losses[-1] < 0.7 * losses[0]
    judged = np.arange(30, 48)
    shares = predict(model, pairs, torch.device("cpu"), chosen=judged)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    right = (shares.argmax(axis=1) == pairs.known_labels()[judged]).mean()
    assert right == pytest.approx(1.0) if told_apart == 3 else 0.5 <= right <= 0.95


def test_a_seed_decides_everything(pairs: Pairs) -> None:
    config = finetuning(epochs=2)
    first, second, other = (
        finetune_bimae(pairs, np.arange(30), each)[1] for each in (config, config, replace(config, seed=1))
    )
    assert first == second
    assert first != other


def test_pretraining_lowers_the_loss(pairs: Pairs) -> None:
    config = BiMAEPretraining(NETWORK, epochs=15, learning_rate=3e-3)
    model, losses = pretrain_bimae(pairs, config)
    assert losses[-1] < 0.7 * losses[0]
    assert not model.training


def test_an_interrupted_pretraining_ends_as_an_uninterrupted_one(pairs: Pairs, tmp_path: Path) -> None:
    config, checkpoint = BiMAEPretraining(NETWORK, epochs=4, learning_rate=3e-3), tmp_path / "run.safetensors"
    whole, losses = pretrain_bimae(pairs, config)
    with pytest.raises(Cancelled):
        pretrain_bimae(pairs, config, checkpoint=checkpoint, progress=Stopping(14))
    assert checkpoint.exists()
    resumed, again = pretrain_bimae(pairs, config, checkpoint=checkpoint)
    assert again == pytest.approx(losses, rel=1e-5)
    for name, weights in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights)
    with pytest.raises(ModelError, match="belongs to a pretraining run with other data or settings"):
        pretrain_bimae(pairs, replace(config, seed=9), checkpoint=checkpoint)
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="is no checkpoint"):
        pretrain_bimae(pairs, config, checkpoint=checkpoint)


def test_cancelling_stops_the_training(pairs: Pairs) -> None:
    with pytest.raises(Cancelled):
        finetune_bimae(pairs, np.arange(30), finetuning(), progress=Stopping(3))


@pytest.mark.parametrize("modality", ["bimodal", "rgb", "hs"])
def test_a_pretrained_encoder_is_taken_over(pairs: Pairs, modality: str) -> None:
    state = pretrain_bimae(pairs, BiMAEPretraining(NETWORK, epochs=1))[0].state_dict()
    network = new_classifier(ClassifierConfig(NETWORK, 3, modality), state, 0)  # type: ignore[arg-type]
    own = network.state_dict()
    assert torch.equal(own["encoder.blocks.1.mlp.fc1.weight"], state["encoder.blocks.1.mlp.fc1.weight"])
    prefix = "hs_patch_encoder" if modality == "bimodal" else "patch_encoder"
    taken = "hs_patch_encoder" if modality == "bimodal" else f"{modality}_patch_encoder"
    assert torch.equal(own[f"{prefix}.projection.weight"], state[f"{taken}.projection.weight"])


def test_weights_of_other_sizes_are_refused(pairs: Pairs) -> None:
    state = pretrain_bimae(pairs, BiMAEPretraining(NETWORK, epochs=1))[0].state_dict()
    other = ClassifierConfig(replace(NETWORK, bands=12), 3)
    with pytest.raises(ModelError, match=r"hs_patch_encoder\.pos_emb\.weight"):
        new_classifier(other, state, 0)


def test_weights_of_the_original_load(shared: Path) -> None:
    pretrained = load_pretrained(str(shared / "parity/bimae/pretrain_small3_h5.weights.h5"))
    assert pretrained.config.bands == len(pretrained.state["hs_patch_encoder.pos_emb.weight"])
    new_classifier(ClassifierConfig(pretrained.config, 4), pretrained.state, 0)


def test_imported_weights_are_the_same(shared: Path, tmp_path: Path) -> None:
    original = shared / "parity/bimae/pretrain_small3_h5.weights.h5"
    import_model(original, tmp_path / "imported.safetensors")
    imported, direct = (load_pretrained(str(path)) for path in (tmp_path / "imported.safetensors", original))
    assert imported.config == direct.config
    for name, weights in direct.state.items():
        assert torch.equal(imported.state[name], weights)


def test_weights_begin_as_keras_draws_them() -> None:
    network = new_classifier(ClassifierConfig(replace(NETWORK, dim=64, heads=3), 3), None, 0)
    attention = network.encoder.blocks[0].attn
    widest = attention.query.weight.abs().max()
    assert 0.9 * (6 / (3 * 64 + 64**2)) ** 0.5 < widest < (6 / (3 * 64 + 64**2)) ** 0.5
    assert (attention.query.bias == 0).all()
    fc1 = network.encoder.blocks[0].mlp.fc1.weight
    assert 0.9 * (6 / (5 * 64)) ** 0.5 < fc1.abs().max() < (6 / (5 * 64)) ** 0.5


def test_grey_is_nothing_to_a_small_network_at_first() -> None:
    config = ClassifierConfig(NETWORK, 3)
    encoder = new_classifier(config, None, 0).hs_patch_encoder
    grey = torch.full((1, NETWORK.bands, NETWORK.patch**2), 0.5)
    torch.testing.assert_close(encoder(grey)[0], encoder.pos_emb.weight, atol=1e-6, rtol=0)
    assert encoder.mask_token.mean().item() == pytest.approx(0.5, abs=0.1)


def test_published_sizes_begin_as_published() -> None:
    small = replace(SIZES["tiny"], patch=4, bands=10, rgb_patches=4)
    encoder = new_classifier(ClassifierConfig(small, 3), None, 0).hs_patch_encoder
    assert (encoder.projection.bias == 0).all()
    assert encoder.mask_token.mean().item() == pytest.approx(0.0, abs=0.1)
    assert encoder.pos_emb.weight.abs().max() <= 0.05


def test_one_class_cannot_be_trained(pairs: Pairs) -> None:
    only = replace(pairs, classes=Classes(("a",), ("a",), ("#ff0000",)))
    with pytest.raises(LabelError, match="the class 'a' alone"):
        finetune_bimae(only, np.arange(10), finetuning())


def test_too_little_to_hide_is_said() -> None:
    with pytest.raises(ParameterError, match=r"Of 3 bands, 2 would be hidden and 0 restored"):
        require_masking(BiMAEConfig(bands=3))


@pytest.mark.parametrize(("objects", "batch"), [(6, 6), (50, 8), (3_200, 100), (100_000, 512)])
def test_few_objects_still_make_several_steps(objects: int, batch: int) -> None:
    assert batch_for(512, objects) == batch


@pytest.mark.parametrize(("objects", "epochs"), [(16, 1000), (3_200, 63), (100_000, 50)])
def test_few_objects_get_more_passes(objects: int, epochs: int) -> None:
    assert epochs_for(objects, batch_for(512, objects)) == epochs


def test_both_images_turn_alike() -> None:
    image = torch.arange(36.0).reshape(1, 6, 6, 1).expand(20, -1, -1, -1)
    rgb, hs = turned(image, image, torch.Generator().manual_seed(0))
    assert torch.equal(rgb, hs)
    assert len({tuple(each.flatten().tolist()) for each in rgb}) > 4
