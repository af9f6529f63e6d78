"""The real scenes of a folder such as ``$HSI_SHARED/scenes``, each described by its ``scene.json``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

Cube = NDArray[np.float64]


def shared_scenes() -> Path:
    """The folder of real scenes."""
    return Path(os.environ.get("HSI_SHARED", "../shared")) / "scenes"


def describe(name: str, folder: Path | None = None) -> Mapping[str, Any]:
    """What ``scene.json`` says of a scene."""
    path = (folder or shared_scenes()) / name / "scene.json"
    facts: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def load_array(name: str, entry: Mapping[str, Any], folder: Path | None = None) -> NDArray[np.generic]:
    """An array of a scene in MATLAB or NumPy format, axes in the order of its layout's letters.

    ``b`` bands, ``y`` rows, ``x`` columns, ``n`` pixels (unfolded to ``y`` and ``x``); cubes come out as
    (bands, rows, columns), spectra (``sb`` and the like) as they are.
    """
    path = (folder or shared_scenes()) / name / entry["file"]
    if path.suffix == ".mat":
        values = scipy.io.loadmat(path)[entry["key"]]
    else:
        values = np.load(path, allow_pickle=False)
    layout = entry["layout"]
    if "n" in layout:
        rows, columns = describe(name, folder)["cube"]["shape"][:2]
        # MATLAB counts pixels down the columns.
        values = np.moveaxis(values, layout.index("n"), -1).reshape(-1, columns, rows).transpose(0, 2, 1)
        return values
    order = [layout.index(axis) for axis in "byx" if axis in layout]
    return values.transpose(order) if len(order) == values.ndim else values


def load_cube(name: str, folder: Path | None = None) -> Cube:
    """The scene's cube, (bands, rows, columns) float64 in its scaled units."""
    entry = describe(name, folder)["cube"]
    values = load_array(name, entry, folder).astype(np.float64)
    return values * entry["scale"] if entry.get("scale") else values
