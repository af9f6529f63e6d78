"""Checkpoints of either generation load by themselves; anything else is refused and nothing in it is run."""

import collections
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models import hsimae, hsimae_v1
from hsi_toolkit.models.checkpoints import load_by_name, load_hsimae_checkpoint
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.models.hsimae_v1 import HSIMAEv1Config

V2 = HSIMAEConfig(
    embed_dim=32,
    depth=3,
    num_heads=2,
    s_depth=2,
    decoder_embed_dim=16,
    decoder_depth=2,
    decoder_num_heads=2,
)
V1 = HSIMAEv1Config(embed_dim=32, depth=2, num_heads=2, decoder_embed_dim=24, decoder_num_heads=3)
StateDict = dict[str, torch.Tensor]


def v2_weights() -> StateDict:
    return hsimae.HSIMAE(V2).state_dict()


class RunsCode:
    """What an attacker puts into a pickle: reading it naively makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["w.pth", "w.pkl", "w.pt", "w.pth.tar", "w.safetensors"])
def test_every_kind_of_file_gives_generation_sizes_and_tensors(tmp_path: Path, name: str) -> None:
    weights, path = v2_weights(), tmp_path / name
    save_file(weights, path) if name.endswith("safetensors") else torch.save(weights, path)
    generation, config, tensors = load_hsimae_checkpoint(path)
    assert (generation, config) == ("v2", V2)
    assert tensors.keys() == weights.keys()
    assert all(torch.equal(tensors[name], weights[name]) for name in weights)


def test_the_first_generation_is_told_apart(tmp_path: Path) -> None:
    torch.save(hsimae_v1.HSIMAE(V1).state_dict(), tmp_path / "w.pkl")
    generation, config, _ = load_hsimae_checkpoint(tmp_path / "w.pkl")
    assert (generation, config) == ("v1", V1)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "net"])
def test_wrapped_and_parallel_checkpoints_are_unwrapped(tmp_path: Path, wrapper: str) -> None:
    weights = collections.OrderedDict((f"module.{name}", tensor) for name, tensor in v2_weights().items())
    torch.save({wrapper: weights, "epoch": 9}, tmp_path / "w.pth")
    checkpoint = load_hsimae_checkpoint(tmp_path / "w.pth")
    assert checkpoint.config == V2
    hsimae.HSIMAE(V2).load_state_dict(checkpoint.state_dict)


@pytest.mark.parametrize(
    "config",
    [
        HSIMAEConfig.of_size("small"),
        HSIMAEConfig.of_size("base"),
        HSIMAEConfig(img_size=15, embed_dim=32, num_heads=2, depth=2, s_depth=0, decoder_depth=1),
        HSIMAEConfig(img_size=6, bands=48, b_patch_size=6, embed_dim=32, num_heads=2, depth=2, s_depth=2),
    ],
)
def test_sizes_are_read_from_the_shapes(tmp_path: Path, config: HSIMAEConfig) -> None:
    save_file(hsimae.HSIMAE(config).state_dict(), tmp_path / "w.safetensors")
    assert load_hsimae_checkpoint(tmp_path / "w.safetensors").config == config


def test_a_classifier_is_read_with_the_published_decoder_sizes(tmp_path: Path) -> None:
    config = HSIMAEConfig(embed_dim=32, num_heads=2, depth=2, s_depth=1)
    save_file(hsimae.HSIViT(config, 5).state_dict(), tmp_path / "w.safetensors")
    assert load_hsimae_checkpoint(tmp_path / "w.safetensors").config == config


def test_loading_by_name_copies_the_encoder_and_leaves_the_head() -> None:
    weights, target = v2_weights(), hsimae.DualViT(V2, 7)
    head = target.cls_head.weight.clone()
    report = load_by_name(target, weights)
    assert report.left == ("cls_head.weight", "cls_head.bias")
    assert set(report.loaded) == set(weights)
    assert torch.equal(target.cls_head.weight, head)
    assert torch.equal(target.blocks[0].mlp.w1.weight, weights["blocks.0.mlp.w1.weight"])
    assert load_by_name(hsimae.HSIViT(V2, 7), weights).unused[0] == "mask_token"


def test_loading_by_name_refuses_another_size_and_another_architecture() -> None:
    with pytest.raises(ModelError, match=r"has shape .* the network's"):
        load_by_name(hsimae.HSIViT(HSIMAEConfig.of_size("small"), 3), v2_weights())
    with pytest.raises(ModelError, match="no parameter in common"):
        load_by_name(torch.nn.Linear(2, 2), v2_weights())


@pytest.mark.parametrize("save", ["torch", "pickle", "legacy"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, save: str) -> None:
    path, folder = tmp_path / "w.pth", tmp_path / "made_by_the_pickle"
    content = {"model": v2_weights(), "x": RunsCode(folder)}
    if save == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(folder)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=save == "torch")
    with pytest.raises(
        ModelError, match=r"would run code when read \(it names \w+\.mkdir\); nothing was executed"
    ):
        load_hsimae_checkpoint(path)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_one_clear_sentence(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    save_file(v2_weights(), path) if name.endswith("safetensors") else torch.save(v2_weights(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match="damaged") as caught:
        load_hsimae_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"<html>404 not found</html>", *(random.Random(seed).randbytes(2000) for seed in range(30))]
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pth is damaged"):
        load_hsimae_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"fc.weight": torch.zeros(2, 2)}, "holds 1 tensors beginning with fc.weight"),
        ({"epoch": 3}, "holds no tensors"),
        ([1, 2], "holds a list"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: object, found: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=found):
        load_hsimae_checkpoint(tmp_path / "w.pth")


def test_a_missing_file_and_a_missing_block_are_said() -> None:
    with pytest.raises(ModelError, match="There is no checkpoint"):
        load_hsimae_checkpoint("nowhere.pth")


def test_an_incomplete_checkpoint_names_what_it_lacks(tmp_path: Path) -> None:
    weights = v2_weights()
    del weights["blocks_2.1.attn.k.bias"]
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"incomplete HSIMAE v2 checkpoint: blocks_2\.1\.attn\.k\.bias"):
        load_hsimae_checkpoint(tmp_path / "w.pth")
