"""Collaborative filtering: similar patches of a stack of images are found together and filtered together.

The block matching of BM3D (Dabov et al. 2007), made for the component images of a scene: patches are matched
once for all images, and each group is turned to its own principal spectra before it is weighted, because
around one place few of the components vary. Rows go in and come out as they are done, each computed once, so
that a scene of any length is filtered as if it were held whole.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hsi_toolkit.progress import Progress

_STEP = 4  # distance of the reference patches
_RADIUS = 10  # similar patches are sought this far from the reference patch
_SHIFTS = 2 * _RADIUS + 1
_SIMILAR = 16  # patches in a group
_MATCHED_IMAGES = 3  # the leading images, whose differences dwarf those of the others
_TURNED_IMAGES = 32  # the images that have signal enough for principal spectra of their own around a place
_BLOCK = 4  # reference patches a side whose distances are one matrix product
_BAND = 8  # rows of reference patches that are filtered at a time
_COARSE = 4  # cosines a side by which patches are compared
_TILE_VALUES = 1 << 21  # of the rows of patches around a tile
_GROUP_VALUES = 1 << 20  # of the groups that are filtered together
_HARD_THRESHOLD = 2.9  # standard deviations of the noise; BM3D has 2.7
_PILOT_SIDE, _FINAL_SIDE = 4, 5  # of the patches, pixels

BAND_ROWS = _BAND * _STEP
"""Rows of the images between one band of reference patches and the next."""


def collaborative_filter(images: Tensor, progress: Progress | None = None) -> Tensor:
    """Remove white noise of unit variance, independent from image to image.

    Args:
        images: (n, rows, columns) float32, strongest first; any device.
        progress: asked for cancellation as tiles are done.

    Returns:
        The filtered images, of the same shape.
    """
    whole = CollaborativeFilter(len(images), images.shape[2], images.device, progress)
    return torch.cat([whole.push(images), whole.finish()], dim=1)


class CollaborativeFilter:
    """``collaborative_filter`` for images that come in rows from top to bottom.

    A pilot estimate comes from hard-thresholded groups of similar patches; groups found in the pilot are then
    weighted coefficient by coefficient as Wiener's filter would, with the pilot for the signal's power. About
    a hundred rows are held.

    Args:
        count: number of images.
        columns: their width.
        device: where to compute.
        progress: asked for cancellation as tiles are done.
    """

    def __init__(
        self, count: int, columns: int, device: torch.device, progress: Progress | None = None
    ) -> None:
        self._columns, self._given, self._done = columns, 0, 0
        width = columns + _growth(columns)
        progress = progress or Progress()
        self._pilot = _Stage(count, width, _PILOT_SIDE, device, progress)
        self._final = _Stage(count, width, _FINAL_SIDE, device, progress)
        self._last = self._noisy = torch.empty(count, 0, width, device=device)

    def push(self, rows: Tensor) -> Tensor:
        """Take (n, rows, columns) in; gives the rows that are done, (n, any number of rows, columns)."""
        self._given += rows.shape[1]
        wide = _grown(rows, 2)
        self._last = torch.cat([self._last, wide], dim=1)[:, -2 * _STEP :].clone()
        return self._cropped(self._through(wide, last=False))

    def finish(self) -> Tensor:
        """The rows that are left, once all were pushed."""
        if self._given == 0:
            return self._last[:, :, : self._columns]
        below = _grown(self._last, 1, _growth(self._given))[:, self._last.shape[1] :]
        return self._cropped(self._through(below, last=True))

    def _through(self, rows: Tensor, *, last: bool) -> Tensor:
        self._noisy = torch.cat([self._noisy, rows], dim=1)
        pilot = self._pilot.push(rows, None, last=last)
        noisy, self._noisy = self._noisy[:, : pilot.shape[1]], self._noisy[:, pilot.shape[1] :].clone()
        return self._final.push(noisy, pilot, last=last)

    def _cropped(self, rows: Tensor) -> Tensor:
        done = rows[:, : self._given - self._done, : self._columns]
        self._done += done.shape[1]
        return done


def _growth(length: int) -> int:
    """Pixels by which images are grown, so that the reference patches of both stages cover them.

    To whole steps, which the pilot's patches then cover, and by one more for the larger patches that follow.
    """
    return -length % _STEP + _STEP


def _grown(images: Tensor, dim: int, growth: int | None = None) -> Tensor:
    """The images mirrored at their far end, or with the edge repeated where they are too small for that."""
    length = images.shape[dim]
    growth = _growth(length) if growth is None else growth
    position = torch.arange(length + growth, device=images.device)
    inside = position.clamp_max(length - 1)
    if growth < length:
        inside = torch.where(position < length, position, 2 * (length - 1) - position)
    return images.index_select(dim, inside)


class _Stage:
    """One stage over rows as they come: hard thresholds without a pilot, Wiener weights with one."""

    def __init__(self, count: int, columns: int, side: int, device: torch.device, progress: Progress) -> None:
        self._side, self._columns, self._progress = side, columns, progress
        self._top, self._next = 0, 0  # the first row held, the next row of reference patches
        self._noisy = self._pilot = torch.empty(count, 0, columns, device=device)
        self._total, self._weights = self._noisy, self._noisy[:1]
        self._groups = _Groups(side, count, device)
        across = self._patches(columns)
        column = (_BAND + 4) * _STEP**2 * count * side
        self._tile = min(-(-across // _BLOCK) * _BLOCK, max(1, _TILE_VALUES // column // _BLOCK) * _BLOCK)

    def push(self, noisy: Tensor, pilot: Tensor | None, *, last: bool) -> Tensor:
        """Take rows (n, rows, columns) in, and give those that are done; with the last ones, all."""
        self._noisy = torch.cat([self._noisy, noisy], dim=1)
        self._total = torch.cat([self._total, torch.zeros_like(noisy)], dim=1)
        self._weights = torch.cat([self._weights, torch.zeros_like(noisy[:1])], dim=1)
        if pilot is not None:
            self._pilot = torch.cat([self._pilot, pilot], dim=1)
        done = [noisy[:, :0]]
        while (held := self._top + self._noisy.shape[1]) >= self._needed:
            done.append(self._filter_band(_BAND, pilot is not None))
        while last and (left := self._patches(held) - self._next // _STEP) > 0:
            done.append(self._filter_band(min(_BAND, left), pilot is not None))
        if last:
            done.append(self._release(held))
        return torch.cat(done, dim=1)

    @property
    def _needed(self) -> int:
        """Rows that must have come before the next band can be filtered."""
        return self._next + (_BAND - 1) * _STEP + self._side + _RADIUS

    def _patches(self, length: int) -> int:
        """Reference patches that fit into a length."""
        return max(0, (length - self._side) // _STEP + 1)

    def _filter_band(self, height: int, piloted: bool) -> Tensor:
        across = self._patches(self._columns)
        for left in range(0, across, self._tile):
            self._progress.check()
            self._filter_tile(left * _STEP, height, min(self._tile, across - left), piloted)
        self._next += height * _STEP
        return self._release(self._next - _RADIUS)

    def _filter_tile(self, left: int, height: int, width: int, piloted: bool) -> None:
        """Add the groups of ``height`` x ``width`` reference patches, the first at column ``left``."""
        side = self._side
        extent = [(-(-n // _BLOCK) * _BLOCK - 1) * _STEP + _SHIFTS - 1 + side for n in (height, width)]
        window = _Window(self._next - _RADIUS - self._top, left - _RADIUS, *extent)
        noisy = window.cut(self._noisy)
        pilot = window.cut(self._pilot) if piloted else None
        whole = window.whole_patches(side, *self._noisy.shape[1:]).to(noisy.device)
        guide = noisy if pilot is None else pilot
        positions = self._groups.similar(guide[:_MATCHED_IMAGES], whole, height, width)
        total, weights = self._groups.filtered(noisy, pilot, positions)
        window.add(self._total, total)
        window.add(self._weights, weights)

    def _release(self, stop: int) -> Tensor:
        """The rows above ``stop``, which no other patch will reach."""
        count = max(0, stop - self._top)
        done = self._total[:, :count] / self._weights[:, :count]
        self._noisy, self._total = self._noisy[:, count:].clone(), self._total[:, count:].clone()
        self._weights = self._weights[:, count:].clone()
        self._pilot = self._pilot[:, count:].clone()
        self._top += count
        return done


class _Window:
    """A part of images that may reach beyond them."""

    def __init__(self, top: int, left: int, rows: int, columns: int) -> None:
        self._top, self._left, self._rows, self._columns = top, left, rows, columns

    def _inside(self, rows: int, columns: int) -> tuple[slice, slice]:
        bottom, right = min(rows, self._top + self._rows), min(columns, self._left + self._columns)
        return slice(max(0, self._top), bottom), slice(max(0, self._left), right)

    def cut(self, images: Tensor) -> Tensor:
        """The window of images (n, rows, columns), zero where there is none."""
        y, x = self._inside(*images.shape[1:])
        above, before = y.start - self._top, x.start - self._left
        below = self._rows - above - (y.stop - y.start)
        after = self._columns - before - (x.stop - x.start)
        return F.pad(images[:, y, x], (before, after, above, below))

    def add(self, images: Tensor, window: Tensor) -> None:
        """Add a window (n, rows, columns) to the images where they are."""
        y, x = self._inside(*images.shape[1:])
        rows = slice(y.start - self._top, y.stop - self._top)
        images[:, y, x] += window[:, rows, x.start - self._left : x.stop - self._left]

    def whole_patches(self, side: int, rows: int, columns: int) -> Tensor:
        """(positions down, across) bool, where patches of the window lie wholly in the images."""
        y = torch.arange(self._top, self._top + self._rows - side + 1)
        x = torch.arange(self._left, self._left + self._columns - side + 1)
        return ((y >= 0) & (y <= rows - side))[:, None] & ((x >= 0) & (x <= columns - side))


class _Groups:
    """Patches of one size, the groups they form, and the transform in which the signal of a group is sparse.

    A patch is taken as ``side`` runs of memory, one for each of its rows, whose cosine transform along the
    row was made for all patches at once.
    """

    def __init__(self, side: int, images: int, device: torch.device) -> None:
        self._side, self._images = side, images
        self._within = _cosines(side).to(device, torch.float32)
        self._across = _cosines(_SIMILAR).to(device, torch.float32)
        coarse = _cosines(side)[:_COARSE]
        self._shapes = torch.einsum("ay,bx->abyx", coarse, coarse).reshape(-1, 1, side, side)
        self._shapes = self._shapes.to(device, torch.float32)

    def similar(self, guide: Tensor, whole: Tensor, height: int, width: int) -> Tensor:
        """Where the patches lie that resemble each reference patch of a tile best.

        Patches are compared by their coarse shapes, in which there is the signal but little of the noise.

        Args:
            guide: (images, rows, columns) the window around the tile.
            whole: (positions down, across) bool, the patches that may be chosen.
            height, width: number of reference patches of the tile.

        Returns:
            (similar, references) index of each patch among the positions, the reference patch first.
        """
        shapes = F.conv2d(guide[:, None], self._shapes).flatten(0, 1)
        reach, step = (_BLOCK - 1) * _STEP + _SHIFTS, _BLOCK * _STEP
        norms = shapes.square().sum(0).masked_fill_(~whole, math.inf)
        down, across = (whole.shape[0] - reach) // step + 1, (whole.shape[1] - reach) // step + 1
        norms = norms.unfold(0, reach, step).unfold(1, reach, step).reshape(down * across, 1, -1)
        blocks = shapes.unfold(1, reach, step).unfold(2, reach, step).permute(1, 2, 0, 3, 4)
        candidates = blocks.reshape(down * across, len(shapes), -1)
        within = torch.arange(_BLOCK, device=guide.device)
        middle = _RADIUS + _STEP * within
        references = candidates[:, :, (middle[:, None] * reach + middle).reshape(-1)]
        distances = torch.baddbmm(norms, references.transpose(1, 2), candidates, alpha=-2.0)
        pairs = reach**2
        scores = distances.as_strided(
            (len(distances), _BLOCK, _BLOCK, _SHIFTS, _SHIFTS),
            (_BLOCK**2 * pairs, _BLOCK * pairs + _STEP * reach, pairs + _STEP, reach, 1),
        ).reshape(-1, _SHIFTS**2)
        scores[:, _SHIFTS**2 // 2] = -math.inf  # the reference patch, first among equals
        chosen = scores.topk(_SIMILAR, dim=1, largest=False).indices
        row, column = _numbers(down, across, within)
        columns = whole.shape[1]
        first = (row * columns + column) * _STEP
        positions = first[:, None] + chosen // _SHIFTS * columns + chosen % _SHIFTS
        return positions[(row < height) & (column < width)].T

    def filtered(self, noisy: Tensor, pilot: Tensor | None, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sums of the filtered patches, (n, rows, columns), and of the weights, (1, rows, columns).

        Args:
            noisy, pilot: (n, rows, columns) the window around a tile.
            positions: as ``similar`` gives them.
        """
        side, (_, rows, columns) = self._side, noisy.shape
        across = columns - side + 1
        noisy_runs = self._runs(noisy)
        pilot_runs = None if pilot is None else self._runs(pilot)
        total, weights = torch.zeros_like(noisy_runs), noisy.new_zeros((rows - side + 1) * across)
        below = across * torch.arange(side, device=noisy.device)
        size = max(1, _GROUP_VALUES // (_SIMILAR * side**2 * self._images))
        for group in torch.split(positions, size, dim=1):
            index = (below[:, None, None] + group).reshape(-1)
            if pilot_runs is None:
                weight, estimate = self._thresholded(self._spectra(noisy_runs, index))
            else:
                weight, estimate = self._weighted(
                    self._spectra(noisy_runs, index), self._spectra(pilot_runs, index)
                )
            total.index_add_(0, index, self._patches(estimate))
            weights.index_add_(0, group.reshape(-1), weight.repeat(_SIMILAR))
        shares = weights.expand(1, side**2, -1)
        return self._images_of(total, rows, columns), F.fold(shares, (rows, columns), side)[0]

    def _runs(self, window: Tensor) -> Tensor:
        """Cosine spectra of the rows of all patches, (rows x positions across, side x n)."""
        side, (count, rows, columns) = self._side, window.shape
        across = columns - side + 1
        pixels = window.permute(1, 2, 0)
        shifted = torch.stack([pixels[:, shift : shift + across] for shift in range(side)])
        spectra = (self._within @ shifted.reshape(side, -1)).reshape(side, rows * across, count)
        return spectra.transpose(0, 1).reshape(rows * across, side * count)

    def _images_of(self, runs: Tensor, rows: int, columns: int) -> Tensor:
        """The sum of all rows of patches, each where it lies: the transpose of ``_runs``."""
        side, across = self._side, columns - self._side + 1
        spectra = runs.reshape(rows * across, side, -1).transpose(0, 1)
        shifted = (self._within.T @ spectra.reshape(side, -1)).reshape(side, rows, across, -1)
        pixels = runs.new_zeros(rows, columns, self._images)
        for shift, values in enumerate(shifted):
            pixels[:, shift : shift + across] += values
        return pixels.permute(2, 0, 1)

    def _spectra(self, runs: Tensor, index: Tensor) -> Tensor:
        """Spectra of groups, (side x similar, groups, side, n)."""
        taken = self._within @ runs.index_select(0, index).reshape(self._side, -1)
        spectra = self._across @ taken.reshape(self._side, _SIMILAR, -1)
        return spectra.reshape(self._side * _SIMILAR, -1, self._side, self._images)

    def _patches(self, spectra: Tensor) -> Tensor:
        """Rows of the patches, their own transform left as it is: the transpose of ``_spectra``."""
        rows = self._across.T @ spectra.reshape(self._side, _SIMILAR, -1)
        return (self._within.T @ rows.reshape(self._side, -1)).reshape(-1, self._side * self._images)

    def _thresholded(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """The weight that each group deserves, and with it what stands out of the noise."""
        kept = spectra.abs() > _HARD_THRESHOLD
        kept[0, :, 0] = True  # the group's mean
        weight = 1.0 / kept.sum((0, 2, 3)).to(spectra)
        return weight, spectra.mul_(kept).mul_(weight[:, None, None])

    def _weighted(self, spectra: Tensor, pilot: Tensor) -> tuple[Tensor, Tensor]:
        """The weight that each group deserves, and with it the coefficients weighted by their signal."""
        shape = spectra.shape
        spectra, pilot = (
            each.transpose(0, 1).reshape(shape[1], -1, self._images) for each in (spectra, pilot)
        )
        axes = _principal_axes(pilot[:, :, :_TURNED_IMAGES])
        turned = axes.shape[1]
        for each in (pilot, spectra):
            each[:, :, :turned] = each[:, :, :turned] @ axes
        power = pilot.square_()
        gain = power.div_(power + 1.0)
        spectra *= gain
        weight = 1.0 / gain.square_().sum((1, 2)).clamp_min_(1.0)
        spectra[:, :, :turned] = spectra[:, :, :turned] @ (axes.transpose(1, 2) * weight[:, None, None])
        if turned < self._images:
            spectra[:, :, turned:] *= weight[:, None, None]
        return weight, spectra.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)


def _numbers(down: int, across: int, within: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each reference patch of a tile, block by block."""
    shape = (down, across, len(within), len(within))
    row = len(within) * torch.arange(down, device=within.device)[:, None] + within
    column = len(within) * torch.arange(across, device=within.device)[:, None] + within
    return row[:, None, :, None].expand(shape).reshape(-1), column[None, :, None].expand(shape).reshape(-1)


def _principal_axes(spectra: Tensor) -> Tensor:
    """Principal axes (groups, n, n) of the images of each group (groups, coefficients, n) about its mean."""
    mean = spectra[:, 0].clone()
    spectra[:, 0] = 0
    axes: Tensor = torch.linalg.eigh(spectra.transpose(1, 2) @ spectra).eigenvectors
    spectra[:, 0] = mean
    return axes


def _cosines(size: int) -> Tensor:
    """The orthonormal discrete cosine transform (DCT-II), (size, size)."""
    position = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (position + 0.5) * position[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
