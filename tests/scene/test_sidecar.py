"""Corrections beside a scene: honoured by every reader, refused when wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import RasterWriter, make_scene, open_scene
from hsi_toolkit.scene.sidecar import Corrections, sidecar_path
from tests.scene.conftest import WriteEnvi
from tests.scene.test_export import Held

FULL = Corrections(
    bands=5,
    wavelengths_nm=(450.0, 550.0, 650.0, 750.0, 850.0),
    fwhm_nm=(10.0, 11.0, 12.0, 13.0, 14.0),
    bad_bands=(2, 5),
    scale=0.01,
    offset=1.0,
    nodata=7.0,
    quantity="reflectance",
    sensor="Homemade",
    acquired="2024-06-14T10:21:33Z",
)


def written(content: dict[str, object], scene: Path) -> Path:
    path = sidecar_path(scene)
    path.write_text(json.dumps({"format": "hsi_toolkit scene corrections", "version": 1, **content}))
    return path


def files(cube: np.ndarray, folder: Path, write_envi: WriteEnvi) -> dict[str, Path]:
    plain = make_scene(Held(cube.astype(np.float32)), path=Path("held"))
    with RasterWriter(folder / "t.tif", like=plain, count=5) as writer:
        writer.write(cube, 0)
    np.save(folder / "n.npy", cube)
    scipy.io.savemat(folder / "m.mat", {"data": cube.transpose(1, 2, 0)})
    return {
        "envi": write_envi(cube),
        "tif": folder / "t.tif",
        "npy": folder / "n.npy",
        "mat": folder / "m.mat",
    }


@pytest.mark.parametrize("kind", ["envi", "tif", "npy", "mat"])
def test_every_reader_honours_them(
    kind: str, cube: np.ndarray, tmp_path: Path, write_envi: WriteEnvi
) -> None:
    path = files(cube, tmp_path, write_envi)[kind]
    variable = ":byx" if kind == "npy" else None
    before = path.read_bytes()
    FULL.write(sidecar_path(path))
    scene = open_scene(path, variable)
    expected = np.where(cube == 7, np.nan, cube.astype(np.float32) * np.float32(0.01) + 1)
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    np.testing.assert_allclose(scene[3, 2:4, 1:3].values, expected[3, 2:4, 1:3], rtol=1e-6)
    np.testing.assert_allclose(scene[[4, 1]].values, expected[[4, 1]], rtol=1e-6)
    np.testing.assert_array_equal(scene["wavelength"], FULL.wavelengths_nm)
    np.testing.assert_array_equal(scene["fwhm"], FULL.fwhm_nm)
    np.testing.assert_array_equal(scene["good"], [True, False, True, True, False])
    assert {key: scene.attrs[key] for key in ("quantity", "sensor", "acquired")} == {
        "quantity": "reflectance",
        "sensor": "Homemade",
        "acquired": "2024-06-14T10:21:33Z",
    }
    assert scene.encoding["found"]["wavelength"] == f"the corrections in {path.name}.hsi.json"
    assert path.read_bytes() == before
    plain = open_scene(path, variable, sidecar=False)
    np.testing.assert_array_equal(plain.values, cube)


def test_opening_reads_no_values(tmp_path: Path) -> None:
    class Unread(Held):
        def read(self, *window: object) -> np.ndarray:
            raise AssertionError("read on opening")

    scene = make_scene(Unread(np.zeros((5, 2, 2), np.float32)), path=tmp_path / "x")
    assert FULL.apply(scene, tmp_path / "x.hsi.json").shape == (5, 2, 2)


def test_both_files_of_an_envi_pair_share_them(cube: np.ndarray, write_envi: WriteEnvi) -> None:
    header = write_envi(cube)
    Corrections(bad_bands=(1,)).write(sidecar_path(header))
    assert not open_scene(header.with_suffix(".img"))["good"].values[0]
    sidecar_path(header).unlink()
    Corrections(bad_bands=(2,)).write(sidecar_path(header.with_suffix(".img")))
    assert not open_scene(header)["good"].values[1]


def test_a_raster_of_the_same_name_is_another_scene(
    cube: np.ndarray, tmp_path: Path, write_envi: WriteEnvi
) -> None:
    Corrections(bad_bands=(1,)).write(sidecar_path(write_envi(cube, name="t")))
    files(cube, tmp_path, write_envi)
    assert open_scene(tmp_path / "t.tif")["good"].values.all()


def test_lists_follow_the_bands_numbers(cube: np.ndarray, write_envi: WriteEnvi) -> None:
    """The file's bands descend, the scene's ascend; band 1 stays the file's first."""
    header = write_envi(cube, extra="wavelength units = nm\nwavelength = {900, 800, 700, 600, 500}\n")
    Corrections(fwhm_nm=(9.0, 8.0, 7.0, 6.0, 5.0), bad_bands=(1,), scale=(1, 2, 3, 4, 5)).write(
        sidecar_path(header)
    )
    scene = open_scene(header)
    np.testing.assert_array_equal(scene["wavelength"], [500, 600, 700, 800, 900])
    np.testing.assert_array_equal(scene["fwhm"], [5, 6, 7, 8, 9])
    np.testing.assert_array_equal(scene["good"], [True, True, True, True, False])
    np.testing.assert_array_equal(scene.values, (cube * np.arange(1, 6)[:, None, None])[::-1])


