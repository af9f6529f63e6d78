"""Runs the golden cases of HSIMAE: networks of both generations, PCA features, schedule and split."""

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.models import hsimae, hsimae_v1
from hsi_toolkit.models.checkpoints import load_by_name
from hsi_toolkit.models.layers import TokenLayout, sincos_3d
from hsi_toolkit.models.masking import (
    JointMask,
    TokenMask,
    cell_mask,
    joint_mask,
    joint_mask_lengths,
    random_mask,
)
from hsi_toolkit.spectral import GroupwisePCA, MultiScalePCA
from hsi_toolkit.spectral.pca import SegmentPCA, SignConvention
from hsi_toolkit.training.protocol import paper_split, pixel_windows, unlabelled_windows
from hsi_toolkit.training.schedule import CosineSchedule

from .. import procedural
from ..discovery import Case, Runner

Tensors = Mapping[str, Tensor]
C = TypeVar("C", bound=TokenLayout)
M = TypeVar("M", bound=nn.Module)


def choose_runner(case: Case) -> Runner | None:
    """The runner of a case, by what its JSON says was called."""
    called = (case.spec.get("cls") or case.spec.get("fn") or "").split("(")[0].split(" ")[0]
    if "t_initial" in case.config:
        return run_schedule
    if any(key.startswith("state_dict.mae.") for key in case.tensors):
        return run_transfer
    networks = _V1 if "sep_pos_embed" in case.config else _V2
    return networks.get(called) or _FUNCTIONS.get(called)


def run_masked_autoencoder(case: Case) -> None:
    """HSIMAE v2 pretraining: mask, every intermediate result, loss and gradients."""
    config = _config(hsimae.HSIMAEConfig, case)
    model, given = _prepared(hsimae.HSIMAE(config), case)
    mask = _joint_mask(case, config)
    patches = config.cut(given["imgs"])
    latent = model.encode_visible(patches, mask)
    result = model(given["imgs"], mask=mask)
    computed = {
        "loss": result.loss,
        "pred": result.pred,
        "mask": result.mask,
        "latent": latent,
        "pred_tokens": model.decode(latent, mask),
        "target_tokens": patches,
        **_mask_outputs(mask),
    }
    _compare(case, computed, given=("noise_1", "noise_2"))
    _compare_gradients(case, model, result.loss)


def run_dual(case: Case) -> None:
    """DualViT v2: both branches, and the gradients of the fine-tuning loss."""
    config = _config(hsimae.HSIMAEConfig, case)
    model, given = _prepared(hsimae.DualViT(config, case.config["num_class"]), case)
    result = model(given["imgs"], given["imgs_u"], mask=(mask := _joint_mask(case, config)))
    computed = {
        **_classification(model, given["imgs"]),
        "loss_rec": result.loss_rec,
        "pred_rec": result.pred,
        "mask": result.mask,
        "logits": model.classify(given["imgs"]),
        "class_pred": result.logits,
        **_mask_outputs(mask),
    }
    if "output.labels" in case.tensors:
        cross_entropy = F.cross_entropy(result.logits, case.tensors["output.labels"], ignore_index=0)
        computed["total_loss"] = 10 * result.loss_rec + cross_entropy
    _compare(case, computed, given=("noise_1", "noise_2", "labels"))
    _compare_gradients(case, model, computed.get("total_loss", result.loss_rec))


def run_classifier(case: Case) -> None:
    """HSIViT v2."""
    config = _config(hsimae.HSIMAEConfig, case)
    model, given = _prepared(hsimae.HSIViT(config, case.config["num_class"]), case)
    _compare(case, {"logits": model(given["imgs"]), **_classification(model, given["imgs"])})


def run_transfer(case: Case) -> None:
    """A pretraining checkpoint loaded by name into both fine-tuning networks, with the head given."""
    config = _config(hsimae.HSIMAEConfig, case)
    weights = case.group("state_dict")
    pretrained = {k.removeprefix("mae."): v for k, v in weights.items() if k.startswith("mae.")}
    head = {k: v for k, v in weights.items() if not k.startswith("mae.")}
    for model in (
        hsimae.DualViT(config, case.spec["num_class"]),
        hsimae.HSIViT(config, case.spec["num_class"]),
    ):
        report = load_by_name(model, pretrained)
        load_by_name(model, head)
        classify = model.classify if isinstance(model, hsimae.DualViT) else model
        _compare(case, {"logits": classify(case.tensors["input.imgs"])})
        if isinstance(model, hsimae.DualViT):
            assert set(report.loaded) == set(case.spec["used_keys"])


def run_masked_autoencoder_v1(case: Case) -> None:
    """HSIMAE v1 pretraining with random tokens masked."""
    model, given = _prepared(hsimae_v1.HSIMAE(_config(hsimae_v1.HSIMAEv1Config, case)), case)
    mask = random_mask(case.tensors["output.noise0"], case.spec["mask_ratio"])
    result = model(given["imgs"], mask=mask)
    _compare(case, result._asdict(), given=("noise0",))
    _compare_gradients(case, model, result.loss)


def run_dual_v1(case: Case) -> None:
    """DualHSIMAE v1; the visible tokens are read off the mask: an unstable sort chose in the last cell."""
    config = _config(hsimae_v1.HSIMAEv1Config, case)
    model, given = _prepared(hsimae_v1.DualHSIMAE(config, case.config["num_class"]), case)
    removed = config.cut(case.tensors["output.mask"])[..., 0]
    visible = int((removed[0] == 0).sum())
    order = removed.argsort(dim=1, stable=True)
    result = model(given["imgs"], given["imgs_u"], mask=TokenMask(order[:, :visible], order.argsort(dim=1)))
    computed = {
        "loss_rec": result.loss_rec,
        "pred_rec": result.pred,
        "mask": result.mask,
        "class_pred": result.logits,
    }
    _compare(case, computed, given=("noise0", "noise1"))
    own = cell_mask(case.tensors["output.noise0"][:, 0], config.groups, case.spec["mask_ratio"]).removed
    per_cell = (-1, config.groups, config.cells)
    assert torch.equal(own.reshape(per_cell).sum(1), removed.reshape(per_cell).sum(1))


def run_classifier_v1(case: Case) -> None:
    """HSIViT v1."""
    config = _config(hsimae_v1.HSIMAEv1Config, case)
    model, given = _prepared(hsimae_v1.HSIViT(config, case.config["num_class"]), case)
    _compare(case, {"logits": model(given["imgs"])})


def run_group_wise_pca(case: Case) -> None:
    """GWPCA under both sign conventions."""
    config = case.config
    assert config["whiten"]
    _check_pca(case, lambda sign: GroupwisePCA(config["nc"], groups=config["group"], sign_convention=sign))


def run_multi_scale_pca(case: Case) -> None:
    """MS-PCA under both sign conventions."""
    config = case.config
    assert config["whiten"]
    _check_pca(
        case,
        lambda sign: MultiScalePCA(config["numComponents"], levels=config["step"], sign_convention=sign),
    )


def run_position_table(case: Case) -> None:
    """The fixed position table."""
    config = case.config
    _compare(case, {"pos_embed": sincos_3d(config["embed_dim"], config["t"], config["grid"])})


def run_schedule(case: Case) -> None:
    """The learning rate of every step."""
    config = case.config
    schedule = CosineSchedule(
        peak=config["lr"],
        floor=config["lr_min"],
        steps=config["t_initial"],
        warmup_steps=config["warmup_t"],
        start=config["warmup_lr_init"],
    )
    steps = len(case.tensors["output.lr"])
    computed = {
        "lr": torch.tensor([schedule.lr(step) for step in range(steps)], dtype=torch.float64),
        "lr_at_init": torch.tensor([schedule.value(0)], dtype=torch.float64),
    }
    for name, stored in case.group("output").items():
        torch.testing.assert_close(computed[name], stored, rtol=1e-12, atol=0)


def run_split(case: Case) -> None:
    """Features, windows and the published random split."""
    config, stored = case.config, {k: v.numpy() for k, v in case.group("output").items()}
    cube, labels = case.tensors["input.cube"].numpy(), case.tensors["input.gt"].numpy()
    window = config["patch_size"]
    features = GroupwisePCA().fit_transform(cube.reshape(-1, cube.shape[-1]))
    _assert_scaled(features, stored["features"].reshape(features.shape), 1e-2)
    split = paper_split(labels, config["num"], config["seed"])
    unlabelled = unlabelled_windows(stored["features"], window)
    every = pixel_windows(stored["features"], window).reshape(-1, *unlabelled.shape[1:])
    flat = labels.ravel()
    computed = {
        "train_index": split.drawn,
        "train_labels": flat[split.drawn],
        "n_unlabeled": np.array([len(unlabelled)]),
        "unlabeled_first": unlabelled[0],
        "unlabeled_last": unlabelled[-1],
        "patch_sel_index": stored["patch_sel_index"],
        "patch_sel": every[stored["patch_sel_index"]],
        "test_gt": split.test_labels,
        "split_train_index": split.train,
        "split_train_gt": flat[split.train],
        "split_val_index": split.validation,
        "split_val_gt": flat[split.validation],
    }
    for name in stored.keys() - {"features"}:
        np.testing.assert_array_equal(computed[name], stored[name], err_msg=name)


