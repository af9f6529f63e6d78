"""HyperSIGMA as a classifier of scenes: principal components, windows, the fused network."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.experts import SpectralFeatures
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig, FusionClassifier
from hsi_toolkit.models.hypersigma.description import described, restored
from hsi_toolkit.models.metadata import Json


class PrincipalComponents(SpectralFeatures):
    """Whitened principal components of spectra; their shapes have none."""

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        nn.Module.__init__(self)
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)


class HyperSigmaClassifier(SceneClassifier):
    """The fused classifier on windows of whitened principal components, for scenes.

    It does what a ``SceneClassifier`` does, without experts: the network alone decides, and always sees the
    window. The published background class is left out, so that output 0 is the first class.

    Attributes:
        network: takes windows (N, components, side, side).
    """

    network: FusionClassifier  # type: ignore[assignment]
    spectral: PrincipalComponents

    def __init__(
        self, network: FusionClassifier, spectral: PrincipalComponents, *, bands: Tensor, n_bands: int
    ) -> None:
        nn.Module.__init__(self)
        self.network, self.spectral, self.experts = network, spectral, None
        self.register_buffer("bands", bands.long())
        self.n_bands, self.context, self.network_weight = n_bands, True, 1.0
        self.radius = network.config.img_size // 2
        self.n_classes = network.config.classes

    def network_logits(self, windows: Tensor) -> Tensor:
        """The network's logits (N, K) of windows (N, F, side, side) of ``features``.

        Pixels without data count as equal to the middle one.
        """
        middle = windows[:, :, self.radius, self.radius, None, None]
        logits: Tensor = self.network(torch.where(windows.isnan(), middle, windows))
        return logits

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Json]]:
        """Tensors by name (the network's under ``network.``) and JSON-able metadata; see ``from_tensors``."""
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        return tensors, {"network": described(self.network.config), "n_bands": self.n_bands}

    def _classify(self, windows: Tensor) -> Tensor:
        used = windows[:, self.bands].permute(0, 2, 3, 1)
        features = self.spectral.components(used).permute(0, 3, 1, 2)
        return self.combine(self.network_logits(features), None)

    @classmethod
    def _assemble(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Json]) -> Self:
        settings = metadata["network"]
        if not isinstance(settings, Mapping):
            raise ValueError("its network is not described")
        network = FusionClassifier(restored(ClassifierConfig, settings))
        network.load_state_dict(
            {
                name.removeprefix("network."): value
                for name, value in tensors.items()
                if name.startswith("network.")
            }
        )
        return cls(
            network,
            PrincipalComponents(tensors["spectral.mean"], tensors["spectral.matrix"]),
            bands=tensors["bands"],
            n_bands=int(metadata["n_bands"]),  # type: ignore[arg-type]
        )
