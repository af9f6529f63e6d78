"""A scene with the bands of another sensor."""

from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.errors import SceneError
from hsi_toolkit.pipelines import run
from hsi_toolkit.pipelines.resample import weigh
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.sidecar import Corrections, sidecar_path
from hsi_toolkit.tasks.resample import Resample
from tests.scene.test_export import export, held_scene


def task(folder: Path, bands: str, **more: object) -> Resample:
    export(held_scene(), folder / "scene.tif")
    (folder / "to.csv").write_text(bands)
    return Resample(
        scene=str(folder / "scene.tif"), to=str(folder / "to.csv"), output=str(folder / "out.tif"), **more
    )


def test_the_same_bands_stay_as_they_are(tmp_path: Path) -> None:
    scene = held_scene()
    good = scene["good"].values
    rows = "\n".join(
        f"{w:.6f},{f:.6f}" for w, f in zip(scene.wavelength.values, scene.fwhm.values, strict=True)
    )
    wanted = "\n".join(line for line, kept in zip(rows.split("\n"), good, strict=True) if kept)
    result = run(task(tmp_path, f"wavelength_nm,fwhm_nm\n{wanted}\n"))
    out = open_scene(tmp_path / "out.tif")
    np.testing.assert_allclose(out.values, scene.values[good], atol=1e-5)
    assert result["bands"] == good.sum()
    assert out.attrs["sensor"] == "EnMAP"
    assert out.rio.transform() == scene.rio.transform()


def test_wide_bands_average_narrow_ones(tmp_path: Path) -> None:
    run(task(tmp_path, "wavelength_nm,fwhm_nm\n1400,500\n"))
    out = open_scene(tmp_path / "out.tif")
    values = held_scene().values
    assert out.values[0, 0, 0] == pytest.approx(values[5:14, 0, 0].mean(), abs=0.15)
    np.testing.assert_allclose(out["fwhm"], [500])


def test_missing_ranges_are_refused_or_left_out(tmp_path: Path) -> None:
    asked = task(tmp_path, "wavelength_nm,fwhm_nm\n500,50\n1000,50\n12000,300\n")
    with pytest.raises(SceneError, match=r"12000 nm are missing.*--partial"):
        run(asked)
    assert not (tmp_path / "out.tif").exists()
    result = run(Resample(**{**asked.to_dict(), "partial": True}))
    assert result["left_out"] == 1
    assert open_scene(tmp_path / "out.tif").sizes["band"] == 2


def test_bad_bands_take_no_part(tmp_path: Path) -> None:
    asked = task(tmp_path, "wavelength_nm\n1000\n1200\n")
    run(asked)
    with_neighbours = open_scene(tmp_path / "out.tif").values
    Corrections(bad_bands=(4, 7, 11, 18)).write(sidecar_path(tmp_path / "scene.tif"))
    run(Resample(**{**asked.to_dict(), "overwrite": True}))
    assert not np.allclose(open_scene(tmp_path / "out.tif").values, with_neighbours, equal_nan=True)


def test_scenes_without_wavelengths_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", np.ones((9, 8, 4)))
    (tmp_path / "to.csv").write_text("wavelength_nm\n500\n")
    asked = Resample(
        scene=str(tmp_path / "scene.npy"), to=str(tmp_path / "to.csv"), output=str(tmp_path / "o.tif")
    )
    with pytest.raises(SceneError, match="no wavelengths"):
        run(asked)


def test_gaps_spoil_only_the_bands_that_need_them() -> None:
    values = np.ones((3, 1, 2), np.float32)
    values[0, 0, 1] = np.nan
    matrix = np.array([[0.5, 0.0], [0.5, 0.5], [0.0, 0.5]], np.float32)
    np.testing.assert_array_equal(weigh(values, matrix), [[[1, np.nan]], [[1, 1]]])
