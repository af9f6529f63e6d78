"""First answers may be cheap; the labels are those of the float32 network."""

import pytest
import torch
from torch import Tensor

from hsi_toolkit.inference import screening
from hsi_toolkit.inference.prepare import PreparedBlock, prepare
from hsi_toolkit.inference.screening import PixelNetwork, margins
from hsi_toolkit.inference.token_major import TokenMajorForward
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig, FusionClassifier
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier, PrincipalComponents
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import iter_blocks

CPU = torch.device("cpu")


def prepared(classifier: SceneClassifier, scene) -> PreparedBlock:
    (block,) = iter_blocks(scene, rows=scene.sizes["y"], halo=4)
    with torch.inference_mode():
        return prepare(classifier, block, CPU, Progress())


def log_probabilities(network: PixelNetwork, block: PreparedBlock) -> Tensor:
    with torch.inference_mode():
        return network.log_probabilities(block, Progress())


def off_by(classifier: SceneClassifier, monkeypatch, change) -> PixelNetwork:
    """A network whose 16-bit engine's logits are changed by ``change``."""
    monkeypatch.setattr(screening, "quick_dtypes", lambda device: (torch.bfloat16,))
    kind = screening.FeatureMajorForward

    class Off(kind):
        def __call__(self, windows: Tensor) -> Tensor:
            logits = super().__call__(windows)
            return change(logits) if self.dtype == torch.bfloat16 else logits

    monkeypatch.setattr(screening, "FeatureMajorForward", Off)
    return PixelNetwork(classifier, CPU, memory=1 << 28)


def test_labels_are_those_of_float32(make_classifier, make_scene, monkeypatch):
    classifier = make_classifier()
    block = prepared(classifier, make_scene(24, 30))
    sure = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    generator = torch.Generator().manual_seed(0)
    noisy = off_by(
        classifier, monkeypatch, lambda logits: logits + 0.05 * torch.randn(logits.shape, generator=generator)
    )
    noisy._full.runner.threads = 1
    noisy._quick[0].runner.threads = 1
    found = log_probabilities(noisy, block)
    assert torch.equal(found.argmax(1), sure.argmax(1))
    assert 0 < noisy.counts.rechecked < 0.5 * len(block.pixels)
    assert noisy.precision == "bfloat16"


def test_a_cheap_network_that_is_far_off_is_given_up(make_classifier, make_scene, monkeypatch):
    classifier = make_classifier()
    block = prepared(classifier, make_scene(24, 30))
    network = off_by(classifier, monkeypatch, lambda logits: -logits)
    found = log_probabilities(network, block)
    sure = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    torch.testing.assert_close(found, sure)
    assert network.precision == "float32"


@pytest.mark.parametrize(("sign", "precision"), [(1, "int8"), (-1, "bfloat16")])
def test_bytes_answer_first_unless_they_are_far_off(
    make_classifier, make_scene, monkeypatch, sign, precision
):
    classifier = make_classifier()
    block = prepared(classifier, make_scene(24, 30))
    monkeypatch.setattr(screening, "quick_dtypes", lambda device: (torch.int8, torch.bfloat16))
    monkeypatch.setattr(screening, "MOST_BEFORE_NEXT", 0.5)

    class Off(screening.FeatureMajorForward):
        def __call__(self, windows: Tensor) -> Tensor:
            logits = super().__call__(windows)
            return sign * logits if self.dtype == torch.int8 else logits

    monkeypatch.setattr(screening, "FeatureMajorForward", Off)
    network = PixelNetwork(classifier, CPU, memory=1 << 28)
    found = log_probabilities(network, block)
    sure = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    assert torch.equal(found.argmax(1), sure.argmax(1))
    assert network.precision == precision
    assert network.counts.rechecked < 0.5 * len(block.pixels)


