"""Few-label tasks drawn from labelled scenes: compact clusters to learn from, pixels elsewhere to judge.

An episode is what a user does, in small: some pixels of each class lie together in clusters, and the others
are to be told apart. A ridge regression on a network's embedding of the labelled pixels, in closed form,
classifies the others, so that its error teaches the embedding (Bertinetto et al. 2019, "Meta-learning with
differentiable closed-form solvers", ICLR).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.errors import SceneError
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.spectral import GroupwisePCA

Index = NDArray[np.int64]

# A class of a scene takes part in episodes if it has at least so many pixels.
LEAST_PIXELS = 80
_CLUSTERS = 4
# How far from its middle a cluster may take pixels, and how far the judged ones stay away from it.
_REACH, _GAP = 6, 5
_MOST_CLASSES = 9
# Labelled pixels a class, of which an episode draws one number.
_LABELS = (4, 8, 12, 20)
_JUDGED = 12


@dataclass(frozen=True, eq=False)
class EpisodeScene:
    """A scene as pretraining keeps it.

    Attributes:
        features: (F, H + 2 r, W + 2 r) float16, components of the spectra, mirrored at the edge for windows
            that reach ``radius`` = r pixels.
        blurred: (F, H, W) float16, their Gaussian mean over neighbours, for sharpening.
        positions: (n, 2) rows and columns of the pixels of each class that has enough; none without labels.
        radius: reach of a window.
    """

    features: Tensor
    blurred: Tensor
    positions: tuple[Index, ...]
    radius: int

    @classmethod
    def of(cls, scene: xr.DataArray, classes: Index | None, model: HSIMAEConfig) -> Self:
        """A scene with dims ``("band", "y", "x")`` and the class of each pixel (H, W), 0 where unknown.

        Raises:
            SceneError: it has a pixel without data, or fewer good bands than features.
        """
        values = scene.transpose("band", "y", "x").to_numpy()
        if "good" in scene.coords:
            values = values[scene["good"].to_numpy()]
        if not np.isfinite(values).all():
            raise SceneError(
                "A pixel of the scene has no data.", "Give a part of it that has data throughout."
            )
        bands, height, width = values.shape
        pixels = values.reshape(bands, -1).T
        components = GroupwisePCA(model.bands, groups=model.groups).fit(pixels).transform(pixels)
        features = np.ascontiguousarray(components.T).reshape(-1, height, width).astype(np.float32)
        radius = model.img_size // 2
        padded = np.pad(features, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
        labels = np.zeros((height, width), np.int64) if classes is None else classes
        found = (np.argwhere(labels == label) for label in np.unique(labels[labels > 0]))
        return cls(
            torch.from_numpy(padded).half(),
            torch.from_numpy(gaussian_filter(features, (0, 1, 1), radius=radius)).half(),
            tuple(positions for positions in found if len(positions) >= LEAST_PIXELS),
            radius,
        )

    @property
    def labelled(self) -> bool:
        """Whether episodes can be drawn."""
        return len(self.positions) > 1

    def windows(self, positions: Index) -> Tensor:
        """Windows (n, F, side, side) float32 around rows and columns (n, 2)."""
        reach = torch.arange(2 * self.radius + 1)
        rows, columns = torch.from_numpy(positions).T
        cut = self.features[:, rows[:, None, None] + reach[:, None], columns[:, None, None] + reach]
        return cut.permute(1, 0, 2, 3).float()

    def pixels(self, positions: Index, sharpening: float) -> Tensor:
        """Features (n, F) float32 of single pixels, sharpened: 0 leaves them, 1 adds what blurring takes."""
        rows, columns = torch.from_numpy(positions).T
        own = self.features[:, rows + self.radius, columns + self.radius].float()
        return (own + sharpening * (own - self.blurred[:, rows, columns].float())).T.contiguous()

    def anywhere(self, n: int, rng: np.random.Generator) -> Index:
        """Random rows and columns (n, 2)."""
        return rng.integers(0, self.blurred.shape[1:], (n, 2))


@dataclass(frozen=True, eq=False)
class Episode:
    """A few-label task: rows and columns (n, 2) and classes (n,) of labelled and of judged pixels."""

    labelled: Index
    labels: Tensor
    judged: Index
    truth: Tensor
    n_classes: int


def draw_episode(scene: EpisodeScene, rng: np.random.Generator, most: int | None = None) -> Episode:
    """An episode of two to nine classes of a labelled scene, at most ``most`` labelled pixels in each."""
    count = int(rng.integers(2, min(len(scene.positions), _MOST_CLASSES) + 1))
    n = int(rng.choice([n for n in _LABELS if most is None or n <= most]))
    labelled, judged = [], []
    for number in rng.permutation(len(scene.positions))[:count]:
        positions = scene.positions[number]
        clusters = _clusters(positions, n, rng)
        apart = np.abs(positions[:, None] - clusters[None]).max(axis=2).min(axis=1)
        far = np.flatnonzero(apart >= _GAP)
        free = far if len(far) >= _JUDGED else np.argsort(-apart)[:_JUDGED]
        labelled.append(clusters)
        judged.append(positions[rng.choice(free, _JUDGED, replace=False)])
    return Episode(
        np.concatenate(labelled),
        torch.arange(count).repeat_interleave(n),
        np.concatenate(judged),
        torch.arange(count).repeat_interleave(_JUDGED),
        count,
    )


def _clusters(positions: Index, n: int, rng: np.random.Generator) -> Index:
    """``n`` of the positions (m, 2) in about four compact clusters, none twice."""
    free = np.ones(len(positions), bool)
    found = np.empty(0, np.int64)
    while len(found) < n:
        middle = rng.choice(np.flatnonzero(free))
        distance = np.square(positions - positions[middle]).sum(axis=1) + rng.random(len(positions)) / 2
        distance[~free] = np.inf
        nearest = np.argsort(distance)[: min(-(-n // _CLUSTERS), n - len(found))]
        nearest = nearest[distance[nearest] <= _REACH**2 + 0.5]
        free[nearest] = False
        found = np.concatenate([found, nearest])
    return positions[found]


def ridge_scores(labelled: Tensor, labels: Tensor, others: Tensor, ridge: Tensor) -> Tensor:
    """Scores (m, K) of embeddings (m, D) by a ridge regression of one-hot classes on ``labelled`` (n, D).

    ``ridge`` is the penalty a labelled pixel. The dual form is solved: pixels are fewer than dimensions.
    """
    centre = labelled.mean(dim=0)
    known, targets = labelled - centre, F.one_hot(labels).to(labelled.dtype)
    gram = known @ known.T + ridge * len(known) * torch.eye(len(known), device=known.device)
    scores: Tensor = (others - centre) @ (known.T @ torch.linalg.solve(gram, targets - targets.mean(dim=0)))
    return scores