_V2: dict[str, Runner] = {
    "HSIMAE": run_masked_autoencoder,
    "DualViT": run_dual,
    "HSIViT": run_classifier,
}
_V1: dict[str, Runner] = {
    "HSIMAE": run_masked_autoencoder_v1,
    "DualHSIMAE": run_dual_v1,
    "HSIViT": run_classifier_v1,
}
_FUNCTIONS: dict[str, Runner] = {
    "applyGWPCA": run_group_wise_pca,
    "applyMSPCA": run_multi_scale_pca,
    "get_3d_sincos_pos_embed": run_position_table,
    "get_data_set_dual": run_split,
}


def _config(kind: type[C], case: Case) -> C:
    """The network's configuration; what this project fixed (one channel, no dropout) must be as fixed."""
    fixed = {
        "in_chans": 1,
        "sep_pos_embed": True,
        "use_learnable_pos_emb": True,
        "cls_embed": False,
    }
    names = {field.name for field in dataclasses.fields(kind)}
    other = {
        key: value for key, value in case.config.items() if key not in names | {"num_class", "drop_path"}
    }
    assert other == {key: fixed.get(key) for key in other}
    return kind(**{key: value for key, value in case.config.items() if key in names})


def _prepared(model: M, case: Case) -> tuple[M, Tensors]:
    """The model in eval mode with the case's weights, and the case's inputs; either may be procedural."""
    if "proc" in case.spec:
        procedural.fill(model)
        return model.eval(), procedural.inputs(case.spec["note"])
    model.load_state_dict(case.group("state_dict"))
    return model.eval(), case.group("input")


def _joint_mask(case: Case, config: TokenLayout) -> JointMask:
    """The case's mask: repeated from its noise and from its seed where it has them."""
    stored = case.group("output")
    forced = JointMask(stored["ids_keep"], stored["ids_restore"], int(stored["len_t"]), int(stored["len_l"]))
    if "noise_1" in stored:
        sizes = {"samples": len(stored["noise_1"]), "groups": config.groups, "cells": config.cells}
        lengths = joint_mask_lengths(
            config.groups, config.cells, case.spec["mask_ratio"], random.Random(case.spec["mask_seed"])
        )
        noise = (stored["noise_1"], stored["noise_2"])
        generator = torch.Generator().manual_seed(case.spec["mask_seed"])
        for mask in (
            joint_mask(lengths, noise=noise, **sizes),
            joint_mask(lengths, generator=generator, **sizes),
        ):
            assert (mask.len_t, mask.len_l) == (forced.len_t, forced.len_l)
            assert torch.equal(mask.ids_keep, forced.ids_keep)
            assert torch.equal(mask.ids_restore, forced.ids_restore)
    return forced


def _mask_outputs(mask: JointMask) -> Tensors:
    return {
        "mask_tokens": mask.removed,
        "ids_restore": mask.ids_restore,
        "ids_keep": mask.ids_keep,
        "len_t": torch.tensor(mask.len_t),
        "len_l": torch.tensor(mask.len_l),
    }


def _classification(model: hsimae.Encoder, imgs: Tensor) -> Tensors:
    tokens = model.encode(imgs)
    return {"encoder_tokens": tokens, "head_feature": hsimae.aggregate(tokens, model.config.groups)}


def _compare(case: Case, computed: Tensors, given: tuple[str, ...] = ()) -> None:
    """Every stored output but those ``given`` agrees; one that nobody computes is an error."""
    atol = 2e-4 if "proc" in case.spec else 1e-5
    for name, stored in case.group("output").items():
        if name not in given:
            torch.testing.assert_close(
                computed[name].detach(), stored, atol=atol, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
            )


def _compare_gradients(case: Case, model: nn.Module, loss: Tensor) -> None:
    """Every stored gradient agrees, and no trainable parameter is without one."""
    stored = case.group("grad")
    if not stored:
        return
    model.zero_grad()
    loss.backward()
    own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert own.keys() == stored.keys()
    for name, gradient in stored.items():
        torch.testing.assert_close(own[name], gradient, atol=1e-5, rtol=1e-4)


def _check_pca(case: Case, make: Callable[[SignConvention], SegmentPCA]) -> None:
    """Tolerances relative to the largest feature: the original's own float32 solvers are the inexact ones."""
    cube = case.tensors["input.cube"].numpy().astype(case.spec["dtype_in"])
    pixels = cube.reshape(-1, cube.shape[-1])
    exact = cube.dtype != np.float32
    for name, sign, tolerance in (
        ("features", "loading", 1e-10 if exact else 1e-2),
        ("features_sklearn132", "score", 1e-10 if exact else 1e-4),
    ):
        stored = case.tensors[f"output.{name}"].numpy()
        features = make(sign).fit_transform(pixels)
        assert features.dtype == stored.dtype
        _assert_scaled(features, stored.reshape(features.shape), tolerance)


def _assert_scaled(computed: np.ndarray, stored: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(computed, stored, rtol=0, atol=tolerance * np.abs(stored).max())
