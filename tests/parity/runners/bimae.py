"""Runs the golden cases of BiMAE: pretraining, downstream heads, preprocessing and schedule."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from hsi_toolkit.models.bimae import (
    SIZES,
    BiMAE,
    BiMAEClassifier,
    BiMAEConfig,
    ClassifierConfig,
    Mask,
    spectral_minmax,
)
from hsi_toolkit.models.bimae_weights import parameter_name, read_keras_weights, state_from_keras
from hsi_toolkit.training.schedule import warmup_cosine

from .. import procedural
from ..discovery import Case, Runner

_CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def choose_runner(case: Case) -> Runner | None:
    """The runner of a case, by the class its JSON names."""
    if case.name.endswith("_layout"):
        return run_layout
    if case.name.startswith("sched"):
        return run_schedule
    if case.name == "minmax":
        return run_minmax
    known = {
        "MaskedAutoencoderViT": run_pretraining,
        "BimodalDownstreamModel": run_classifier,
        "UnimodalDownstreamModel": run_classifier,
    }
    return known.get(case.spec.get("cls", ""))


def run_pretraining(case: Case) -> None:
    """What is restored, its targets, loss and errors, with the case's mask."""
    factory = case.config.get("factory")
    config = SIZES["tiny"] if factory == "mae_vit_tiny_patch24" else _network(case)
    model = BiMAE(config).eval()
    assert sum(each.numel() for each in model.parameters()) == case.spec["params"]
    given = case.group("input")
    if factory:
        _fill(model)
        sides = (config.patch, config.patch, config.bands), (192, 192, 3)
        for name, shape in zip(("hs", "rgb"), sides, strict=True):
            values = procedural.uniform(f"input:{name}", (1, *shape)) + 0.5
            given[name] = torch.from_numpy(values.astype(np.float32))
    else:
        _load(model, case)
    masks = [_mask(case, modality) for modality in ("hs", "rgb")]
    with torch.no_grad():
        result = model(given["hs"], given["rgb"], *masks)
    hs_error = (result.hs_restored - result.hs_target).abs().mean()
    rgb_error = (result.rgb_restored - result.rgb_target).abs().mean()
    thin = factory is not None
    computed = {
        "loss": result.loss,
        "hs_pred": result.hs_restored[:, ::5] if thin else result.hs_restored,
        "rgb_pred": result.rgb_restored[:, ::5, ::7] if thin else result.rgb_restored,
        "hs_target": result.hs_target,
        "rgb_target": result.rgb_target,
        "mae_hs": hs_error,
        "mae_rgb": rgb_error,
    }
    for name, wanted in case.group("output").items():
        if name in computed:
            torch.testing.assert_close(computed[name].reshape(wanted.shape), wanted, **_CLOSE)


def run_classifier(case: Case) -> None:
    """Class probabilities."""
    config = case.config
    bands = config["hs_indices"]
    model = BiMAEClassifier(
        ClassifierConfig(
            _network(case),
            config["num_classes"],
            config["modality"],
            config["use_mean_pooling"],
            None if bands is None else tuple(bands),
        )
    ).eval()
    _load(model, case)
    given = case.group("input")
    with torch.no_grad():
        probabilities = model(given.get("hs"), given.get("rgb")).softmax(dim=1)
    torch.testing.assert_close(probabilities, case.tensors["output.probs"], **_CLOSE)


def run_layout(case: Case) -> None:
    """The file that the original wrote holds the same weights as the case it was written from."""
    stem = case.name.removesuffix("_layout")
    arrays = read_keras_weights(case.folder / f"{stem}.weights.h5")
    wanted = Case(case.system, stem, case.folder).group("state_dict")
    assert set(arrays) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(arrays[name], value.numpy())


def run_minmax(case: Case) -> None:
    """Spectra scaled to their own range."""
    scaled = spectral_minmax(case.tensors["input.x"])
    torch.testing.assert_close(scaled, case.tensors["output.y"], **_CLOSE)