def test_what_is_not_a_number_is_computed_again(make_classifier, make_scene, monkeypatch):
    classifier = make_classifier(experts=False)
    block = prepared(classifier, make_scene(24, 30))
    network = off_by(classifier, monkeypatch, lambda logits: logits)
    log_probabilities(network, block)
    engine = network._quick[0]

    def overflow(windows: Tensor) -> Tensor:
        logits = kept(windows)
        logits[0] = torch.nan
        return logits

    kept = engine.forward
    object.__setattr__(engine, "forward", overflow)
    assert log_probabilities(network, block).isfinite().all()


def test_a_network_that_is_not_folded_runs_as_it_is(make_classifier, make_scene):
    class Other(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, windows: Tensor) -> Tensor:
            return self.inner(windows)

    classifier = make_classifier(experts=False)
    block = prepared(classifier, make_scene(9, 10))
    expected = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    classifier.network = Other(classifier.network)
    found = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28), block)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def hypersigma(bands: int) -> HyperSigmaClassifier:
    """A tiny classifier with random weights."""
    torch.manual_seed(0)
    size = TransformerSize(dim=24, depth=4, heads=3, out_indices=(0, 1, 2, 3))
    network = FusionClassifier(ClassifierConfig(4, 3, 9, 2, 9, size, (24, 24)))
    spectral = PrincipalComponents(torch.zeros(bands), torch.randn(bands, 4))
    return HyperSigmaClassifier(network, spectral, bands=torch.arange(bands), n_bands=bands).eval()


def test_hypersigma_answers_in_16_bits_with_the_labels_of_float32(make_scene, monkeypatch):
    scene = make_scene(24, 30)
    classifier = hypersigma(scene.sizes["band"])
    block = prepared(classifier, scene)
    sure = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    monkeypatch.setattr(screening, "quick_dtypes", lambda device: (torch.bfloat16,))
    monkeypatch.setattr(screening, "BASE", classifier.network.config.size)
    network = PixelNetwork(classifier, CPU, memory=1 << 28)
    found = log_probabilities(network, block)
    assert network.precision == "bfloat16"
    assert network.counts.rechecked < 0.5 * len(block.pixels)
    assert torch.equal(found.argmax(1), sure.argmax(1))
    torch.testing.assert_close(found, sure, atol=0.02, rtol=0)


def test_a_small_hypersigma_stays_in_float32_on_a_processor(make_scene, monkeypatch):
    monkeypatch.setattr(screening, "quick_dtypes", lambda device: (torch.bfloat16,))
    network = PixelNetwork(hypersigma(make_scene(9, 10).sizes["band"]), CPU, memory=1 << 28)
    assert network.precision == "float32"


@pytest.mark.parametrize("context", [True, False])
def test_both_layouts_of_the_network_say_the_same(make_classifier, make_scene, monkeypatch, context):
    classifier = make_classifier(context=context)
    block = prepared(classifier, make_scene(9, 10))
    expected = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    monkeypatch.setattr(screening, "FeatureMajorForward", TokenMajorForward)
    found = log_probabilities(PixelNetwork(classifier, CPU, memory=1 << 28, float32=True), block)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_batches_grow_with_memory_and_shrink_with_the_network(make_classifier):
    classifier = make_classifier()
    large = PixelNetwork(classifier, CPU, memory=1 << 30)._full.runner.batch_size
    small = PixelNetwork(classifier, CPU, memory=1 << 20)._full.runner.batch_size
    assert 1 <= small < large
    assert PixelNetwork(classifier, CPU, memory=1 << 30, batch_size=5)._full.runner.batch_size == 5


def test_the_margin_is_between_the_two_best():
    values = torch.tensor([[0.0, -1.0, -5.0], [-3.0, -3.0, -0.5]])
    assert margins(values).tolist() == [1.0, 2.5]
    assert margins(values, torch.tensor([[1, 0], [2, 0]])).tolist() == [-1.0, 2.5]
    assert margins(values[:, :1]).tolist() == [float("inf")] * 2
