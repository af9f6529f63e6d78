"""Runs the golden cases of HyperSIGMA: pretraining, all heads, loading released weights, small functions."""

from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hsi_toolkit.detection.target_spectrum import CHOICES, target_spectrum
from hsi_toolkit.models.hypersigma import classification, superresolution, unmixing
from hsi_toolkit.models.hypersigma.change import ChangeConfig, ChangeNetwork
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser
from hsi_toolkit.models.hypersigma.detection import AnomalyNetwork, DetectionConfig, TargetNetwork
from hsi_toolkit.models.hypersigma.encoders import (
    SpatialConfig,
    SpatialEncoder,
    SpatialTransformer,
    SpectralEncoder,
    TransformerSize,
)
from hsi_toolkit.models.hypersigma.loading import RULES, spatial_tensors, spectral_tensors
from hsi_toolkit.models.hypersigma.mae import MAE_SIZES, MAEConfig, MaskedAutoencoder, SpatMAE, SpecMAE
from hsi_toolkit.models.hypersigma.multispectral_change import (
    MultispectralChangeConfig,
    MultispectralChangeNetwork,
)
from hsi_toolkit.models.hypersigma.restoration import RestorationConfig
from hsi_toolkit.models.hypersigma.tiling import mirror_pad, tile_origins, tiles
from hsi_toolkit.quality.change import change_quality
from hsi_toolkit.quality.detection import detection_areas
from hsi_toolkit.training.parameter_groups import parameter_groups
from hsi_toolkit.training.schedule import warmup_cosine

from .. import procedural
from ..discovery import Case, Runner

Tensors = dict[str, Tensor]
_Network = TypeVar("_Network", bound=nn.Module)

_ARGUMENTS = ("x", "t1", "pre", "ts", "lms", "t2", "post")
"""Inputs in the order in which a network takes them."""


def choose_runner(case: Case) -> Runner | None:
    """The runner of a case, by its name where it is a function, else by the class it names."""
    functions: dict[str, Runner] = {
        "cd_mirror": run_mirror,
        "layer_decay": run_parameter_groups,
        "load_": run_loading,
        "metrics_auc": run_detection_areas,
        "metrics_cd": run_change_quality,
        "sched_": run_schedule,
        "target_spectrum": run_target_spectrum,
        "tiling_": run_tiling,
    }
    for start, runner in functions.items():
        if case.name.startswith(start):
            return runner
    if case.spec.get("cls") in ("SpatMAE", "SpecMAE") or "factory" in case.config:
        return run_pretraining
    return run_network if _maker(case) else None


def run_network(case: Case) -> None:
    """Outputs, features along the way and losses of a head, the same when training as when not."""
    make = _maker(case)
    assert make is not None
    given = case.group("input")
    network = _built(lambda: make(case), case)
    if "proc" in case.spec:
        assert sum(each.numel() for each in network.parameters()) == case.spec["params"]
        for each in case.spec["inputs"]:
            values = procedural.uniform(f"input:{each['name']}", tuple(each["shape"])) + 0.5
            values = values * (each["hi"] - each["lo"]) + each["lo"]
            given[each["name"]] = torch.from_numpy(values.astype(np.float32))
    arguments = [given[name] for name in _ARGUMENTS if name in given]
    with torch.no_grad():
        outputs = _as_tuple(network(*arguments))
        computed = _statistics(outputs, case) if "proc" in case.spec else _named(network, outputs, given)
    _compare(case, computed)
    if "proc" not in case.spec:
        network.load_state_dict(case.group("state_dict"))
        for trained, inferred in zip(_as_tuple(network(*arguments)), outputs, strict=True):
            torch.testing.assert_close(trained, inferred, atol=1e-5, rtol=1e-4)


def run_pretraining(case: Case) -> None:
    """Loss, prediction and gradients of a masked autoencoder, with the noise of the case."""
    network = _built(lambda: _autoencoder(case), case)
    if "proc" in case.spec:
        images = procedural.inputs(f'proc_input("imgs",({case.spec["n"]},100,64,64),0,1)')["imgs"]
        ratio = case.config["mask_ratio"]
    else:
        images, ratio = case.tensors["input.imgs"], case.spec["mask_ratio"]
    gradients = case.group("grad")
    with torch.set_grad_enabled(bool(gradients)):
        result = network(images, ratio, case.tensors["output.noise"])
    pred = result.pred.detach()
    computed = {
        "noise": case.tensors["output.noise"],
        "loss": result.loss,
        "pred": pred,
        "pred_sub": pred[:, :, ::37],
        "pred_mean": pred.mean(),
        "pred_std": pred.std(),
        "mask": result.mask.removed,
        "ids_restore": result.mask.ids_restore,
        "latent": result.latent,
        "target": network.target(images),
    }
    _compare(case, computed)
    if gradients:
        result.loss.backward()
        own = {name: each.grad for name, each in network.named_parameters() if each.grad is not None}
        assert own.keys() == gradients.keys()
        for name, wanted in gradients.items():
            torch.testing.assert_close(own[name], wanted, atol=1e-5, rtol=1e-4)


def run_loading(case: Case) -> None:
    """Which tensors of a checkpoint an encoder takes, and how position tables are resized."""
    config = case.config
    restoring = config["kind"].startswith("dn")
    size = TransformerSize(config["embed_dim"], config["depth"], config["num_heads"], (0, 1, 2, 3))
    if restoring:
        restoration = RestorationConfig(
            config["in_chans"], config["img_size"], config["patch_size"], config["num_tokens"], True, size
        )
        detector: nn.Module = FusionDenoiser(restoration)
        rules = RULES[FusionDenoiser]
    else:
        detection = DetectionConfig(config["in_chans"], config["img_size"], config["num_tokens"], size)
        detector = AnomalyNetwork(detection)
        rules = RULES[AnomalyNetwork]
    checkpoint = {name.removeprefix("ckpt."): each for name, each in case.group("state_dict").items()}
    if config["kind"].endswith("spec"):
        encoder = detector.spec_encoder
        assert isinstance(encoder, SpectralEncoder)
        taken = spectral_tensors(encoder, checkpoint, rules[1])
    else:
        if not restoring:
            spatial = SpatialConfig(
                config["in_chans"],
                config["img_size"],
                config["patch_size"],
                size,
                pyramid=("reduce",) * 4,
                norm=False,
            )
            detector.spat_encoder = SpatialEncoder(spatial)
        encoder = detector.spat_encoder
        assert isinstance(encoder, SpatialTransformer)
        taken = spatial_tensors(encoder, checkpoint, rules[0])
    transformed = {name.removeprefix("transformed."): each for name, each in case.group("output").items()}
    assert set(taken) == {*case.spec["copied_keys"], *case.spec["transformed_keys"]}
    untouched = {name for name in encoder.state_dict() if name not in taken}
    assert untouched == set(case.spec["untouched_keys"])
    for name, value in taken.items():
        torch.testing.assert_close(value, transformed.get(name, checkpoint.get(name)), atol=1e-6, rtol=1e-5)


