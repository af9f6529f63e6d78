"""Scenes and splits for measuring classifiers trained on few labels."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.ndimage import distance_transform_cdt

from hsi_toolkit.scene import open_scene

Index = NDArray[np.int64]

# Test pixels are at least this far (in rows or in columns) from every training pixel.
GAP = 5
# Sides of the grid cells that are training or test as a whole.
CELLS = (20, 32)
# Compact clusters a class, and how far from its middle a cluster may take pixels.
CLUSTERS = 4
REACH = 6
# Draws of the grid until every class has the labels and the test pixels wanted; then the best is taken.
DRAWS = 50
TEST_PIXELS = 10
# Abundance from which a pixel counts as labelled with its endmember.
PURE = 0.7


@dataclass(frozen=True)
class ClassificationScene:
    """A scene with nodata NaN, and its labels (H, W): 0 is unlabelled."""

    name: str
    scene: xr.DataArray
    labels: Index


@dataclass(frozen=True)
class LabelSplit:
    """Training and test pixels, (n, 2) rows and columns; ``groups`` are the clusters of the training ones."""

    train: Index
    groups: Index
    test: Index


def classification_scenes(folder: Path) -> Iterator[ClassificationScene]:
    """Every scene under ``folder`` whose ``scene.json`` declares classification with a label raster."""
    for description in sorted(folder.glob("*/scene.json")):
        entry = json.loads(description.read_text(encoding="utf-8"))
        truth = entry.get("truth") or {}
        raster = truth.get("raster") or (truth if truth.get("kind") == "raster" else None)
        if "classification" in entry.get("task", []) and raster is not None:
            yield _load(description.parent, entry, raster, truth.get("ignore", [0]))


def abundance_scenes(folder: Path, names: Sequence[str]) -> Iterator[ClassificationScene]:
    """The unmixing scenes called ``names``; a pixel's label is the endmember that has over ``PURE`` of it."""
    for name in names:
        entry = json.loads((folder / name / "scene.json").read_text(encoding="utf-8"))
        cube, truth = entry["cube"], entry["truth"]["abundances"]
        values = _read_matrix(folder / name, cube) * np.float32(cube["scale"])
        abundances = _read_matrix(folder / name, truth)
        labels = np.where(abundances.max(axis=0) > PURE, abundances.argmax(axis=0) + 1, 0)
        scene = xr.DataArray(values, dims=("band", "y", "x"))
        scene = scene.assign_coords(good=("band", np.ones(len(values), bool)))
        yield ClassificationScene(name, scene, labels.astype(np.int64))


def _read_matrix(folder: Path, described: dict) -> NDArray[np.float32]:
    """A matrix (layers, H, W) of a MATLAB file; its pixels run column by column unless it is a picture."""
    values = loadmat(folder / described["file"])[described["key"]].astype(np.float32)
    height, width, layers = described["shape"]
    if described["layout"] == "yxb":
        return np.ascontiguousarray(values.transpose(2, 0, 1))
    return np.ascontiguousarray(values.reshape(layers, width, height).transpose(0, 2, 1))


def _load(folder: Path, entry: dict, raster: dict, ignore: list[int]) -> ClassificationScene:
    cube = entry["cube"]
    if cube["file"].endswith(".npz"):
        layout = [{"b": "band", "y": "y", "x": "x"}[axis] for axis in cube["layout"]]
        values = np.load(folder / cube["file"])[cube["key"]].astype(np.float32)
        scene = xr.DataArray(values, dims=layout).transpose("band", "y", "x")
    else:
        scene = open_scene(folder / cube["file"])
    scene = scene.load()
    if cube["nodata"] is not None:
        empty = (scene == cube["nodata"]).all("band")
        scene = scene.where(~empty)
    bad = entry.get("bad_bands") or []
    good = np.isin(np.arange(scene.sizes["band"]), bad, invert=True)
    scene = scene.assign_coords(good=("band", good))
    labels = _read_raster(folder / raster["file"], raster.get("key")).astype(np.int64)
    labels[np.isin(labels, ignore) | ~valid_pixels(scene)] = 0
    return ClassificationScene(entry["name"], scene, labels)


