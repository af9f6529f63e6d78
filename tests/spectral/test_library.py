"""Spectral libraries, read and written."""

import json

import numpy as np
import pytest
import xarray as xr

from hsi_toolkit.errors import OutputError, ParameterError, SceneError
from hsi_toolkit.spectral.library import SpectralLibrary

WAVELENGTH = np.array([450.0, 550.0, 650.0, 900.0])


@pytest.fixture
def library():
    spectra = np.array([[0.1, 0.2, 0.1, 0.5], [0.2, 0.25, 0.3, 0.35]])
    return SpectralLibrary(spectra, ("tree 1", "soil, dry"), WAVELENGTH, np.full(4, 10.0))


def scene_with(wavelength=None, bands=4):
    coords = {} if wavelength is None else {"wavelength": ("band", np.asarray(wavelength, float))}
    return xr.DataArray(np.zeros((bands, 1, 1)), dims=("band", "y", "x"), coords=coords)


@pytest.mark.parametrize("suffix", [".csv", ".sli"])
def test_what_is_written_is_read(tmp_path, library, suffix):
    library.write(tmp_path / f"library{suffix}")
    found = SpectralLibrary.read(tmp_path / f"library{suffix}")
    np.testing.assert_allclose(found.spectra, library.spectra, rtol=1e-6)
    np.testing.assert_allclose(found.wavelength, WAVELENGTH)
    assert found.names[0] == "tree 1"
    assert len(found) == 2


def test_the_header_alone_leads_to_the_library(tmp_path, library):
    library.write(tmp_path / "library.sli")
    found = SpectralLibrary.read(tmp_path / "library.hdr")
    np.testing.assert_allclose(found.fwhm, 10.0)


def test_tables_in_micrometres_and_without_wavelengths_are_read(tmp_path):
    (tmp_path / "um.csv").write_text("wavelength (um),tree\n0.45,0.1\n0.55,0.2\n", encoding="utf-8")
    np.testing.assert_allclose(SpectralLibrary.read(tmp_path / "um.csv").wavelength, [450, 550])
    (tmp_path / "band.csv").write_text("band,tree\n1,0.1\n2,0.2\n", encoding="utf-8")
    assert SpectralLibrary.read(tmp_path / "band.csv").wavelength is None


def test_scale_and_missing_values_of_a_header_are_applied(tmp_path):
    np.array([[1000, 5000], [-1, 2000]], "<i2").tofile(tmp_path / "a.sli")
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 2\nlines = 2\nbands = 1\nheader offset = 0\nfile type = ENVI Spectral Library\n"
        "data type = 2\ninterleave = bsq\nbyte order = 0\nreflectance scale factor = 10000\n"
        "data ignore value = -1\nwavelength units = Micrometers\nwavelength = {0.5, 0.6}\n"
    )
    found = SpectralLibrary.read(tmp_path / "a.sli")
    np.testing.assert_allclose(found.spectra, [[0.1, 0.5], [np.nan, 0.2]])
    np.testing.assert_allclose(found.wavelength, [500, 600])
    assert found.names == ("spectrum 1", "spectrum 2")


def test_spectra_are_brought_to_the_scenes_bands(library):
    found = library.resampled_to(scene_with([500.0, 600.0], 2))
    np.testing.assert_allclose(found.spectra, [[0.15, 0.15], [0.225, 0.275]], rtol=1e-6)


def test_bands_are_taken_by_number_where_wavelengths_are_unknown(library):
    assert library.resampled_to(scene_with(bands=4)).spectra.shape == (2, 4)
    with pytest.raises(SceneError, match="the scene has no wavelengths"):
        library.resampled_to(scene_with(bands=5))


def test_a_scene_beyond_the_library_is_refused(library):
    with pytest.raises(SceneError, match="does not cover"):
        library.resampled_to(scene_with([500.0, 2200.0], 2))


def test_classes_are_names_without_numbers():
    names = ("tree 1", "tree_2", "B-52", "soil", "7")
    assert SpectralLibrary(np.ones((5, 2)), names).classes == ("tree", "tree", "B", "soil", "7")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "no table"), ("nm,a\n500,x\n", "'x'"), ("nm,a\n500,1,2\n", "no table")],
)
def test_tables_that_are_none_are_refused(tmp_path, text, problem):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SceneError, match=problem):
        SpectralLibrary.read(tmp_path / "bad.csv")


def test_existing_files_and_other_suffixes_are_refused(tmp_path, library):
    library.write(tmp_path / "a.sli")
    with pytest.raises(OutputError, match="exists"):
        library.write(tmp_path / "a.sli")
    with pytest.raises(ParameterError, match="Spectra cannot be written"):
        library.write(tmp_path / "a.xlsx")


def test_real_libraries_are_read(shared):
    paths = sorted((shared / "scenes").glob("library_*/*.sli"))
    assert paths
    for path in paths:
        found = SpectralLibrary.read(path)
        assert found.wavelength is not None
        assert 300 < found.wavelength.min() < found.wavelength.max() < 20_000


class TestSamples:
    """The sample of each format holds the same spectra."""

    @pytest.fixture
    def samples(self, shared):
        return shared / "products" / "speclib"

    @pytest.fixture
    def expected(self, samples):
        return json.loads((samples / "expected.json").read_text(encoding="utf-8"))["library"]

    @pytest.mark.parametrize("file", ["library.sli", "library.hdr", "long.csv", "wide.csv"])
    def test_libraries_of_several_spectra(self, samples, expected, file):
        library = SpectralLibrary.read(samples / file)
        assert list(library.names) == expected["names"]
        np.testing.assert_allclose(library.wavelength, expected["wavelengths_nm"], atol=0.01)
        np.testing.assert_allclose(library.spectra, expected["spectra"], rtol=1e-4)

    @pytest.mark.parametrize(
        ("file", "name", "number"),
        [
            ("sample.veg.synthetic.spectrum.txt", "soil_01", 0),
            (
                "ASCIIdata_splib07a/ChapterV_Vegetation/splib07a_Synthetic_Leaf_ASDFRa_AREF.txt",
                "Synthetic Leaf",
                1,
            ),
        ],
    )
    def test_single_spectra_as_text(self, samples, expected, file, name, number):
        library = SpectralLibrary.read(samples / file)
        wanted = np.array(expected["spectra"][number])
        assert library.names == (name,)
        np.testing.assert_allclose(library.wavelength, expected["wavelengths_nm"], atol=0.01)
        known = np.isfinite(library.spectra[0])
        assert known.sum() > 100
        np.testing.assert_allclose(library.spectra[0][known], wanted[known], rtol=1e-4)


def test_a_descending_text_spectrum_ascends_and_percent_become_shares(tmp_path):
    path = tmp_path / "grass.spectrum.txt"
    path.write_text(
        "Name: Grass\nX Units: Wavelength (micrometers)\nY Units: Reflectance (percent)\n\n"
        "2.0 30\n1.0 20\n0.5 10\n"
    )
    library = SpectralLibrary.read(path)
    assert library.names == ("Grass",)
    assert library.wavelength.tolist() == [500, 1000, 2000]
    np.testing.assert_allclose(library.spectra, [[0.1, 0.2, 0.3]])


def test_text_that_is_no_spectrum_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary,\n1 2\n")
    with pytest.raises(SceneError, match="no spectrum"):
        SpectralLibrary.read(path)
