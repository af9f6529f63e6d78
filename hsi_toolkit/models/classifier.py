"""Everything a trained classifier needs to label the pixels of a scene, in plain tensors.

A model joins two views of a pixel: HSIMAE on its window, and cheap spectral experts on its filtered
spectrum. Where a scene is coarse, so that neighbours are mostly of other classes, training decides against
context: the network then sees every window collapsed to its sharpened middle pixel.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.experts import ExpertStack, SpectralFeatures
from hsi_toolkit.models.hsimae import DualViT, Encoder, HSIMAEConfig, HSIViT, aggregate
from hsi_toolkit.models.masking import JointMask
from hsi_toolkit.models.spatial_filter import SpatialFilter

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

# Values of windows prepared at a time by ``forward``: bounds its float32 copies.
_CHUNK_VALUES = 8_000_000


class SceneClassifier(nn.Module):
    """HSIMAE and spectral experts, with the preprocessing fitted with them.

    A block of a scene, read with a halo of ``radius`` pixels (mirrored at the scene's edge), goes through
    ``features`` (cut into windows for ``network_logits``) and ``spectra`` (pixel by pixel for
    ``expert_logits``), and ``combine`` joins the two. No spatial step reaches farther than ``radius``.

    Attributes:
        radius: reach of a window in pixels; its side is ``2 * radius + 1``.
        n_bands: bands of the scenes it takes; ``bands`` are the indices of those used.
        n_classes: number of classes K.
        context: whether the network sees windows. If not, only the middle pixel of a window counts and
            ``network_logits`` also takes windows of one pixel.
        network_weight: share of the network in the mean with the experts, 0 to 1.
    """

    bands: Tensor

    def __init__(
        self,
        network: HSIViT,
        spectral: SpectralFeatures,
        experts: ExpertStack | None,
        spatial_filter: SpatialFilter,
        *,
        bands: Tensor,
        n_bands: int,
        context: bool,
        network_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.network, self.spectral, self.experts, self.filter = network, spectral, experts, spatial_filter
        self.register_buffer("bands", bands.long())
        self.n_bands, self.context, self.network_weight = n_bands, context, network_weight
        self.radius: int = network.config.img_size // 2
        self.n_classes: int = network.cls_head.out_features

    def features(self, block: Tensor) -> Tensor:
        """What the network sees of each pixel, (F, H, W), of a block (bands, H, W) of a scene.

        With ``context`` these are the components of the spectra as they are, and every pixel of the result
        counts. Without, they are of the filtered spectra, and right ``radius`` pixels from the block's edge.
        Pixels without data are NaN.
        """
        spectra = self._used(block) if self.context else self.spectra(block)
        _, height, width = spectra.shape
        return self.spectral.components(spectra.flatten(1).T).T.reshape(-1, height, width)

    def spectra(self, block: Tensor) -> Tensor:
        """What the experts see: the used bands of a block (bands, H, W), filtered over neighbouring pixels.

        Right ``radius`` pixels from the block's edge; pixels without data are NaN.
        """
        filtered: Tensor = self.filter(self._used(block))
        return filtered

    def network_logits(self, windows: Tensor) -> Tensor:
        """The network's logits (N, K) of windows (N, F, side, side) of ``features``.

        Pixels without data count as equal to the middle one. Without ``context`` the windows may be of any
        odd side, one included.
        """
        middle = windows.shape[-1] // 2
        centres = windows[:, :, middle, middle]
        if not self.context:
            return pixel_logits(self.network, centres)
        seen = torch.where(windows.isnan(), centres[:, :, None, None], windows)
        logits: Tensor = self.network(seen.unsqueeze(1))
        return logits

    def expert_logits(self, pixels: Tensor) -> Tensor | None:
        """The experts' log-probabilities (N, K) of pixels (N, used bands) of ``spectra``."""
        if self.experts is None:
            return None
        logits: Tensor = self.experts(pixels, self.spectral.with_shape(pixels))
        return logits

    def combine(self, network_logits: Tensor, expert_logits: Tensor | None) -> Tensor:
        """Log-probabilities (N, K): the log of the weighted mean of both sides' probabilities."""
        network = F.log_softmax(network_logits.float(), dim=1)
        if expert_logits is None or self.network_weight == 1.0:
            return network
        if self.network_weight == 0.0:
            return expert_logits
        return torch.logaddexp(
            network + math.log(self.network_weight), expert_logits + math.log(1.0 - self.network_weight)
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Log-probabilities (N, K) of the middle pixels of windows (N, bands, side, side) of a scene."""
        chunk = max(1, _CHUNK_VALUES // (windows[0].numel() or 1)) if len(windows) else 1
        return torch.cat([self._classify(part) for part in torch.split(windows, chunk)])

    def _classify(self, windows: Tensor) -> Tensor:
        used = windows[:, self.bands]
        spectra = self.filter.centres(used)
        if self.context:
            features = self.spectral.components(used.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        else:
            features = self.spectral.components(spectra)[:, :, None, None]
        return self.combine(self.network_logits(features), self.expert_logits(spectra))

    def _used(self, block: Tensor) -> Tensor:
        if block.shape[0] != self.n_bands:
            raise ModelError(
                f"The model was trained on {self.n_bands} bands, but the scene has {block.shape[0]}.",
                "Use a scene of the same sensor and product.",
            )
        return block[self.bands]

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Json]]:
        """Tensors by name (the network's under ``network.``) and JSON-able metadata; see ``from_tensors``."""
        forest_depth = None if self.experts is None else self.experts.forest.depth
        metadata: dict[str, Json] = {
            "network": asdict(self.network.config),
            "n_classes": self.n_classes,
            "n_bands": self.n_bands,
            "context": self.context,
            "network_weight": self.network_weight,
            "filter": {"sigma": self.filter.sigma, "amount": self.filter.amount},
            "forest_depth": forest_depth,
        }
        return {name: tensor.contiguous() for name, tensor in self.state_dict().items()}, metadata

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Json]) -> Self:
        """The classifier, in evaluation mode, that ``to_tensors`` took apart.

        Raises:
            ModelError: tensors or metadata are missing or do not fit each other.
        """
        try:
            return cls._assemble(tensors, metadata).eval()
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise ModelError(
                f"The model's parts do not fit together ({error}).", "Train or download the model again."
            ) from error

    @classmethod
    def _assemble(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Json]) -> Self:
        config = HSIMAEConfig(**metadata["network"])  # type: ignore[arg-type]
        network = HSIViT(config, int(metadata["n_classes"]))  # type: ignore[arg-type]
        network.load_state_dict(_under(tensors, "network"))
        depth = metadata["forest_depth"]
        experts = None
        if depth is not None:
            experts = ExpertStack.from_tensors(_under(tensors, "experts"), int(depth))  # type: ignore[arg-type]
        settings: dict[str, float] = metadata["filter"]  # type: ignore[assignment]
        return cls(
            network,
            SpectralFeatures(**_under(tensors, "spectral")),
            experts,
            SpatialFilter(settings["sigma"], settings["amount"], config.img_size // 2),
            bands=tensors["bands"],
            n_bands=int(metadata["n_bands"]),  # type: ignore[arg-type]
            context=bool(metadata["context"]),
            network_weight=float(metadata["network_weight"]),  # type: ignore[arg-type]
        )


def pixel_logits(network: HSIViT | DualViT, pixels: Tensor) -> Tensor:
    """Logits (N, K) of single pixels (N, F), without any neighbour; see ``pixel_embedding``."""
    logits: Tensor = network.cls_head(pixel_embedding(network, pixels))
    return logits


def pixel_embedding(network: Encoder, pixels: Tensor) -> Tensor:
    """What the head sees, (N, T*D), of single pixels (N, F), without any neighbour.

    The network sees the middle cell of a window alone, all of it equal to the pixel, as if the other cells
    were masked: a ninth of the tokens of a window.
    """
    layout = network.config
    tokens = pixels.reshape(-1, layout.groups, layout.b_patch_size)
    tokens = tokens.repeat_interleave(layout.patch_size**2, dim=2).repeat_interleave(layout.cells, dim=1)
    middle = layout.cells // 2 + layout.cells * torch.arange(layout.groups, device=pixels.device)
    ids = middle.expand(len(pixels), -1)
    encoded = network.encode_visible(tokens, JointMask(ids, ids, len_t=layout.groups, len_l=1))
    return aggregate(encoded, layout.groups)


def _under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }
