"""Shapes, parameter names and training of the networks."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.models.hypersigma.blocks import recompute_activations, round_blocks
from hsi_toolkit.models.hypersigma.change import ChangeConfig, ChangeNetwork
from hsi_toolkit.models.hypersigma.classification import (
    ClassifierConfig,
    FusionClassifier,
    FusionSegmenter,
    SpatialClassifier,
    SpatialSegmenter,
)
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.detection import AnomalyNetwork, DetectionConfig, TargetNetwork
from hsi_toolkit.models.hypersigma.encoders import (
    SpectralConfig,
    SpectralEncoder,
    TransformerSize,
    pool_bands,
)
from hsi_toolkit.models.hypersigma.mae import MAE_SIZES, MAEConfig, SpatMAE, SpecMAE
from hsi_toolkit.models.hypersigma.multispectral_change import (
    MultispectralChangeConfig,
    MultispectralChangeNetwork,
)
from hsi_toolkit.models.hypersigma.superresolution import (
    FusionSuperResolution,
    SpatialSuperResolution,
    hybrid_loss,
    superresolution_config,
)
from hsi_toolkit.models.hypersigma.unmixing import UnmixingConfig, UnmixingNetwork


def full_size() -> dict[str, nn.Module]:
    """The released configurations, by the names of the lists of their parameters."""
    large = TransformerSize.of("large")
    return {
        "full_cls_fusion_base": FusionClassifier(ClassifierConfig(30, 17)),
        "full_cls_fusion_large": FusionClassifier(ClassifierConfig(30, 17, size=large)),
        "full_cls_spat_base": SpatialClassifier(ClassifierConfig(30, 17)),
        "full_seg_fusion_base": FusionSegmenter(ClassifierConfig(20, 9, img_size=128, patch=8)),
        "full_had_ss": AnomalyNetwork(DetectionConfig(46)),
        "full_htd_ss": TargetNetwork(DetectionConfig(60)),
        "full_unmix_hyper": UnmixingNetwork(UnmixingConfig(162, endmembers=4)),
        "full_hcd_hyper": ChangeNetwork(ChangeConfig(224, img_size=15, patch=2)),
        "full_denoise_hyper": FusionDenoiser(denoising_config(191)),
        "full_denoise_spat": SpatialDenoiser(denoising_config(191)),
        "full_sr_hyper_x4": FusionSuperResolution(superresolution_config(48), scale=4),
        "full_sr_spat_x8": SpatialSuperResolution(superresolution_config(48), scale=8),
        "full_mscd": MultispectralChangeNetwork(MultispectralChangeConfig()),
    }


def shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def test_all_heads_have_the_names_and_shapes_of_the_released_networks(shared: Path) -> None:
    lists = json.loads((shared / "parity/manifests/hypersigma_downstream.json").read_text())["models"]
    with torch.device("meta"):
        networks = full_size()
    assert networks.keys() == lists.keys()
    for name, network in networks.items():
        assert shapes(network) == lists[name], name


def test_autoencoders_of_all_sizes_have_the_names_and_shapes_of_the_released_files(shared: Path) -> None:
    lists = json.loads((shared / "parity/manifests/hypersigma_pretrain.json").read_text())["checkpoints"]
    for name, wanted in lists.items():
        branch, _, size, *_ = name.split("-")
        with torch.device("meta"):
            network = (SpatMAE if branch == "spat" else SpecMAE)(MAE_SIZES[size])
        assert shapes(network) == wanted, name


def small_heads(tiny: TransformerSize) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Heads and inputs for them."""
    image, tile = torch.rand(2, 5, 8, 8), torch.rand(1, 5, 16, 16)
    classes = ClassifierConfig(5, 3, 8, 2, 9, tiny, (24, 24))
    segments = ClassifierConfig(5, 3, 16, 4, 9, tiny, (24, 24))
    denoising, enlarging = denoising_config(5, 8, 9, tiny), superresolution_config(5, 8, 9, tiny)
    return {
        "classify": (FusionClassifier(classes), (image,)),
        "classify, spatial": (SpatialClassifier(classes), (image,)),
        "segment": (FusionSegmenter(segments), (tile,)),
        "segment, spatial": (SpatialSegmenter(segments), (tile,)),
        "anomaly": (AnomalyNetwork(DetectionConfig(5, 8, 9, tiny)), (image,)),
        "target": (TargetNetwork(DetectionConfig(5, 8, 9, tiny, fused=False)), (image, image[:, :, 0, 0])),
        "unmix": (UnmixingNetwork(UnmixingConfig(5, 3, 8, 2, 9, tiny)), (image,)),
        "unmix, spatial": (UnmixingNetwork(UnmixingConfig(5, 3, 8, 2, 9, tiny, fused=False)), (image,)),
        "change": (
            ChangeNetwork(ChangeConfig(5, 5, 1, 9, tiny, 8)),
            (image[..., :5, :5], image[..., 3:, 3:]),
        ),
        "denoise": (FusionDenoiser(denoising), (image,)),
        "enlarge": (FusionSuperResolution(enlarging, 2), (image, torch.rand(2, 5, 16, 16))),
        "enlarge, spatial": (SpatialSuperResolution(enlarging, 3), (image, torch.rand(2, 5, 24, 24))),
    }


