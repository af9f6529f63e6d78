"""From a scene to abundances, through the task."""

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import box

from hsi_toolkit.errors import Cancelled, HsiError, LabelError, OutputError, ParameterError
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, make_scene, open_scene
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.unmix import Unmix
from tests.unmixing.conftest import mixtures, smooth_spectra

ROWS, COLUMNS, BANDS = 30, 40, 60
WAVELENGTH = np.linspace(450, 900, BANDS)
NAMES = ("grass", "soil", "roof")


class Lake:
    """A scene with its truth."""

    def __init__(self, folder, light=0.0):
        self.spectra = smooth_spectra(3)
        pixels, shares = mixtures(self.spectra, ROWS * COLUMNS, noise=0.002, light=light)
        self.cube = pixels.T.reshape(BANDS, ROWS, COLUMNS).astype(np.float32)
        self.cube[:, 4, 5] = np.nan
        self.shares = shares.T.reshape(3, ROWS, COLUMNS)
        self.path = str(folder / "scene.tif")
        self.folder = folder
        scene = make_scene(self.cube, path=folder / "scene.tif")
        good = np.arange(BANDS) != 7
        self.cube[7] = 99
        with RasterWriter(self.path, like=scene, count=BANDS, wavelengths=WAVELENGTH, good=good) as writer:
            writer.write(self.cube, 0)
        self.library = SpectralLibrary(self.spectra, NAMES, WAVELENGTH)

    def task(self, **more):
        given = {"scene": self.path, "output": str(self.folder / "abundances.tif"), **more}
        return Unmix(**given)


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def abundances(lake):
    return open_scene(lake.folder / "abundances.tif").to_numpy()


def rmse(found, wanted):
    return float(np.sqrt(np.nanmean((found - wanted) ** 2)))


def test_endmembers_are_found_named_mapped_and_written(lake):
    lake.library.write(lake.folder / "names.csv")
    spectra, error, spread = (str(lake.folder / name) for name in ("em.csv", "error.tif", "spread.tif"))
    task = lake.task(
        endmembers="3",
        names=str(lake.folder / "names.csv"),
        spectra=spectra,
        error=error,
        uncertainty=spread,
    )
    result = run(task)
    assert {each["name"] for each in result["endmembers"]} == set(NAMES)
    assert result["brightness"] == "even"
    order = [[each["name"] for each in result["endmembers"]].index(name) for name in NAMES]
    found = abundances(lake)[order]
    assert rmse(found, lake.shares) < 0.02
    assert np.nanmin(found) >= 0
    np.testing.assert_allclose(np.nansum(found, axis=0)[0], 1, atol=1e-6)
    assert np.isnan(found[:, 4, 5]).all()
    written = SpectralLibrary.read(spectra)
    assert set(written.names) == set(NAMES)
    assert len(written.wavelength) == BANDS - 1
    assert np.nanmean(open_scene(error).to_numpy()) == pytest.approx(0.002, rel=0.1)
    assert np.nanmax(open_scene(spread).to_numpy()) < 0.05


def test_the_number_of_endmembers_is_found(lake):
    assert len(run(lake.task())["endmembers"]) == 3


def test_a_library_gives_the_endmembers(lake):
    library = str(lake.folder / "library.sli")
    lake.library.write(library)
    result = run(lake.task(endmembers=library))
    assert [each["name"] for each in result["endmembers"]] == list(NAMES)
    assert rmse(abundances(lake), lake.shares) < 0.01


def test_uneven_light_is_seen_and_taken_out(tmp_path):
    lake = Lake(tmp_path, light=0.4)
    lake.library.write(tmp_path / "library.sli")
    result = run(lake.task(endmembers=str(tmp_path / "library.sli")))
    assert result["brightness"] == "free"
    light = lake.shares * np.linalg.norm(lake.spectra, axis=1)[:, None, None]
    assert rmse(abundances(lake), light / light.sum(axis=0)) < 0.02


@pytest.mark.parametrize("method", ["fcls", "mesma", "sparse", "sparse-tv"])
def test_polygons_give_the_endmembers(lake, method):
    cube = lake.cube
    for index in range(3):
        cube[:, index * 3 : index * 3 + 2, :4] = lake.spectra[index][:, None, None]
    scene = make_scene(cube, path=lake.folder / "pure.tif")
    pure = str(lake.folder / "pure.tif")
    good = np.arange(BANDS) != 7
    with RasterWriter(pure, like=scene, count=BANDS, wavelengths=WAVELENGTH, good=good) as writer:
        writer.write(cube, 0)
    shapes = [box(0, 3 * index, 4, 3 * index + 2) for index in range(3)]
    polygons = str(lake.folder / "pure.gpkg")
    gpd.GeoDataFrame({"number": [1, 2, 3], "material": NAMES}, geometry=shapes).to_file(polygons)
    result = run(lake.task(scene=pure, endmembers=polygons, method=method))
    names = [each["name"] for each in result["endmembers"]]
    assert sorted(names) == sorted(NAMES)
    found = abundances(lake)[[names.index(name) for name in NAMES]]
    assert rmse(found[:, 10:], lake.shares[:, 10:]) < 0.15


def test_a_field_that_cannot_be_guessed_is_asked_for(lake):
    polygons = str(lake.folder / "pure.gpkg")
    frame = gpd.GeoDataFrame({"one": ["a"], "two": ["b"]}, geometry=[box(0, 0, 4, 4)])
    frame.to_file(polygons)
    with pytest.raises(LabelError, match="one, two"):
        run(lake.task(endmembers=polygons))


def test_blocks_do_not_show(lake, monkeypatch):
    run(lake.task(endmembers="3"))
    whole = abundances(lake)
    monkeypatch.setattr("hsi_toolkit.pipelines.unmix._BLOCK_BYTES", 1)
    run(lake.task(endmembers="3", overwrite=True))
    np.testing.assert_allclose(abundances(lake), whole, atol=1e-6)


def test_the_same_seed_gives_the_same_map(lake):
    run(lake.task(endmembers="3", seed=4))
    first = abundances(lake)
    run(lake.task(endmembers="3", seed=4, overwrite=True))
    np.testing.assert_array_equal(abundances(lake), first)


@pytest.mark.parametrize("text", ["1", "many", "-3"])
def test_endmembers_that_mean_nothing_are_refused(lake, text):
    with pytest.raises(ParameterError, match="neither a number"):
        run(lake.task(endmembers=text))


def test_an_output_that_exists_is_kept(lake):
    (lake.folder / "abundances.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run(lake.task(endmembers="3"))
    assert (lake.folder / "abundances.tif").read_text() == "mine"


def test_methods_that_need_spectra_say_so(lake):
    with pytest.raises(HsiError, match="needs spectra"):
        run(lake.task(endmembers="3", method="mesma"))


def test_cancelling_leaves_nothing(lake):
    class Late(Progress):
        def __init__(self):
            self.seen = 0.0

        def report(self, fraction, message=""):
            self.seen = fraction

        def cancelled(self):
            return self.seen >= 0.3

    before = set(lake.folder.iterdir())
    with pytest.raises(Cancelled):
        run(lake.task(endmembers="3", spectra=str(lake.folder / "em.csv")), Late())
    assert set(lake.folder.iterdir()) == before
