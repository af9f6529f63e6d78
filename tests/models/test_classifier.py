"""The classifier that joins HSIMAE and spectral experts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.classifier import SceneClassifier, pixel_logits
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.models.spatial_filter import SpatialFilter
from hsi_toolkit.training.teachers import fit_experts, fit_features

BANDS, CLASSES, RADIUS = 40, 3, 4


def make_classifier(*, context: bool, network_weight: float = 0.5) -> SceneClassifier:
    rng = np.random.default_rng(0)
    spectra = rng.normal(1.0, 0.2, (200, BANDS - 1)).astype(np.float32)
    spectral = fit_features(spectra)
    experts = fit_experts(torch.from_numpy(spectra[:60]), spectral, np.arange(60) % CLASSES, CLASSES, seed=0)
    torch.manual_seed(0)
    network = HSIViT(HSIMAEConfig.of_size("small"), CLASSES)
    return SceneClassifier(
        network,
        spectral,
        experts,
        SpatialFilter(2.0, 0.0) if context else SpatialFilter(1.0, 2.0),
        bands=torch.arange(1, BANDS),
        n_bands=BANDS,
        context=context,
        network_weight=network_weight,
    ).eval()


def make_block(height: int = 12, width: int = 13) -> Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(1.0, 0.2, (BANDS, height, width)).astype(np.float32))


def windows_of(block: Tensor) -> Tensor:
    """Windows (N, channels, 9, 9) of the pixels that have a whole one, in raster order."""
    side = 2 * RADIUS + 1
    return block.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)


@pytest.mark.parametrize("context", [True, False])
def test_block_by_block_equals_window_by_window(context: bool) -> None:
    classifier, block = make_classifier(context=context), make_block()
    block[:, 5, 6] = torch.nan
    with torch.inference_mode():
        whole = classifier(windows_of(block))
        inner = classifier.spectra(block)[:, RADIUS:-RADIUS, RADIUS:-RADIUS].flatten(1).T
        network = classifier.network_logits(windows_of(classifier.features(block)))
        parts = classifier.combine(network, classifier.expert_logits(inner))
    missing = whole.isnan().any(dim=1)
    assert missing.nonzero().flatten().tolist() == [1 * 5 + 2]
    torch.testing.assert_close(parts[~missing], whole[~missing], atol=1e-4, rtol=1e-4)


def test_without_context_neighbours_reach_the_result_only_through_the_filter() -> None:
    classifier = make_classifier(context=False)
    features = windows_of(classifier.features(make_block()))
    with torch.inference_mode():
        alone = classifier.network_logits(features[:, :, RADIUS : RADIUS + 1, RADIUS : RADIUS + 1])
        torch.testing.assert_close(classifier.network_logits(features), alone)


def test_a_single_pixel_is_a_window_whose_other_cells_are_masked() -> None:
    network = make_classifier(context=False).network
    pixels = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = pixel_logits(network, pixels)
        tokens = network.config.cut(pixels[:, None, :, None, None].expand(-1, 1, -1, 9, 9))
        middle = [4, 13, 22, 31]
        embedded = network.patch_embed(tokens[:, middle]) + network.pos_embed[:, middle]
        encoded = network._encode_grid(embedded, 4, 1)
        expected = network.cls_head(encoded.flatten(1))
    torch.testing.assert_close(logits, expected)


def test_combination_is_a_weighted_mean_of_probabilities() -> None:
    classifier = make_classifier(context=False, network_weight=0.25)
    logits = torch.tensor([[0.0, 0.0, 0.0]])
    experts = torch.tensor([[0.7, 0.2, 0.1]]).log()
    mixed = classifier.combine(logits, experts).exp()
    torch.testing.assert_close(mixed, 0.25 / 3 + 0.75 * experts.exp())
    torch.testing.assert_close(classifier.combine(logits, None).exp(), torch.full((1, 3), 1 / 3))


@pytest.mark.parametrize("context", [True, False])
def test_survives_being_taken_apart(context: bool) -> None:
    classifier = make_classifier(context=context, network_weight=0.3)
    tensors, metadata = classifier.to_tensors()
    assert any(name.startswith("network.blocks_1.0.attn.q") for name in tensors)
    again = SceneClassifier.from_tensors(tensors, metadata)
    windows = windows_of(make_block())
    with torch.inference_mode():
        torch.testing.assert_close(again(windows), classifier(windows), atol=0, rtol=0)
    assert (again.context, again.network_weight) == (context, 0.3)


def test_parts_that_do_not_fit_are_refused() -> None:
    tensors, metadata = make_classifier(context=True).to_tensors()
    for broken in (
        {name: tensor for name, tensor in tensors.items() if name != "network.norm.weight"},
        {name: tensor for name, tensor in tensors.items() if name != "experts.forest.roots"},
        tensors | {"network.cls_head.weight": torch.zeros(2, 5)},
    ):
        with pytest.raises(ModelError, match="do not fit"):
            SceneClassifier.from_tensors(broken, metadata)
    with pytest.raises(ModelError, match="do not fit"):
        SceneClassifier.from_tensors(tensors, {})


def test_a_scene_of_another_band_count_is_refused() -> None:
    with pytest.raises(ModelError, match="40 bands, but the scene has 39"):
        make_classifier(context=True).features(make_block()[:-1])


def test_experts_may_be_missing() -> None:
    complete = make_classifier(context=True)
    alone = SceneClassifier(
        complete.network,
        complete.spectral,
        None,
        complete.filter,
        bands=complete.bands,
        n_bands=BANDS,
        context=True,
    ).eval()
    tensors, metadata = alone.to_tensors()
    windows = windows_of(make_block())[:2]
    with torch.inference_mode():
        expected = complete.network_logits(
            complete.spectral.components(windows[:, 1:].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        ).log_softmax(1)
        torch.testing.assert_close(SceneClassifier.from_tensors(tensors, metadata)(windows), expected)


class TestSpatialFilter:
    def test_leaves_a_constant_block_alone(self) -> None:
        block = torch.full((3, 9, 9), 7.0)
        for amount in (0.0, 1.0, 2.0):
            torch.testing.assert_close(SpatialFilter(1.5, amount)(block), block)

    def test_amount_one_changes_nothing_and_two_mirrors_smoothing(self) -> None:
        block = make_block()
        smooth, sharp = SpatialFilter(1.0, 0.0)(block), SpatialFilter(1.0, 2.0)(block)
        torch.testing.assert_close(SpatialFilter(1.0, 1.0)(block), block)
        torch.testing.assert_close((smooth + sharp) / 2, block)

    def test_nodata_takes_no_part_and_stays(self) -> None:
        block = torch.ones(2, 9, 9)
        block[0, 4, 4] = torch.nan
        block[1, 4, 4] = 1000.0
        filtered = SpatialFilter(2.0, 0.0)(block)
        assert filtered[:, 4, 4].isnan().all()
        filtered[:, 4, 4] = 1.0
        torch.testing.assert_close(filtered, torch.ones(2, 9, 9))


def test_forest_agrees_with_scikit_learn() -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    from hsi_toolkit.training import teachers

    rng = np.random.default_rng(0)
    values = rng.normal(size=(90, 6)).astype(np.float32)
    classes = np.arange(90) % CLASSES
    forest = teachers.fit_forest(values.astype(np.float64), classes, CLASSES, seed=1)
    original = ExtraTreesClassifier(
        teachers.TREES, max_leaf_nodes=512, class_weight="balanced", random_state=1
    ).fit(values, classes)
    others = rng.normal(size=(500, 6)).astype(np.float32)
    np.testing.assert_allclose(forest(torch.from_numpy(others)), original.predict_proba(others), atol=1e-5)


def test_config_of_another_window_reaches_farther() -> None:
    config = replace(HSIMAEConfig.of_size("small"), img_size=15)
    complete = make_classifier(context=True)
    wide = SceneClassifier(
        HSIViT(config, CLASSES),
        complete.spectral,
        None,
        SpatialFilter(2.0, 0.0, 7),
        bands=complete.bands,
        n_bands=BANDS,
        context=True,
    )
    assert wide.radius == 7
