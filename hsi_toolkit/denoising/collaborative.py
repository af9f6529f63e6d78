"""Collaborative filtering: similar patches of a stack of images are found together and filtered together.

The block matching of BM3D (Dabov et al. 2007), made for the component images of a scene: patches are matched
once for all images, and each group is turned to its own principal spectra before it is transformed, because
around one place few of the components vary.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hsi_toolkit.progress import Progress

REACH = 32
"""Rows and columns around a pixel that its filtered value can depend on."""

STEP = 4
"""Distance of reference patches; images cut at multiples of it are filtered alike, whole or in parts."""

_RADIUS = 10  # similar patches are sought this far from the reference patch
_MATCHED_IMAGES = 3  # the leading images, whose differences dwarf those of the others
_TILE = 32  # reference patches a side that are matched together; their distances fit the cache
_BATCH = 1 << 22  # values of the groups that are filtered together


@dataclass(frozen=True)
class _Stage:
    """Side of the patches and number of similar ones in a group."""

    side: int
    similar: int


_PILOT = _Stage(side=4, similar=16)
_FINAL = _Stage(side=5, similar=16)
_HARD_THRESHOLD = 2.9  # standard deviations of the noise; BM3D has 2.7


def collaborative_filter(images: Tensor, progress: Progress | None = None) -> Tensor:
    """Remove white noise of unit variance, independent from image to image.

    A pilot estimate comes from hard-thresholded groups of similar patches; groups found in the pilot are then
    weighted coefficient by coefficient as Wiener's filter would, with the pilot for the signal's power.

    Args:
        images: (n, rows, columns) float32, strongest first; any device.
        progress: asked for cancellation as tiles are done.

    Returns:
        The filtered images, of the same shape.
    """
    count, rows, columns = images.shape
    if count == 0:
        return images
    padded = _padded(images)
    pilot = _filter_groups(padded, None, _PILOT, progress or Progress())
    filtered = _filter_groups(padded, pilot, _FINAL, progress or Progress())
    return filtered[:, :rows, :columns]


def _padded(images: Tensor) -> Tensor:
    """The images grown at the bottom and right so that reference patches of both stages cover them."""
    rows, columns = images.shape[1:]
    # Whole steps, so that the pilot's patches cover all, and one more for the larger patches that follow.
    grow = [-(-n // STEP) * STEP + STEP - n for n in (rows, columns)]
    mode = "reflect" if grow[0] < rows and grow[1] < columns else "replicate"
    return F.pad(images[None], (0, grow[1], 0, grow[0]), mode=mode)[0]


def _filter_groups(images: Tensor, pilot: Tensor | None, stage: _Stage, progress: Progress) -> Tensor:
    """One stage: hard thresholds without a pilot, Wiener weights with one."""
    count, rows, columns = images.shape
    pixels = images.reshape(count, -1).T.contiguous()
    known = None if pilot is None else pilot.reshape(count, -1).T.contiguous()
    total, weights = torch.zeros_like(pixels), torch.zeros_like(pixels[:, :1])
    within = torch.arange(stage.side, device=images.device)
    patch = (within[:, None] * columns + within).reshape(-1)
    transform = _Transform(stage, images)
    guide = (images if pilot is None else pilot)[:_MATCHED_IMAGES]
    for top in range(0, (rows - stage.side) // STEP + 1, _TILE):
        for left in range(0, (columns - stage.side) // STEP + 1, _TILE):
            progress.check()
            positions = _similar_patches(guide, stage, top * STEP, left * STEP)
            size = max(1, _BATCH // (positions.shape[1] * len(patch) * count))
            for group in torch.split(positions, size):
                index = (group[..., None] + patch).reshape(-1)
                shape = (*group.shape, len(patch), count)
                estimate, weight = transform.shrink(
                    pixels[index].reshape(shape), None if known is None else known[index].reshape(shape)
                )
                total.index_add_(0, index, (estimate * weight[:, None, None, None]).reshape(-1, count))
                weights.index_add_(0, index, weight.repeat_interleave(len(index) // len(group))[:, None])
    return (total / weights).T.reshape(images.shape)


def _similar_patches(guide: Tensor, stage: _Stage, top: int, left: int) -> Tensor:
    """Where the patches lie that resemble each reference patch of a tile best.

    Returns:
        (references, similar) index of each patch's first pixel in the flattened image.
    """
    _, rows, columns = guide.shape
    side = stage.side
    height = min(_TILE, (rows - side - top) // STEP + 1) * STEP - STEP + side
    width = min(_TILE, (columns - side - left) // STEP + 1) * STEP - STEP + side
    tile = guide[:, top : top + height, left : left + width]
    # The surroundings that exist; where they end, NaN keeps patches from reaching beyond.
    y0, x0 = top - _RADIUS, left - _RADIUS
    y1, x1 = top + height + _RADIUS, left + width + _RADIUS
    around = guide[:, max(0, y0) : y1, max(0, x0) : x1]
    missing = (max(0, -x0), max(0, x1 - columns), max(0, -y0), max(0, y1 - rows))
    around = F.pad(around, missing, value=math.nan)
    distances = []
    for shift in range(2 * _RADIUS + 1):
        band = around[:, shift : shift + height]
        shifted = band.unfold(2, width, 1)  # (images, height, shifts, width), a view
        squares = (shifted - tile[:, :, None]).square_().sum(0).transpose(0, 1)
        distances.append(F.avg_pool2d(squares[:, None], side, STEP)[:, 0])
    scores = torch.cat(distances)
    scores = scores.nan_to_num_(nan=math.inf).reshape(len(scores), -1).T
    scores[:, len(distances) * len(distances) // 2] = -1.0  # the reference patch, first among equals
    similar = min(stage.similar, int(scores.isfinite().sum(1).min()))
    _, chosen = scores.topk(similar, dim=1, largest=False)
    spread = torch.arange(-_RADIUS, _RADIUS + 1, device=guide.device)
    shifts = (spread[:, None] * columns + spread).reshape(-1)
    first = top + STEP * torch.arange((height - side) // STEP + 1, device=guide.device)
    across = left + STEP * torch.arange((width - side) // STEP + 1, device=guide.device)
    return (first[:, None] * columns + across).reshape(-1, 1) + shifts[chosen]


class _Transform:
    """The transform of groups (groups, similar, pixels of a patch, images) in which signal is sparse."""

    def __init__(self, stage: _Stage, like: Tensor) -> None:
        cosines = _cosines(stage.side)
        self._spatial = torch.kron(cosines, cosines).to(like)
        self._like = like

    def shrink(self, noisy: Tensor, pilot: Tensor | None) -> tuple[Tensor, Tensor]:
        """Groups with their noise reduced, and the weight that each deserves, (groups,)."""
        groups, similar, _, images = noisy.shape
        across = _cosines(similar).to(self._like)
        if pilot is None:
            spectrum = self._forward(noisy, across)
            gain = (spectrum.abs() > _HARD_THRESHOLD).to(spectrum)
            gain[:, 0, 0] = 1.0  # the group's mean is kept
            estimate = self._backward(spectrum * gain, across)
        else:
            axes = _principal_axes(pilot)
            power = self._forward(pilot.reshape(groups, -1, images) @ axes, across, noisy.shape).square_()
            gain = power.div_(power + 1.0)
            spectrum = self._forward(noisy.reshape(groups, -1, images) @ axes, across, noisy.shape)
            rotated = self._backward(spectrum.mul_(gain), across).reshape(groups, -1, images)
            estimate = (rotated @ axes.transpose(1, 2)).reshape(noisy.shape)
        return estimate, 1.0 / gain.square_().sum((1, 2, 3)).clamp_min_(1.0)

    def _forward(self, values: Tensor, across: Tensor, shape: torch.Size | None = None) -> Tensor:
        groups, similar, pixels, images = shape or values.shape
        spatial = self._spatial @ values.reshape(-1, pixels, images)
        spectrum = across @ spatial.reshape(groups, similar, pixels * images)
        return spectrum.reshape(groups, similar, pixels, images)

    def _backward(self, spectrum: Tensor, across: Tensor) -> Tensor:
        groups, similar, pixels, images = spectrum.shape
        spatial = across.T @ spectrum.reshape(groups, similar, pixels * images)
        return (self._spatial.T @ spatial.reshape(-1, pixels, images)).reshape(spectrum.shape)


def _principal_axes(pilot: Tensor) -> Tensor:
    """Principal axes of the spectra in each group, (groups, images, images) orthonormal columns."""
    spectra = pilot.reshape(len(pilot), -1, pilot.shape[-1])
    centred = spectra - spectra.mean(1, keepdim=True)
    axes: Tensor = torch.linalg.eigh(centred.transpose(1, 2) @ centred).eigenvectors
    return axes


def _cosines(size: int) -> Tensor:
    """The orthonormal discrete cosine transform (DCT-II), (size, size)."""
    position = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (position + 0.5) * position[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
