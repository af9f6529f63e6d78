"""Cutting scenes into patches in the layout of HySpecNet-11k, so that what trains on it trains on them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from hsi_toolkit.errors import OutputError, ParameterError, SceneError
from hsi_toolkit.files import staged_folder
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.readers.hyspecnet import VALID_BANDS
from hsi_toolkit.scene.writer import bands_of

MOST_BEYOND = 0.5
"""Share of a scene's values that may be cut off: beyond it the maximum is of another unit."""

SHARES = (("train", 0.7), ("val", 0.2), ("test", 0.1))
"""Parts of a split, as the data set divides its patches."""

LONGEST_SIDE = 4096


@dataclass(frozen=True)
class TileRule:
    """How scenes are cut.

    Attributes:
        side: of a patch in pixels.
        maximum: the value that becomes 1; 1 for reflectance. None takes the 99.9th percentile of each scene's
            sample, for scenes in other quantities.
        valid: share of a patch's pixels that must have data.
        seed: of the random division into training, validation and test.
    """

    side: int = 128
    maximum: float | None = 1.0
    valid: float = 1.0
    seed: int = 10587


@dataclass(frozen=True)
class _Cut:
    """A patch that was written: its place below ``patches``, and the number of its tile."""

    place: str
    tile: int


def tile_scenes(
    scenes: Sequence[xr.DataArray], folder: str | Path, rule: TileRule, *, progress: Progress | None = None
) -> dict[str, int]:
    """Write ``patches`` and ``splits`` into a new ``folder``; each scene is a tile.

    A patch is SPECTRAL_IMAGE.TIF (all bands, with its georeference) and DATA.npy: good bands, clipped to 0
    and ``rule.maximum`` and divided by it, float32. "easy" splits divide patches at random, "hard" ones keep
    the patches of a scene together, or strips of rows where there are fewer than three scenes.

    Returns:
        The number of patches of each part of the easy split, and of all.

    Raises:
        SceneError: no patch of a scene has enough data, most of its values would be cut off, or scenes differ
            in their good bands.
        ParameterError: the side is out of range.
        OutputError: the folder exists already or cannot be written.
    """
    progress = progress or Progress()
    target = Path(folder)
    if any((target / name).exists() for name in ("patches", "splits")):
        raise OutputError(f"{target} holds a data set already.", "Choose another folder.")
    if not 8 <= rule.side <= LONGEST_SIDE:
        raise ParameterError(f"A patch of {rule.side} pixels is out of range.", "Choose 8 to 4096.")
    counts = {_used(scene).size for scene in scenes}
    if len(counts) > 1:
        raise SceneError(
            f"The scenes have different numbers of good bands: {', '.join(map(str, sorted(counts)))}.",
            "Give scenes of one sensor, or resample them to one.",
        )
    target.mkdir(parents=True, exist_ok=True)
    with staged_folder(target) as stage:
        cuts: list[_Cut] = []
        for number, scene in enumerate(scenes, start=1):
            part = progress.part((number - 1) / len(scenes), number / len(scenes))
            cuts += list(_cut(scene, number, stage / "patches", rule, part))
        easy, hard = _divide(cuts, rule.seed, by_tile=False), _divide(cuts, rule.seed, by_tile=True)
        for difficulty, parts in (("easy", easy), ("hard", hard)):
            if not all(parts.values()):
                raise SceneError(
                    f"The scenes give {len(cuts)} patches, too few to train, validate and test with.",
                    "Choose smaller patches, or give more scenes.",
                )
            for name, listed in parts.items():
                _write_list(stage / "splits" / difficulty / f"{name}.csv", listed)
    return {name: len(listed) for name, listed in easy.items()} | {"all": len(cuts)}


def _cut(
    scene: xr.DataArray, number: int, patches: Path, rule: TileRule, progress: Progress
) -> Iterator[_Cut]:
    """Write the patches of a scene that have data."""
    used, side, found = _used(scene), rule.side, 0
    maximum = rule.maximum or _typical_maximum(scene, used)
    columns = scene.sizes["x"] // side
    beyond = known = 0
    for row in range(scene.sizes["y"] // side):
        progress.check()
        progress.report(row / max(1, scene.sizes["y"] // side), f"Cutting scene {number}")
        for column in range(columns):
            window = scene.rio.isel_window(Window(column * side, row * side, side, side))
            values = values_of(window)
            if np.isfinite(values[used]).all(axis=0).mean() < rule.valid:
                continue
            found += 1
            name = f"tile_{number:03}-patch_{found:02}"
            target = patches / f"tile_{number:03}" / name
            target.mkdir(parents=True)
            image = target / f"{name}-SPECTRAL_IMAGE.TIF"
            with RasterWriter(image, like=window, **bands_of(window)) as writer:
                writer.write(values, 0)
            beyond += int(np.count_nonzero(values[used] > maximum))
            known += values[used].size
            data = np.clip(np.nan_to_num(values[used], nan=0.0), 0, maximum) / np.float32(maximum)
            np.save(target / f"{name}-DATA.npy", data.astype(np.float32), allow_pickle=False)
            # Where there are few scenes, a strip of rows stands for a tile of the data set.
            yield _Cut(f"tile_{number:03}/{name}/{name}-DATA.npy", number * 10_000 + row)
    if not found:
        raise SceneError(
            f"Scene {number} of {scene.sizes['y']} × {scene.sizes['x']} pixels gives no patch of {side} "
            "pixels with data.",
            "Choose smaller patches, or leave the scene out.",
        )
    if beyond > MOST_BEYOND * known:
        raise SceneError(
            f"{100 * beyond / known:.0f} % of the values of scene {number} lie above {maximum:g} and would "
            "be cut off.",
            "Give the value that is to become 1 (10000 for reflectance stored as whole numbers), or 0 to let "
            "each scene tell.",
        )


def _divide(cuts: Sequence[_Cut], seed: int, *, by_tile: bool) -> dict[str, list[str]]:
    """Patches of each part, shuffled; by tile, all patches of one stay together."""
    tiles = [cut.tile // 10_000 for cut in cuts]
    if by_tile and len(set(tiles)) < len(SHARES):
        tiles = [cut.tile for cut in cuts]
    units = tiles if by_tile else list(range(len(cuts)))
    order = np.random.default_rng(seed).permutation(np.unique(units))
    # Validation and test have a unit each, if there are as many.
    test, val = (max(1, round(dict(SHARES)[name] * len(order))) for name in ("test", "val"))
    members = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
    return {
        name: [
            cut.place for cut, unit in zip(cuts, units, strict=True) if unit in set(members[name].tolist())
        ]
        for name, _ in SHARES
    }


def _write_list(path: Path, places: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([place] for place in places)


def _used(scene: xr.DataArray) -> NDArray[np.intp]:
    """Indices of the good bands; of an EnMAP scene with 224 bands those of HySpecNet-11k."""
    if "EnMAP" in str(scene.attrs.get("sensor", "")) and scene.sizes["band"] == 224:
        return np.array(VALID_BANDS)
    if "good" not in scene.coords:
        return np.arange(scene.sizes["band"])
    return np.flatnonzero(scene["good"].to_numpy())


def _typical_maximum(scene: xr.DataArray, used: NDArray[np.intp]) -> float:
    step = max(1, scene.sizes["y"] // 64)
    sample = values_of(scene.isel(band=used, y=slice(None, None, step)))
    found = float(np.nanpercentile(sample, 99.9)) if np.isfinite(sample).any() else 0.0
    return found if found > 0 else 1.0
