"""Every sample product opens as the ``expected.json`` beside it says; a new folder is a new test."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsi_toolkit.scene import open_scene
from hsi_toolkit.spectral.library import SpectralLibrary
from tests.conftest import shared_folder

Item = dict[str, Any]
Array = NDArray[np.float64]

SAME_NM = 0.01


def samples() -> Iterator[Any]:
    """The folder, the item and the description of every sample there is."""
    root = shared_folder()
    descriptions = sorted((root / "products").glob("*/expected.json")) if root else []
    if not descriptions:
        reason = "needs the sample products; set HSI_SHARED to the folder that holds products/"
        yield pytest.param(None, None, None, marks=pytest.mark.skip(reason=reason))
    for path in descriptions:
        description = json.loads(path.read_text(encoding="utf-8"))
        for item in description["items"]:
            name = f"{path.parent.name}-{Path(item['path']).name}"
            yield pytest.param(path.parent, item, description, id=name)


@pytest.mark.parametrize(("folder", "item", "description"), list(samples()))
def test_a_sample_opens_as_expected(folder: Path, item: Item, description: Item) -> None:
    before = sorted(folder.rglob("*"))
    if "kind" in item:
        found = library_differences(SpectralLibrary.read(folder / item["path"]), item, description["library"])
    else:
        found = scene_differences(open_scene(folder / item["path"]), item)
    assert found == []
    assert sorted(folder.rglob("*")) == before, "the reader left files behind"


def scene_differences(scene: xr.DataArray, item: Item) -> list[str]:
    """What of an opened sample is not as its item says."""
    if scene.shape[1:] != tuple(item["shape"][1:]):
        return [f"rows and columns {scene.shape[1:]}"]
    wanted_bands, found = matched_bands(scene, item)
    if wanted_bands is None:
        return found
    found += georeference_differences(scene, item)
    stated = {"fwhm": item["fwhm_nm"], "good": item["good"]}
    for name, values in stated.items():
        if values is None:
            continue
        wanted = np.asarray(values, float)[wanted_bands]
        if name not in scene.coords or not np.allclose(scene[name], wanted, rtol=0, atol=SAME_NM):
            found.append(name)
    if item["good"] is None and not uses_choice(scene, item) and not scene.good.all():
        found.append("bands called bad that the product calls good")
    found += value_differences(scene, item, wanted_bands)
    if not same_time(scene.attrs.get("acquired"), item["acquired"]):
        found.append(f"acquired {scene.attrs.get('acquired')}")
    if item.get("sensor") and item["sensor"].split()[0] not in scene.attrs.get("sensor", ""):
        found.append(f"sensor {scene.attrs.get('sensor')}")
    unstated = ("dn",) if item.get("sensor") is None else ()
    if scene.attrs["quantity"] not in (item["quantity"], *unstated):
        found.append(f"quantity {scene.attrs['quantity']}")
    if "units" in scene.attrs and scene.attrs["units"] != item["units"]:
        found.append(f"units {scene.attrs['units']}")
    return found


def uses_choice(scene: xr.DataArray, item: Item) -> bool:
    """Whether the reader knows wavelengths that the file does not state."""
    return item["wavelengths_nm"] is None and "wavelength" in scene.coords


def matched_bands(scene: xr.DataArray, item: Item) -> tuple[NDArray[np.intp] | None, list[str]]:
    """For each band of the scene its position in the item's lists; None when they do not fit.

    Where a product does not state wavelengths, a reader may take them from another array of the file, which
    the item then states, or from a table of the sensor, about which the sample says nothing.
    """
    stated = item["wavelengths_nm"]
    if uses_choice(scene, item):
        if scene.shape[0] != item["shape"][0]:
            return None, [f"{scene.shape[0]} bands"]
        positions = np.argsort(np.argsort(scene["band"].to_numpy()))
        chosen = item.get("wavelengths_if_used_nm")
        if chosen and not np.allclose(np.asarray(chosen)[positions], scene["wavelength"], atol=SAME_NM):
            return None, ["wavelengths of another array"]
        by_table = any("table_wavelengths" in key or "by_table" in key for key in item)
        known = chosen is not None or by_table
        return positions, [] if known else ["wavelengths that the product does not state"]
    if stated is None or "wavelength" not in scene.coords:
        same = stated is None and scene.shape[0] == item["shape"][0]
        return (
            (np.arange(scene.shape[0]), [])
            if same
            else (None, [f"{scene.shape[0]} bands, or no wavelengths"])
        )
    wanted, centres = np.asarray(stated, float), scene["wavelength"].to_numpy()
    found = [] if np.all(np.diff(centres) >= 0) else ["wavelengths that do not ascend"]
    if len(centres) == len(wanted):
        positions = np.argsort(wanted, kind="stable")
    else:
        positions = np.abs(wanted - centres[:, None]).argmin(axis=1)
        good = np.asarray(item["good"] or [True] * len(wanted))
        if good[np.setdiff1d(np.arange(len(wanted)), positions)].any():
            return None, [f"{len(centres)} bands: good ones are missing"]
    if np.abs(wanted[positions] - centres).max() > SAME_NM:
        return None, [f"wavelengths off by {np.abs(wanted[positions] - centres).max():.3f} nm"]
    return positions, found


def georeference_differences(scene: xr.DataArray, item: Item) -> list[str]:
    """Reference system and transform, pixel edges."""
    found = []
    crs = None if item["crs"] is None else CRS.from_string(item["crs"])
    if scene.rio.crs != crs:
        found.append(f"crs {scene.rio.crs}")
    transform = item["transform"] or (1, 0, 0, 0, 1, 0)
    if not np.allclose(list(scene.rio.transform())[:6], transform, rtol=1e-9, atol=0):
        found.append(f"transform {scene.rio.transform()}")
    for place in item.get("latlon", []):
        here = {"y": place["y"], "x": place["x"]}
        for name in ("lat", "lon"):
            if abs(float(scene[name].isel(here)) - place[name]) > 1e-6:
                found.append(f"{name} at {here}")
    return found


def value_differences(scene: xr.DataArray, item: Item, positions: NDArray[np.intp]) -> list[str]:
    """Spectra of single pixels, and where there is no data.

    A band that is not good may be NaN, or anything where the item expects nothing of it.
    """
    found = []
    values = scene.values
    good = np.asarray(item["good"] or [True] * item["shape"][0])[positions]
    for pixel in item["pixels"]:
        wanted = np.array(pixel["spectrum"], dtype=float)[positions]
        given = values[:, pixel["y"], pixel["x"]]
        same = np.isclose(given, wanted, rtol=1e-4, atol=2e-6, equal_nan=True)
        free = ~good & (np.isnan(given) | np.isnan(wanted))
        if not np.all(same | free):
            first = int(np.flatnonzero(~(same | free))[0])
            found.append(f"band {first} at {pixel['y']}, {pixel['x']} is {given[first]}, not {wanted[first]}")
    missing = np.array([[cell == "1" for cell in row] for row in item["nodata_rows"]])
    empty = np.isnan(values[good]).all(axis=0)
    if not np.array_equal(empty, missing):
        found.append(f"{empty.sum()} pixels without data, not {missing.sum()}")
    return found


def same_time(given: str | None, wanted: str | None) -> bool:
    """Whether two times agree to a second, or both are absent."""
    if given is None or wanted is None:
        return given == wanted
    apart = datetime.fromisoformat(given) - datetime.fromisoformat(wanted)
    return abs(apart.total_seconds()) <= 1


def library_differences(library: SpectralLibrary, item: Item, expected: Item) -> list[str]:
    """What of a spectral library is not as its item says; deleted channels count as unknown."""
    rows = [item["spectrum_index"]] if "spectrum_index" in item else list(range(len(expected["spectra"])))
    found = []
    if "spectrum_index" not in item and list(library.names) != expected["names"]:
        found.append(f"names {library.names}")
    if "name" in item and library.names != (item["name"],):
        found.append(f"name {library.names}")
    if library.wavelength is None or not np.allclose(
        library.wavelength, expected["wavelengths_nm"], rtol=0, atol=SAME_NM
    ):
        return [*found, "wavelengths"]
    wanted = np.array(expected["spectra"], dtype=float)[rows]
    wanted[:, item.get("deleted_channels", [])] = np.nan
    if not np.allclose(library.spectra, wanted, rtol=1e-4, atol=2e-6, equal_nan=True):
        found.append("spectra")
    return found