HEADS = (
    "classify",
    "classify, spatial",
    "segment",
    "segment, spatial",
    "anomaly",
    "target",
    "unmix",
    "unmix, spatial",
    "change",
    "denoise",
    "enlarge",
    "enlarge, spatial",
)


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_that_is_not_frozen_learns_and_no_frozen_one_does(
    name: str, tiny: TransformerSize
) -> None:
    torch.manual_seed(0)
    network, given = small_heads(tiny)[name]
    outputs = network.train()(*given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(each.square().sum() for each in outputs).backward()
    for parameter_name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


def test_recomputed_activations_give_the_same_gradients(tiny: TransformerSize) -> None:
    torch.manual_seed(0)
    network, given = small_heads(tiny)["anomaly"]
    network.eval()
    gradients = []
    for recompute in (False, True):
        recompute_activations(network, recompute)
        network.zero_grad()
        network(*given).square().sum().backward()
        gradients.append(network.spat_encoder.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_bands_are_averaged_in_runs_and_repeated_where_they_are_too_few() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(1, 6, 2, 2)
    assert pool_bands(x, 3)[0, :, 0].tolist() == [0.5, 2.5, 4.5]
    assert pool_bands(x[:, :2], 4)[0, :, 0].tolist() == [0, 0, 1, 1]


def test_abundances_sum_to_one_and_endmembers_are_clamped(tiny: TransformerSize) -> None:
    network = UnmixingNetwork(UnmixingConfig(5, 3, 8, 2, 9, tiny))
    abundances, mixed = network.eval()(torch.rand(2, 5, 8, 8))
    torch.testing.assert_close(abundances.sum(dim=1), torch.ones(2, 8, 8))
    assert mixed.shape == (2, 5, 8, 8)
    network.decoder.decoder.weight.data -= 1
    network.clamp_endmembers()
    assert network.endmembers().shape == (5, 3)
    assert (network.endmembers() == 0).any()


def test_hybrid_loss_of_a_perfect_result_is_next_to_nothing() -> None:
    x = torch.rand(1, 4, 8, 8) + 0.1
    assert hybrid_loss(x, x) < 1e-3
    assert hybrid_loss(x + 0.2, x) > 0.1


@pytest.mark.parametrize(("kind", "visible"), [(SpatMAE, 4), (SpecMAE, 2)])
def test_masks_are_drawn_and_can_be_repeated(
    kind: type[SpatMAE], visible: int, tiny: TransformerSize
) -> None:
    network = kind(MAEConfig(18, 16, 4, 9, tiny, 16, 2, 4))
    images = torch.rand(2, 18, 16, 16)
    torch.manual_seed(3)
    drawn = network.eval()(images)
    torch.manual_seed(3)
    given = network(images, noise=torch.rand(drawn.mask.ids_restore.shape))
    assert drawn.latent.shape[1] == visible
    torch.testing.assert_close(drawn.loss, given.loss)


def test_mistakes_are_answered_with_a_sentence(tiny: TransformerSize) -> None:
    with pytest.raises(ParameterError, match="no HyperSIGMA size 'giant'"):
        TransformerSize.of("giant")
    with pytest.raises(ParameterError, match="7 spectral tokens do not form a square"):
        SpectralEncoder(SpectralConfig(8, 7, (3,), size=tiny))
    with pytest.raises(ParameterError, match="Patches of 5 pixels"):
        FusionClassifier(ClassifierConfig(5, 3, patch=5, size=tiny))
    with pytest.raises(ParameterError, match="Windows of 9×9 patches"):
        ChangeNetwork(ChangeConfig(5, img_size=9, size=tiny))
    with pytest.raises(ParameterError, match="scale of 5"):
        SpatialSuperResolution(superresolution_config(5, 8, 9, tiny), scale=5)
    anomaly = AnomalyNetwork(DetectionConfig(5, 8, 9, tiny))
    with pytest.raises(ModelError, match="images of 5 bands"):
        anomaly(torch.rand(1, 6, 8, 8))
    with pytest.raises(ModelError, match="8×8 patches"):
        anomaly(torch.rand(1, 5, 9, 9))
    with pytest.raises(ModelError, match="8×8 pixels"):
        anomaly.spec_encoder(torch.rand(1, 5, 9, 8))
    with pytest.raises(ModelError, match="100 bands and 64×64"):
        SpatMAE(MAEConfig(size=tiny))(torch.rand(1, 5, 64, 64))


@pytest.mark.parametrize("name", HEADS)
def test_blocks_in_16_bits_say_nearly_the_same_and_leave_the_rest_in_32(
    name: str, tiny: TransformerSize
) -> None:
    torch.manual_seed(0)
    network, given = small_heads(tiny)[name]
    network.eval()
    with torch.inference_mode():
        exact = network(*given)
        round_blocks(network, torch.bfloat16)
        rounded = network(*given)
    kept = {parameter.dtype for key, parameter in network.named_parameters() if "blocks" not in key}
    assert kept == {torch.float32}
    for before, after in zip(
        *(each if isinstance(each, tuple) else (each,) for each in (exact, rounded)), strict=True
    ):
        assert after.dtype == torch.float32
        assert 0 < (after - before).abs().max() < 0.01 * before.abs().max()
