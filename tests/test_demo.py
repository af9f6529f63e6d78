"""The demo scene: the same for the same seed, complete, and honest enough to be classified."""

import hashlib

import geopandas
import numpy as np
import pytest
import shapely
from rasterio.features import rasterize

from hsi_toolkit.demo import CLASS_FIELD, COLOUR_FIELD, DemoFiles, make_demo_scene
from hsi_toolkit.errors import Cancelled, OutputError, ParameterError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene, read_class_map
from hsi_toolkit.synthetic.spectra import GOOD, WAVELENGTHS, WHEAT, soil

SIDE = 240


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_demo_scene(tmp_path_factory.mktemp("demo"), shape=(SIDE, SIDE), seed=5)


@pytest.fixture(scope="module")
def scene(files):
    return open_scene(files.scene)


@pytest.fixture(scope="module")
def cube(scene):
    return scene.values


@pytest.fixture(scope="module")
def reference(files):
    return read_class_map(files.reference)


@pytest.fixture(scope="module")
def polygons(files):
    return geopandas.read_file(files.labels)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestFiles:
    def test_scene_has_what_a_sensor_states(self, scene):
        assert dict(scene.sizes) == {"band": 120, "y": SIDE, "x": SIDE}
        assert scene.wavelength.values == pytest.approx(WAVELENGTHS)
        assert (scene.wavelength[0], scene.wavelength[-1]) == (400, 2450)
        assert (scene.fwhm > 0).all()
        assert (scene.good.values == GOOD).all()
        assert 90 < scene.good.values.sum() < 120
        assert scene.attrs["quantity"] == "reflectance"

    def test_scene_is_georeferenced(self, scene):
        assert scene.rio.crs.to_epsg() == 32633
        assert scene.rio.resolution() == (5, -5)

    def test_values_are_reflectances(self, cube):
        good = cube[GOOD]
        assert np.isfinite(cube).all()
        assert good.min() > -0.02
        assert good.max() < 0.9

    def test_bad_bands_hold_noise(self, cube):
        noise, signal = cube[~GOOD], cube[GOOD]
        assert np.abs(np.corrcoef(noise[2].ravel(), noise[3].ravel())[0, 1]) < 0.1
        assert np.corrcoef(signal[50].ravel(), signal[51].ravel())[0, 1] > 0.99

    def test_reference_covers_every_pixel_with_named_classes(self, reference):
        labels, legend = reference
        assert labels.shape == (SIDE, SIDE)
        assert set(np.unique(labels)) == {entry.value for entry in legend}
        assert len({entry.colour for entry in legend}) == len(legend) == 12

    def test_the_same_seed_gives_the_same_files(self, files, tmp_path):
        again = make_demo_scene(tmp_path, shape=(SIDE, SIDE), seed=5)
        assert digest(again.scene) == digest(files.scene)
        assert digest(again.reference) == digest(files.reference)
        drawn, redrawn = geopandas.read_file(files.labels), geopandas.read_file(again.labels)
        assert drawn.equals(redrawn)

    def test_earlier_files_are_kept_unless_overwriting_is_allowed(self, files):
        before = digest(files.labels)
        with pytest.raises(OutputError, match="exists already"):
            make_demo_scene(files.scene.parent, shape=(SIDE, SIDE), seed=6)
        assert digest(files.labels) == before

    def test_too_small_a_scene_is_refused(self, tmp_path):
        with pytest.raises(ParameterError, match="at least 240"):
            make_demo_scene(tmp_path, shape=(100, 300))

    def test_cancelled_it_leaves_no_files(self, tmp_path):
        class Stopped(Progress):
            def cancelled(self):
                return True

        with pytest.raises(Cancelled):
            make_demo_scene(tmp_path, shape=(SIDE, SIDE), progress=Stopped())
        assert list(tmp_path.iterdir()) == []

    def test_paths_lie_in_the_folder(self, files):
        assert isinstance(files, DemoFiles)
        assert files.field == CLASS_FIELD
        assert all(path.is_file() for path in (files.scene, files.labels, files.reference))


class TestPolygons:
    def test_every_class_has_three_or_four(self, polygons, reference):
        counts = polygons[CLASS_FIELD].value_counts()
        assert set(counts.index) == {entry.name for entry in reference[1]}
        assert counts.between(3, 4).all()

    def test_colours_are_those_of_the_reference(self, polygons, reference):
        of_class = {entry.name: f"#{bytes(entry.colour).hex()}" for entry in reference[1]}
        assert (polygons[COLOUR_FIELD] == polygons[CLASS_FIELD].map(of_class)).all()

    def test_they_are_valid_and_apart(self, polygons):
        assert polygons.crs.to_epsg() == 32633
        assert polygons.is_valid.all()
        assert polygons.union_all().area == pytest.approx(polygons.area.sum())

    def test_they_are_irregular(self, polygons):
        boxes = shapely.area(shapely.minimum_rotated_rectangle(polygons.geometry.values))
        assert (polygons.area / boxes).median() < 0.9
        assert shapely.get_num_coordinates(polygons.geometry.values).mean() > 6

    def test_each_holds_at_least_five_pixels_and_its_class_alone(self, polygons, reference, scene):
        labels, legend = reference
        value = {entry.name: entry.value for entry in legend}
        for name, polygon in zip(polygons[CLASS_FIELD], polygons.geometry, strict=True):
            inside = rasterize([polygon], out_shape=labels.shape, transform=scene.rio.transform()) == 1
            assert inside.sum() >= 5
            assert (labels[inside] == value[name]).all()


class TestPhysics:
    def test_classes_look_as_they_do_in_nature(self, cube, reference):
        labels, legend = reference
        means = {entry.name: cube[:, labels == entry.value].mean(axis=1) for entry in legend}

        def at(name, nanometres):
            return means[name][np.abs(WAVELENGTHS - nanometres).argmin()]

        for plant in ("winter wheat", "meadow", "spruce", "beech"):
            assert at(plant, 860) > 5 * at(plant, 670)
            assert at(plant, 555) > at(plant, 670)
        assert at("rapeseed", 660) > 2 * at("rapeseed", 470)
        assert at("water", 860) < 0.1 < at("bare soil", 860)
        assert at("spruce", 860) < at("beech", 860)
        assert at("bare soil", 2205) < at("bare soil", 2150)
        assert at("clay tile roof", 650) > 2 * at("clay tile roof", 480)

    def test_more_chlorophyll_moves_the_red_edge_to_longer_wavelengths(self):
        one = np.ones(1)
        ground = soil(0.4 * one, one, one)
        edge = (WAVELENGTHS > 660) & (WAVELENGTHS < 780)

        def inflection(chlorophyll):
            spectrum = WHEAT.reflectance({"chlorophyll": chlorophyll * one}, ground)[0, edge]
            return (WAVELENGTHS[edge][:-1] * np.diff(spectrum)).sum() / np.diff(spectrum).sum()

        assert inflection(1.5) > inflection(0.5) + 2

    def test_moist_soil_is_darker(self):
        spectra = soil(np.array([0.1, 1.0]), np.ones(2), np.ones(2))
        assert (spectra[1] < spectra[0]).all()