def run_schedule(case: Case) -> None:
    """Linear warm-up and half a cosine."""
    wanted = case.tensors["output.lr"]
    config = case.config
    rates = [
        warmup_cosine(
            step,
            base=config["learning_rate_base"],
            total=config["total_steps"],
            warmup=config["warmup_steps"],
            start=config["warmup_learning_rate"],
        )
        for step in range(len(wanted))
    ]
    torch.testing.assert_close(torch.tensor(rates, dtype=wanted.dtype), wanted, rtol=1e-4, atol=1e-9)


def _network(case: Case) -> BiMAEConfig:
    config = case.config
    return BiMAEConfig(
        patch=config["patch_size"],
        bands=config["hs_num_patches"],
        rgb_patches=config["rgb_num_patches"],
        dim=config["encoder_dim"],
        heads=config["encoder_num_heads"],
        depth=config["depth"],
        decoder_dim=config["decoder_dim"],
        mlp_ratio=config["mlp_ratio"],
        hs_masked=config["hs_mask_proportion"],
        rgb_masked=config["rgb_mask_proportion"],
        hs_decoded=config["hs_dec_mask_proportion"],
        rgb_decoded=config["rgb_dec_mask_proportion"],
    )


def _load(model: nn.Module, case: Case) -> None:
    arrays = {path: tensor.numpy() for path, tensor in case.group("state_dict").items()}
    model.load_state_dict(state_from_keras(arrays))


def _mask(case: Case, modality: str) -> Mask:
    seen, restored = (case.tensors[f"output.{modality}_{which}_indices"] for which in ("unmask", "mask"))
    return Mask(seen.long(), restored.long())


def _fill(model: BiMAE) -> None:
    """Procedural weights by the original's paths and shapes, a matrix at a time."""
    shapes = dict(_keras_shapes(model))
    own = dict(model.named_parameters())
    for path, shape in shapes.items():
        values = _procedural(path, shape)
        own[parameter_name(path)].data.copy_(state_from_keras({path: values})[parameter_name(path)])


def _keras_shapes(model: BiMAE) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, parameter in model.named_parameters():
        *modules, leaf = name.replace("blocks.", "transformer_block_").split(".")
        owner = model.get_submodule(".".join(name.split(".")[:-1])) if modules else model
        heads = model.config.heads if modules[:1] == ["encoder"] else 8
        rows = tuple(parameter.shape)
        if isinstance(owner, nn.LayerNorm):
            yield "/".join([*modules, "gamma" if leaf == "weight" else "beta"]), rows
        elif isinstance(owner, nn.Embedding):
            yield "/".join([*modules, "embeddings"]), rows
        elif isinstance(owner, nn.Linear):
            yield _dense(modules, leaf, rows, heads)
        else:
            yield "/".join([*modules, leaf]), rows


def _dense(modules: list[str], leaf: str, shape: tuple[int, ...], heads: int) -> tuple[str, tuple[int, ...]]:
    path = "/".join([*modules, "kernel" if leaf == "weight" else "bias"])
    if modules[-1] == "attention_output" and leaf == "weight":
        return path, (heads, shape[1] // heads, shape[0])
    if modules[-1] in ("query", "key", "value"):
        split = (heads, shape[0] // heads)
        return path, (shape[1], *split) if leaf == "weight" else split
    return path, shape[::-1]


def _procedural(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """As the case's note says; by its own fan-in, and in pieces, for the largest matrix has 2 GB."""
    u = _uniform(path, shape)
    if path.endswith("gamma"):
        return 1 + np.float32(0.2) * u
    if path.endswith(("beta", "bias")):
        return np.float32(0.1) * u
    if "token" in path or path.endswith("embeddings"):
        return np.float32(0.5) * u
    fan_in = math.prod(shape[:2]) if "attention_output" in path else shape[0]
    return u * np.float32(2 * math.sqrt(3) / math.sqrt(fan_in))


def _uniform(path: str, shape: tuple[int, ...], piece: int = 1 << 22) -> np.ndarray:
    size = math.prod(shape)
    values = np.empty(size, np.float32)
    for start in range(0, size, piece):
        stop = min(start + piece, size)
        values[start:stop] = procedural.uniform(path, (stop - start,), first=start)
    return values.reshape(shape)
