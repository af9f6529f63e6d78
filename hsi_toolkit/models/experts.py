"""Classical classifiers as plain tensors, so that a model file can hold them and any device run them."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Pixels that walk a forest at a time: bounds the (pixels, trees) indices in memory.
_FOREST_CHUNK = 4096


class SpectralFeatures(nn.Module):
    """Whitened group-wise principal components of spectra, and of their shapes.

    The shape of a spectrum is the spectrum divided by its length (plus ``floor``, so that a black pixel's
    noise is not blown up): the same material in sun and shade has one shape.
    """

    mean: Tensor
    matrix: Tensor
    shape_mean: Tensor
    shape_matrix: Tensor
    floor: Tensor

    def __init__(
        self, mean: Tensor, matrix: Tensor, shape_mean: Tensor, shape_matrix: Tensor, floor: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)
        self.register_buffer("shape_mean", shape_mean)
        self.register_buffer("shape_matrix", shape_matrix)
        self.register_buffer("floor", floor)

    @property
    def n_features(self) -> int:
        """Number of components of the spectra."""
        return int(self.matrix.shape[1])

    def components(self, spectra: Tensor) -> Tensor:
        """Components (…, n_features) of spectra (…, bands)."""
        scores: Tensor = (spectra - self.mean) @ self.matrix
        return scores

    def with_shape(self, spectra: Tensor) -> Tensor:
        """Components of spectra (N, bands), then those of their shapes."""
        shapes = shapes_of(spectra, self.floor)
        return torch.cat([self.components(spectra), (shapes - self.shape_mean) @ self.shape_matrix], dim=1)


def shapes_of(spectra: Tensor, floor: Tensor) -> Tensor:
    """Spectra (N, bands) divided by their Euclidean length plus ``floor``."""
    shapes: Tensor = spectra / (torch.linalg.vector_norm(spectra, dim=1, keepdim=True) + floor)
    return shapes


class LinearExpert(nn.Module):
    """Log-probabilities that are linear in standardised values, as those of linear discriminant analysis."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, values: Tensor) -> Tensor:
        """Log-probabilities (N, K) of values (N, features)."""
        return F.log_softmax((values - self.mean) / self.scale @ self.weight + self.bias, dim=1)


class ForestExpert(nn.Module):
    """The mean class frequencies of the leaves that a forest's trees lead to.

    All nodes stand in one table: ``feature`` and ``threshold`` (M,), the ``branches`` (M, 2) below, which
    lead from a leaf to itself, class frequencies ``values`` (M, K), and ``roots`` (T,). ``depth`` is the
    longest path's length.
    """

    feature: Tensor
    threshold: Tensor
    branches: Tensor
    values: Tensor
    roots: Tensor

    def __init__(
        self, feature: Tensor, threshold: Tensor, branches: Tensor, values: Tensor, roots: Tensor, depth: int
    ) -> None:
        super().__init__()
        self.register_buffer("feature", feature)
        self.register_buffer("threshold", threshold)
        self.register_buffer("branches", branches)
        self.register_buffer("values", values)
        self.register_buffer("roots", roots)
        self.depth = depth

    def forward(self, features: Tensor) -> Tensor:
        """Class probabilities (N, K) of features (N, n_features)."""
        return torch.cat([self._walk(chunk) for chunk in torch.split(features, _FOREST_CHUNK)])

    def _walk(self, features: Tensor) -> Tensor:
        node = self.roots.expand(len(features), -1).long()
        for _ in range(self.depth):
            right = features.gather(1, self.feature[node].long()) > self.threshold[node]
            node = self.branches[node, right.long()].long()
        mean: Tensor = self.values[node].mean(dim=1)
        return mean


class ExpertStack(nn.Module):
    """The mean probability of spectral classifiers that err differently.

    One half are linear discriminants, of the spectrum and of its components with shapes; the other is a
    forest on the latter.
    """

    def __init__(self, spectral: LinearExpert, component: LinearExpert, forest: ForestExpert) -> None:
        super().__init__()
        self.spectral, self.component, self.forest = spectral, component, forest

    def forward(self, spectra: Tensor, features: Tensor) -> Tensor:
        """Log-probabilities (N, K) of spectra (N, bands) with their ``features`` (``with_shape``)."""
        linear = (self.spectral(spectra).exp() + self.component(features).exp()) / 2
        mean = (linear + self.forest(features)) / 2
        logits: Tensor = mean.clamp_min(1e-6).log()
        return logits

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], depth: int) -> Self:
        """The stack whose ``state_dict`` was ``tensors``."""
        parts = {name: _under(tensors, name) for name in ("spectral", "component", "forest")}
        return cls(
            LinearExpert(**parts["spectral"]),
            LinearExpert(**parts["component"]),
            ForestExpert(**parts["forest"], depth=depth),
        )


def _under(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }
