"""Every real scene of the general formats opens as its manifest says."""

import json
from pathlib import Path

import numpy as np
from rasterio.crs import CRS

from hsi_toolkit.scene import open_scene

SCENE_SUFFIXES = ("", ".bsq", ".dat", ".tif", ".mat", ".npz")


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
            stored = scene["wavelength"].to_numpy()[np.argsort(scene["band"].to_numpy())]
            np.testing.assert_allclose(stored, facts["wavelengths_nm"], atol=0.01, err_msg=facts["name"])
            assert (np.diff(scene["wavelength"]) >= 0).all(), facts["name"]
        if facts.get("crs"):
            assert scene.rio.crs == CRS.from_string(facts["crs"]), facts["name"]
        opened += 1
    assert opened >= 20