def _read_raster(path: Path, key: str | None) -> NDArray[np.generic]:
    if path.suffix == ".npz":
        return np.load(path)[key]
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def used_bands(scene: xr.DataArray) -> NDArray[np.bool_]:
    """Good bands that have data anywhere."""
    return scene["good"].to_numpy() & np.isfinite(scene.to_numpy()).any(axis=(1, 2))


def valid_pixels(scene: xr.DataArray) -> NDArray[np.bool_]:
    """Pixels (H, W) with a value in every used band."""
    return np.isfinite(scene.to_numpy()[used_bands(scene)]).all(axis=0)


def random_split(labels: Index, count: int, seed: int) -> LabelSplit:
    """``count`` random pixels a class for training, at most half of it; all others are test pixels.

    Neighbours of training pixels are test pixels here, so what is measured leaks.
    """
    rng = np.random.default_rng(seed)
    train = []
    for label in np.unique(labels[labels > 0]):
        positions = np.argwhere(labels == label)
        train.append(positions[rng.permutation(len(positions))[: min(count, len(positions) // 2)]])
    chosen = np.concatenate(train)
    rest = labels > 0
    rest[tuple(chosen.T)] = False
    return LabelSplit(chosen, np.arange(len(chosen)), np.argwhere(rest))


def disjoint_split(labels: Index, count: int, seed: int) -> LabelSplit:
    """``count`` pixels a class in about four compact clusters, and test pixels in other cells of a grid.

    Half of the cells of a grid of random side and origin are training cells. Each class gets its clusters in
    these; test pixels are all labelled pixels of the other cells that are ``GAP`` pixels away from every
    training pixel. A class with too few pixels for both gives at most half of them to training.
    """
    rng = np.random.default_rng(seed)
    best: tuple[float, LabelSplit] | None = None
    for _ in range(DRAWS):
        split = _draw(labels, count, _training_cells(labels.shape, rng), rng)
        quality = _quality(labels, split, count)
        if best is None or quality > best[0]:
            best = quality, split
        if quality >= 1:
            break
    assert best is not None
    return best[1]


def _training_cells(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    side = int(rng.integers(CELLS[0], CELLS[1] + 1))
    top, left = rng.integers(0, side, 2)
    row = (np.arange(shape[0]) + top) // side
    column = (np.arange(shape[1]) + left) // side
    cells, number = np.unique(row[:, None] * shape[1] + column, return_inverse=True)
    chosen = rng.permutation(len(cells)) < max(1, len(cells) // 2)
    return chosen[number].reshape(shape)


def _draw(labels: Index, count: int, cells: NDArray[np.bool_], rng: np.random.Generator) -> LabelSplit:
    used = np.zeros(labels.shape, bool)
    # The empty one is for draws in which no training cell has a label.
    train: list[Index] = [np.empty((0, 2), dtype=np.int64)]
    for label in np.unique(labels[labels > 0]):
        missing = min(count, max(1, int((labels == label).sum()) // 2))
        while missing:
            free = np.argwhere((labels == label) & cells & ~used)
            if not len(free):
                break
            distance = np.square(free - free[rng.integers(len(free))]).sum(axis=1) + rng.random(len(free)) / 2
            nearest = np.argsort(distance)[: min(-(-count // CLUSTERS), missing)]
            cluster = free[nearest[distance[nearest] <= REACH**2 + 0.5]]
            used[tuple(cluster.T)] = True
            train.append(cluster)
            missing -= len(cluster)
    groups = np.repeat(np.arange(len(train)), [len(cluster) for cluster in train])
    far = distance_transform_cdt(~used, metric="chessboard") >= GAP
    return LabelSplit(np.concatenate(train), groups, np.argwhere((labels > 0) & ~cells & far))


def _quality(labels: Index, split: LabelSplit, count: int) -> float:
    """The smallest share, over classes, of the training and test pixels wanted."""
    size = np.bincount(labels.ravel())
    train = np.bincount(labels[tuple(split.train.T)], minlength=len(size))
    test = np.bincount(labels[tuple(split.test.T)], minlength=len(size))
    shares = [
        min(
            train[label] / min(count, max(1, size[label] // 2)),
            test[label] / min(TEST_PIXELS, max(1, size[label] // 4)),
        )
        for label in np.unique(labels[labels > 0])
    ]
    return float(min(shares))
