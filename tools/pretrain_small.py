"""Make the pretrained HSIMAE that ships with the package: ``python -m tools.pretrain_small --scenes DIR``.

Synthetic scenes are mixed from the spectral libraries under DIR (ECOSTRESS, USGS 1995, Roberts et al. 2017),
and the openly licensed real scenes there (NEON, AVIRIS-NG, MUUFL Gulfport) are added without labels; nothing
else is read. An interrupted run goes on from its last checkpoint. The same folder, versions and seed give
the same weights on the same kind of processor.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import rasterio
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.io import loadmat
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from hsi_toolkit.models.bundle import Architecture, ModelBundle, ModelMetadata, Provenance, parts
from hsi_toolkit.models.metadata import plain_json
from hsi_toolkit.progress import Progress
from hsi_toolkit.synthetic.corpus import Materials, draw_scene
from hsi_toolkit.training.episodes import EpisodeScene
from hsi_toolkit.training.few_label import FewLabelConfig, FewLabelModel, pretrain_few_label
from hsi_toolkit.training.head_start import KEY

NAME = "hsimae-small"
WEIGHTS = Path(__file__).resolve().parents[1] / "hsi_toolkit" / "models" / "weights" / f"{NAME}.safetensors"

Floats = NDArray[np.float32]

GRID = np.arange(400.0, 2451.0, 10.0)
LIBRARIES = ("library_roberts2017", "library_usgs1995", "library_ecostress")
REAL_SCENES = ("neon_h5", "aviris_ng", "muufl_target")
# Spectra of libraries without names of classes are grouped by shape, from coarse to fine.
CLUSTERS = (12, 50, 150)
# Levels of the Roberts library that are a scene's classes, from coarse to fine, each within the one before.
LEVELS = (("Level_2",), ("Level_2", "Level_3"), ("Level_2", "Level_7"))


@dataclass(frozen=True)
class Settings:
    """What the shipped file was made with."""

    scenes: int = 400
    size: int = 96
    steps: int = 4000
    seed: int = 42


class _Shown(Progress):
    """Progress on the terminal, a line for each per cent."""

    def __init__(self) -> None:
        self._last = -1

    def report(self, fraction: float, message: str = "") -> None:
        """Show the message with the first report of each per cent."""
        if int(100 * fraction) != self._last:
            self._last = int(100 * fraction)
            sys.stdout.write(f"{self._last:3d} % {message}\n")
            sys.stdout.flush()


def read_materials(folder: Path) -> Materials:
    """The spectra of the three libraries on one grid, with their classes."""
    spectra, names, sources = [], [], []
    for library in (_roberts, _usgs, _ecostress):
        for spectrum, levels, source in library(folder):
            spectra.append(spectrum)
            names.append(levels)
            sources.append(source)
    values = np.clip(np.stack(spectra), 0.0005, 1.5).astype(np.float32)
    named = np.array([bool(levels[0]) for levels in names])
    shapes = values / np.linalg.norm(values, axis=1, keepdims=True)
    components = PCA(12, random_state=0).fit_transform(shapes)[~named]
    classes = np.empty((len(LEVELS), len(values)), np.int64)
    for level, count in enumerate(CLUSTERS):
        _, numbers = np.unique([levels[level] for levels in names], return_inverse=True)
        classes[level] = numbers
        found = KMeans(count, n_init=2, random_state=0).fit_predict(components)
        classes[level, ~named] = numbers.max() + 1 + found
    _, source = np.unique(sources, return_inverse=True)
    return Materials(GRID, values, classes, source.astype(np.int64), named)


Entry = tuple[Floats, tuple[str, ...], str]


def _roberts(folder: Path) -> Iterator[Entry]:
    place, described = _described(folder, "library_roberts2017")
    wavelength = np.array(described["wavelengths_nm"])
    good = np.setdiff1d(np.arange(len(wavelength)), described["bad_bands"])
    values = np.fromfile(place / "roberts2017_urban.sli", np.float32).reshape(-1, len(wavelength)) * 1e-4
    header = (place / "roberts2017_urban.hdr").read_text(encoding="utf-8", errors="replace")
    names = header.split("spectra names = {")[1].split("}")[0].replace("\n", "").split(",")
    with (place / "roberts2017_urban.csv").open(encoding="utf-8", errors="replace", newline="") as file:
        rows = {row["Name"].strip(): row for row in csv.DictReader(file)}
    for name, spectrum in zip(names, _on_grid(wavelength[good], values[:, good]), strict=True):
        row = rows[name.strip()]
        levels = tuple("/".join(row[key].strip().lower() for key in keys) for keys in LEVELS)
        yield spectrum, levels, f"roberts {row['Polygon_Unit_ID']}"


def _usgs(folder: Path) -> Iterator[Entry]:
    place, _ = _described(folder, "library_usgs1995")
    table = loadmat(place / "USGS_1995_Library.mat")["datalib"].astype(np.float64)
    wavelength = table[:, 0] * 1000
    for number, column in enumerate(table[:, 3:].T):
        known = (column > -1) & (wavelength > 395)
        if known.mean() >= 0.8:
            yield _on_grid(wavelength[known], column[None, known])[0], ("",) * len(LEVELS), f"usgs {number}"


def _ecostress(folder: Path) -> Iterator[Entry]:
    place, described = _described(folder, "library_ecostress")
    with rasterio.open(place / "ecostress_library_with_mixtures") as file:
        values = file.read().reshape(file.count, -1).T
    wavelength = np.array(described["wavelengths_nm"])
    solar = wavelength < 2520
    spectra = _on_grid(wavelength[solar], values[:, solar])
    highest = spectra.max(axis=1)
    usable = (
        np.isfinite(spectra).all(axis=1) & (highest < 1.3) & (highest > 0.02) & (spectra.min(axis=1) > -0.05)
    )
    for number in np.flatnonzero(usable):
        yield spectra[number], ("",) * len(LEVELS), f"ecostress {number}"


def _described(folder: Path, name: str) -> tuple[Path, dict]:
    place = folder / name
    return place, json.loads((place / "scene.json").read_text(encoding="utf-8"))


def _on_grid(wavelength: NDArray[np.float64], values: NDArray[np.floating]) -> Floats:
    """Spectra (n, bands) read at ``GRID``; gaps between bands are bridged by straight lines."""
    centres, first = np.unique(wavelength, return_index=True)
    return np.stack([np.interp(GRID, centres, row[first]) for row in values]).astype(np.float32)


def real_scenes(folder: Path) -> Iterator[xr.DataArray]:
    """The openly licensed real scenes, all pixels of which have data."""
    for name in REAL_SCENES:
        place, described = _described(folder, name)
        cube = described["cube"]
        path = place / cube["file"]
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                values = file[cube["key"]][()]
        elif path.suffix == ".mat":
            values = loadmat(path)[cube["key"]]
        else:
            with rasterio.open(path) as file:
                values = file.read()
        scene = xr.DataArray(
            values.astype(np.float32),
            dims=[{"b": "band", "y": "y", "x": "x"}[axis] for axis in cube["layout"]],
        ).transpose("band", "y", "x")
        wavelength = np.array(described["wavelengths_nm"])
        opaque = np.any([(low < wavelength) & (wavelength < high) for low, high in _OPAQUE], axis=0)
        usable = np.isfinite(scene.to_numpy()).all(axis=(1, 2)) & (scene.to_numpy().std(axis=(1, 2)) > 0)
        yield scene.assign_coords(good=("band", usable & ~opaque))


_OPAQUE = ((0.0, 400.0), (1340.0, 1450.0), (1790.0, 1970.0), (2450.0, 9999.0))


def corpus(
    folder: Path, settings: Settings, config: FewLabelConfig, progress: Progress
) -> list[EpisodeScene]:
    """All scenes as pretraining takes them."""
    materials = read_materials(folder)
    scenes = [EpisodeScene.of(scene, None, config.model) for scene in real_scenes(folder)]
    for number in range(settings.scenes):
        progress.report(number / settings.scenes, f"Scene {number + 1} of {settings.scenes}")
        drawn = draw_scene(materials, np.random.default_rng([settings.seed, number]), settings.size)
        scenes.append(EpisodeScene.of(drawn.scene, drawn.classes, config.model))
    return scenes


def bundle_of(model: FewLabelModel, settings: Settings, config: FewLabelConfig) -> ModelBundle:
    """The model file, in half precision, with where it comes from."""
    metadata = ModelMetadata(
        name=NAME,
        kind="pretrained",
        architecture=Architecture("hsimae", asdict(config.model)),
        provenance=Provenance(
            data=(
                "synthetic scenes mixed from: ECOSTRESS spectral library (public), USGS spectral library "
                "1995 (public domain), Roberts et al. 2017 urban spectral library (EcoSIS)",
                "NEON AOP reflectance SJER (CC0)",
                "AVIRIS-NG radiance ang20160910t185702 (Apache-2.0)",
                "MUUFL Gulfport (MIT)",
            ),
            source="python -m tools.pretrain_small",
            licence="GPL-3.0-or-later",
            seed=settings.seed,
            parameters={
                "corpus": plain_json(asdict(settings)),
                "pretraining": plain_json({k: v for k, v in asdict(config).items() if k != "model"}),
            },
            metrics={"accuracy": list(model.accuracies), "reconstruction": list(model.losses)},
        ),
        extra={KEY: {"ridge": model.ridge, "temperature": model.temperature}},
    )
    trained = {name for name, _ in model.network.named_parameters()}
    tensors = {
        name: tensor.half() if name in trained else tensor
        for name, tensor in model.network.state_dict().items()
    }
    return ModelBundle(metadata, parts(network=tensors))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Settings()
    parser.add_argument("--scenes", type=Path, required=True, help="folder of libraries and scenes")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="the model file")
    parser.add_argument("--count", type=int, default=defaults.scenes, help="synthetic scenes")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    settings = Settings(arguments.count, defaults.size, arguments.steps, arguments.seed)
    config = FewLabelConfig(steps=settings.steps, seed=settings.seed)
    shown = _Shown()
    checkpoint = arguments.output.with_suffix(".part.safetensors")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    model = pretrain_few_label(
        corpus(arguments.scenes, settings, config, shown), config, checkpoint=checkpoint, progress=shown
    )
    bundle_of(model, settings, config).save(arguments.output, overwrite=True)
    checkpoint.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