def run_mirror(case: Case) -> None:
    """Mirrored margins."""
    padded = mirror_pad(case.tensors["input.img"].numpy(), case.config["patch"] // 2)
    np.testing.assert_array_equal(padded, case.tensors["output.mirrored"].numpy())


def run_tiling(case: Case) -> None:
    """Where tiles lie, and which of them each pixel is from."""
    config = case.config
    shape = (config["H"], config["W"])
    for length, name in zip(shape, ("Ly", "Lx"), strict=True):
        origins = tile_origins(length, config["tile"], config["overlap"])
        np.testing.assert_array_equal(origins, case.tensors[f"output.{name}"].numpy())
    owner = np.full(shape, -1)
    for index, tile in enumerate(tiles(shape, config["tile"], config["overlap"])):
        owner[tile.kept_rows, tile.kept_columns] = index
    np.testing.assert_array_equal(owner, case.tensors["output.owner"].numpy())


def run_detection_areas(case: Case) -> None:
    """Areas under the ROC curves."""
    given = case.group("input")
    areas = detection_areas(given["score"].numpy(), given["target"].numpy() > 0)
    np.testing.assert_allclose(astuple(areas), case.tensors["output.auc"].numpy(), atol=1e-9)


def run_change_quality(case: Case) -> None:
    """Agreement with a reference of two kinds."""
    given = {name: value.numpy() for name, value in case.group("input").items()}
    changed, bay = given["result"] == 1, given["reference_bay"]
    for name, quality in (
        ("hermiston", change_quality(changed, given["reference"] == 1)),
        ("bay", change_quality(changed, bay == 1, known=bay > 0)),
    ):
        np.testing.assert_allclose(astuple(quality), case.tensors[f"output.{name}"].numpy(), atol=1e-9)


def run_target_spectrum(case: Case) -> None:
    """The nine ways to one target spectrum."""
    data, truth = case.tensors["input.data"].numpy(), case.tensors["input.gt"].numpy()
    for number, (choice, distance) in enumerate(CHOICES):
        spectrum = target_spectrum(data[truth > 0], choice, distance)
        wanted = case.tensors[f"output.type{number}"].numpy()
        np.testing.assert_allclose(spectrum, wanted, rtol=1e-9, err_msg=f"type {number}")


def run_schedule(case: Case) -> None:
    """Warm-up and half a cosine, in fractions of an epoch."""
    config = case.config
    rates = [
        warmup_cosine(
            epoch, base=config["lr"], total=config["epochs"], warmup=config["warmup_epochs"], start=0.0
        )
        for epoch in case.tensors["input.epoch"].tolist()
    ]
    np.testing.assert_allclose(rates, case.tensors["output.lr"].numpy(), rtol=1e-6, atol=1e-12)


def run_parameter_groups(case: Case) -> None:
    """Which parameters of an anomaly detector decay; the published rates are the same for all."""
    size = TransformerSize(24, 4, 3, (0, 1, 2, 3))
    network = AnomalyNetwork(DetectionConfig(bands=7, img_size=8, tokens=16, size=size))
    groups = parameter_groups(network.named_parameters(), lr=6e-5, weight_decay=5e-4, depth=12)
    computed = {
        name: {
            "lr": group.lr,
            "wd": group.weight_decay,
            "scale": group.scale,
            "group": f"layer_{group.layer}_{'decay' if group.decays else 'no_decay'}",
        }
        for group in groups
        for name in group.names
    }
    assert computed == case.spec["groups"]


def _size(config: Mapping[str, object]) -> TransformerSize:
    """The size of a small case; the released Base where none is stated."""
    if "num_heads" not in config:
        return TransformerSize()
    blocks = config.get("spat_out_indices", config.get("out_indices"))
    return TransformerSize(
        config["embed_dim"], config["depth"], config["num_heads"], tuple(blocks), config["interval"]
    )


def _classifier(kind: type[nn.Module]) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        config = case.config
        unused = config.get("dead_classifier_in_features")
        return kind(
            ClassifierConfig(
                bands=config.get("in_channels") or config["in_chans"],
                classes=config.get("classes") or config["num_classes"],
                img_size=config["img_size"],
                patch=config["patch_size"],
                tokens=config.get("num_tokens", 100),
                size=_size(config),
                unused_widths=(unused, unused) if unused else (49152, 3072),
            )
        )

    return make


def _detector(kind: type[nn.Module], fused: bool) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        config = case.config
        tokens = config.get("num_tokens", 100)
        return kind(DetectionConfig(config["in_channels"], config["img_size"], tokens, _size(config), fused))

    return make


def _unmixing(fused: bool) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        config = case.config
        return unmixing.UnmixingNetwork(
            unmixing.UnmixingConfig(
                config["channels"],
                config["num_em"],
                config.get("img_size") or config["patch_size"],
                config["seg_patches"],
                config["NUM_TOKENS"],
                _size(config),
                fused,
            )
        )

    return make


def _change(fused: bool) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        config = case.config
        return ChangeNetwork(
            ChangeConfig(
                config["channels"],
                config["patch_size"],
                config["seg_patches"],
                config["NUM_TOKENS"],
                _size(config),
                config.get("num_dim", 64),
                fused,
            )
        )

    return make


def _multispectral_change(case: Case) -> nn.Module:
    config = case.config
    if "embed_dim" not in config:
        return MultispectralChangeNetwork(MultispectralChangeConfig())
    return MultispectralChangeNetwork(
        MultispectralChangeConfig(
            config["bands"],
            config["img_size"],
            config["patch_size"],
            config["reduced_channels"],
            config["num_tokens"],
            _size(config),
            config["n_points_spat"],
            config["fuse_dim"],
        )
    )


def _restoration(kind: Callable[..., nn.Module]) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        config = case.config
        enlarging = "scale" in config
        restoration = RestorationConfig(
            bands=config["channels"],
            img_size=config["img_size"],
            patch=1 if enlarging else 2,
            tokens=config.get("num_tokens", 36 if enlarging else 100),
            positions=not enlarging,
            size=_size(config),
            refined=config.get("add_dim", 180),
            spectral_dim=config.get("spec_dim", 128),
        )
        return kind(restoration, config["scale"]) if enlarging else kind(restoration)

    return make


_MAKERS: dict[str, Callable[[Case], nn.Module]] = {
    "fusion_cls": _classifier(classification.FusionClassifier),
    "spat_cls": _classifier(classification.SpatialClassifier),
    "SpatViT_cls": _classifier(classification.SpatialClassifier),
    "fusion_seg": _classifier(classification.FusionSegmenter),
    "spat_seg": _classifier(classification.SpatialSegmenter),
    "SpatialHADFramework": _detector(AnomalyNetwork, fused=False),
    "SSHADFramework": _detector(AnomalyNetwork, fused=True),
    "SpatialHTDFramework": _detector(TargetNetwork, fused=False),
    "SSHTDFramework": _detector(TargetNetwork, fused=True),
    "SpatSIGMA_Unmix": _unmixing(fused=False),
    "HyperSIGMA_Unmix": _unmixing(fused=True),
    "SpatSIGMA_CD": _change(fused=False),
    "HyperSIGMA_CD": _change(fused=True),
    "MSCDNet": _multispectral_change,
    "denoise spat": _restoration(SpatialDenoiser),
    "denoise hyper": _restoration(FusionDenoiser),
    "sr spat": _restoration(superresolution.SpatialSuperResolution),
    "sr hyper": _restoration(superresolution.FusionSuperResolution),
}

_FULL_SIZE = {
    "full_cls_fusion_base": "fusion_cls",
    "full_seg_fusion_base": "fusion_seg",
    "full_had_ss": "SSHADFramework",
    "full_unmix_hyper": "HyperSIGMA_Unmix",
    "full_hcd_hyper": "HyperSIGMA_CD",
    "full_mscd": "MSCDNet",
    "full_denoise_hyper": "denoise hyper",
    "full_sr_hyper_x4": "sr hyper",
}


def _maker(case: Case) -> Callable[[Case], nn.Module] | None:
    return _MAKERS.get(case.spec.get("cls") or _FULL_SIZE.get(case.name, ""))


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _built(make: Callable[[], _Network], case: Case) -> _Network:
    """The network with the case's weights; a full-size one without drawing start values first."""
    if "proc" not in case.spec:
        network = make()
        network.load_state_dict(case.group("state_dict"))
        return network.eval()
    with torch.device("meta"):
        network = make()
    network.to_empty(device="cpu")
    procedural.fill(network)
    return network.eval()


def _autoencoder(case: Case) -> MaskedAutoencoder:
    config = case.config
    factory = config.get("factory")
    if factory:
        return (SpatMAE if factory.startswith("spat") else SpecMAE)(MAE_SIZES["base"])
    kind = SpatMAE if case.spec["cls"] == "SpatMAE" else SpecMAE
    return kind(
        MAEConfig(
            bands=config["in_chans"],
            img_size=config["img_size"],
            patch=config.get("patch_size", 8),
            tokens=config.get("NUM_TOKENS", 100),
            size=TransformerSize(config["embed_dim"], config["depth"], config["num_heads"], (0,)),
            decoder_dim=config["decoder_embed_dim"],
            decoder_depth=config["decoder_depth"],
            decoder_heads=config["decoder_num_heads"],
            norm_pix_loss=config.get("norm_pix_loss", False),
            scale=config.get("init_values"),
        )
    )


def _statistics(outputs: tuple[Tensor, ...], case: Case) -> Tensors:
    """Thinned values, mean and deviation of full-size outputs."""
    computed: Tensors = {}
    for index, out in enumerate(outputs):
        name = f"out{index}"
        computed |= {name: out, f"{name}_mean": out.mean(), f"{name}_std": out.std()}
    for name in case.group("output"):
        if "_flat_stride" in name:
            start, stride = name.split("_flat_stride")
            computed[name] = computed[start].flatten()[:: int(stride)]
    return computed


def _named(network: nn.Module, outputs: tuple[Tensor, ...], given: Tensors) -> Tensors:
    """Outputs by the names of the cases, and what a case may store besides."""
    first = outputs[0]
    computed = {"logits": first, "out": first}
    x = given.get("x")
    spectral = getattr(network, "spec_encoder", None)
    spatial = getattr(network, "spatial", None) or getattr(network, "spat_encoder", None)
    if isinstance(network, unmixing.UnmixingNetwork):
        assert x is not None
        computed |= {
            "abundances": first,
            "reconstruction": outputs[1],
            "sad_loss": unmixing.angle_loss(outputs[1], x),
            "loss_ab": 0.35 * unmixing.sparsity_loss(first),
        }
        network.clamp_endmembers()
        endmembers = network.endmembers()
        computed |= {"endmembers": endmembers, "loss_tv": 0.1 * unmixing.variation_loss(endmembers)}
    elif "gt" in given:
        computed |= {
            "hloss": superresolution.hybrid_loss(first, given["gt"]),
            "sam": superresolution.angle_share(first, given["gt"]),
        }
    elif isinstance(network, SpatialTransformer):
        maps = network.maps(x)
        computed |= {f"feature{index}": each for index, each in enumerate(maps)}
    elif isinstance(spatial, SpatialEncoder) and x is not None:
        maps = spatial(x)
        computed |= {f"spat_feature{index}": each for index, each in enumerate(maps)}
        if isinstance(network, classification.FusionClassifier):
            computed |= {f"spat_feature{index}": each for index, each in enumerate(reversed(maps), start=1)}
        if spectral is not None:
            computed["spec_feature0"] = computed["spec_feature"] = spectral(x)[0]
    return computed


def _compare(case: Case, computed: Tensors) -> None:
    """Every stored output agrees; one that nobody computes is an error."""
    atol = 2e-4 if "proc" in case.spec else 1e-5
    for name, stored in case.group("output").items():
        torch.testing.assert_close(
            computed[name].detach().reshape(stored.shape),
            stored,
            atol=atol,
            rtol=1e-4,
            msg=lambda text, n=name: f"{n}: {text}",
        )