def test_new_wavelengths_order_the_bands(cube: np.ndarray, write_envi: WriteEnvi) -> None:
    header = write_envi(cube)
    Corrections(wavelengths_nm=(900, 500, 600, 700, 800)).write(sidecar_path(header))
    scene = open_scene(header)
    np.testing.assert_array_equal(scene["wavelength"], [500, 600, 700, 800, 900])
    np.testing.assert_array_equal(scene.values, cube[[1, 2, 3, 4, 0]])


def test_a_named_file_is_taken_instead(cube: np.ndarray, tmp_path: Path, write_envi: WriteEnvi) -> None:
    header = write_envi(cube)
    Corrections(bad_bands=(1,)).write(sidecar_path(header))
    Corrections(bad_bands=(3,)).write(tmp_path / "other.json")
    good = open_scene(header, sidecar=tmp_path / "other.json")["good"].values
    np.testing.assert_array_equal(good, [True, True, False, True, True])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    FULL.write(tmp_path / "a.json")
    assert Corrections.read(tmp_path / "a.json") == FULL
    assert not Corrections()
    assert FULL


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"wavelengths_nm": [400, 500]}, "2 entries, the scene 5"),
        ({"wavelengths_nm": [400, 500, -1, 2, 3]}, "'wavelengths_nm'.*-1"),
        ({"wavelengths_nm": "400"}, "wavelengths_nm"),
        ({"bad_bands": [0]}, "'bad_bands'"),
        ({"bad_bands": [1.5]}, "'bad_bands'"),
        ({"bad_bands": [9]}, "names band 9"),
        ({"scale": 0}, "'scale'"),
        ({"scale": True}, "'scale'"),
        ({"nodata": "none"}, "'nodata'"),
        ({"quantity": "emissivity"}, "emissivity"),
        ({"acquired": "in summer"}, "in summer"),
        ({"sensor": 7}, "'sensor'"),
        ({"bands": 6}, "6 bands"),
        ({"wavelength": [1, 2, 3, 4, 5]}, "an entry 'wavelength'"),
        ({"version": 2}, "version 2"),
        ({"format": "else"}, "no file of scene corrections"),
    ],
)
def test_wrong_entries_are_named(
    content: dict[str, object], match: str, cube: np.ndarray, write_envi: WriteEnvi
) -> None:
    header = write_envi(cube)
    written(content, header)
    with pytest.raises(SceneError, match=match):
        open_scene(header)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"nodata": NaN}', "\x00"])
def test_what_is_no_file_of_corrections_is_refused(
    text: str, cube: np.ndarray, write_envi: WriteEnvi
) -> None:
    header = write_envi(cube)
    sidecar_path(header).write_text(text)
    with pytest.raises(SceneError, match=r"cube\.hdr\.hsi\.json"):
        open_scene(header)
