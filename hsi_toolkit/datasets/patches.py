"""The patches of a split of HySpecNet-11k, or of a data set in its layout, for training and testing."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.readers.hyspecnet import Difficulty, Part, read_split

Cube = NDArray[np.float32]

#: Batches that wait to be used; more only take memory.
_AHEAD = 2


@dataclass(frozen=True)
class PatchSet:
    """Patches (bands, rows, columns) float32, values from 0 to 1, all of one shape."""

    paths: tuple[Path, ...]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, dataset: str | Path, difficulty: Difficulty, part: Part) -> "PatchSet":
        """A split of the data set in the folder ``dataset``.

        Raises:
            SceneError: the list or files of patches are missing, or a patch has another shape than the first.
        """
        paths = tuple(patch.data for patch in read_split(Path(dataset), difficulty, part))
        shape = _mapped(paths[0]).shape
        for path in paths:
            found = _mapped(path).shape
            if found != shape:
                raise SceneError(
                    f"{path} has the shape {found}, the first patch of its split {shape}.",
                    "Make all patches of one size and one number of bands.",
                )
        return cls(paths, shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Cube:
        """A patch, values clipped to 0 and 1 and without NaN."""
        cube = np.nan_to_num(np.asarray(_mapped(self.paths[number]), np.float32), nan=0.0)
        return np.clip(cube, 0, 1)

    def batches(
        self, order: Sequence[int], size: int, *, crop: Sequence[tuple[slice, slice]] = (), workers: int = 2
    ) -> Iterator[Cube]:
        """Patches in ``order``, (n, bands, rows, columns) a batch of ``size``, read ahead by threads.

        Args:
            crop: rows and columns of each patch in ``order`` that are used; none for all of them.
            workers: the number of threads.
        """

        def read(place: int) -> Cube:
            patch = self[order[place]]
            return patch[:, crop[place][0], crop[place][1]] if crop else patch

        with ThreadPoolExecutor(max(1, workers)) as pool:
            waiting = []
            for start in range(0, len(order), size):
                places = range(start, min(start + size, len(order)))
                waiting.append([pool.submit(read, place) for place in places])
                if len(waiting) > _AHEAD:
                    yield np.stack([each.result() for each in waiting.pop(0)])
            for batch in waiting:
                yield np.stack([each.result() for each in batch])


def _mapped(path: Path) -> NDArray[np.generic]:
    try:
        cube: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SceneError(f"{path} is no NumPy array, or damaged.", "Download or make it again.") from error
    if cube.ndim != 3 or cube.dtype.kind != "f" or not cube.size:
        raise SceneError(
            f"{path} holds {cube.dtype} of the shape {cube.shape}, not floats (bands, rows, columns).",
            "Make the patch again.",
        )
    return cube
