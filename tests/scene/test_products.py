"""Every sample and real scene of the general formats opens as its ``expected.json`` or manifest says."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rasterio.crs import CRS

from hsi_toolkit.scene import open_scene

FAMILIES = ("envi", "geotiff", "mat")
SCENE_SUFFIXES = ("", ".bsq", ".dat", ".tif", ".mat", ".npz")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sample_opens_as_expected(shared: Path, family: str) -> None:
    folder = shared / "products" / family
    before = sorted(folder.iterdir())
    items = json.loads((folder / "expected.json").read_text())["items"]
    wrong = {
        item["path"]: found
        for item in items
        if (found := differences(open_scene(folder / item["path"]), item))
    }
    assert items
    assert wrong == {}
    assert sorted(folder.iterdir()) == before, "a reader left files behind"


def test_every_real_scene_of_a_general_format_opens(shared: Path) -> None:
    opened = 0
    for description in sorted((shared / "scenes").glob("*/scene.json")):
        facts = json.loads(description.read_text())
        if facts["cube"] is None or Path(facts["cube"]["file"]).suffix not in SCENE_SUFFIXES:
            continue
        scene = open_scene(description.parent / facts["cube"]["file"])
        rows, columns, bands = facts["cube"]["shape"]
        assert scene.shape == (bands, rows, columns), facts["name"]
        assert np.isfinite(scene.values).any(), facts["name"]
        if "wavelength" in scene.coords:
            np.testing.assert_allclose(
                scene.wavelength, facts["wavelengths_nm"], atol=0.01, err_msg=facts["name"]
            )
        if facts.get("crs"):
            assert scene.rio.crs == CRS.from_string(facts["crs"]), facts["name"]
        opened += 1
    assert opened >= 20


def differences(scene: xr.DataArray, item: dict) -> list[str]:
    """What of an opened sample is not as its item in ``expected.json`` says."""
    found = []
    if list(scene.shape) != item["shape"]:
        return [f"shape {scene.shape}"]
    crs = None if item["crs"] is None else CRS.from_string(item["crs"])
    if scene.rio.crs != crs:
        found.append(f"crs {scene.rio.crs}")
    transform = item["transform"] or (1, 0, 0, 0, 1, 0)
    if not np.allclose(list(scene.rio.transform())[:6], transform, rtol=1e-9, atol=0):
        found.append(f"transform {scene.rio.transform()}")
    for coordinate, key in (("wavelength", "wavelengths_nm"), ("fwhm", "fwhm_nm")):
        wanted = item[key]
        if wanted is None and coordinate == "wavelength":
            wanted = item.get("wavelengths_if_used_nm")
        if wanted is None:
            found += [f"{coordinate} not expected"] if coordinate in scene.coords else []
        elif coordinate not in scene.coords or not np.allclose(scene[coordinate], wanted, rtol=0, atol=0.01):
            found.append(coordinate)
    if not np.array_equal(scene.good, item["good"] or [True] * item["shape"][0]):
        found.append("good")
    values = scene.values
    for pixel in item["pixels"]:
        wanted = np.array(pixel["spectrum"], dtype=float)
        if not np.allclose(values[:, pixel["y"], pixel["x"]], wanted, rtol=1e-4, atol=2e-6, equal_nan=True):
            found.append(f"spectrum at {pixel['y']}, {pixel['x']}")
    missing = [[cell == "1" for cell in row] for row in item["nodata_rows"]]
    if not np.array_equal(np.isnan(values).all(axis=0), missing):
        found.append("nodata")
    if scene.attrs.get("acquired") != item["acquired"]:
        found.append(f"acquired {scene.attrs.get('acquired')}")
    return found
