"""Resampling between sensors and matching a scene's bands with a model's."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral.resample import BandPlan, SensorBands, plan_bands, resampling_matrix


def scene(wavelength=None, fwhm=None, good=None, bands=None):
    count = bands if wavelength is None else len(wavelength)
    coords = {"good": ("band", np.ones(count, bool) if good is None else np.asarray(good))}
    if wavelength is not None:
        coords["wavelength"] = ("band", np.asarray(wavelength, float))
    if fwhm is not None:
        coords["fwhm"] = ("band", np.asarray(fwhm, float))
    return xr.DataArray(np.zeros((count, 2, 2), np.float32), dims=("band", "y", "x"), coords=coords)


SENSOR = np.arange(400.0, 1001.0, 10.0)


class TestResamplingMatrix:
    def test_same_bands_give_the_identity(self):
        assert np.array_equal(resampling_matrix(SENSOR, SENSOR), np.eye(len(SENSOR), dtype=np.float32))

    def test_is_float32_of_source_by_target(self):
        matrix = resampling_matrix(SENSOR, [500.0, 555.0])
        assert matrix.shape == (61, 2)
        assert matrix.dtype == np.float32

    def test_linear_interpolation_takes_the_two_neighbours(self):
        column = resampling_matrix(SENSOR, [552.5])[:, 0]
        assert dict(enumerate(column[column > 0])) == pytest.approx({0: 0.75, 1: 0.25})
        assert np.flatnonzero(column).tolist() == [15, 16]

    def test_source_order_does_not_matter(self):
        order = np.random.default_rng(0).permutation(len(SENSOR))
        spectrum = np.sin(SENSOR / 80)
        shuffled = spectrum[order] @ resampling_matrix(SENSOR[order], [512.0, 777.0])
        assert shuffled == pytest.approx(spectrum @ resampling_matrix(SENSOR, [512.0, 777.0]))

    def test_two_source_bands_of_one_centre_are_no_division_by_zero(self):
        matrix = resampling_matrix([400.0, 410.0, 410.0, 420.0], [410.0, 415.0])
        assert np.isfinite(matrix).all()
        assert matrix.sum(axis=0) == pytest.approx([1, 1])

    def test_gaussian_responses_average_a_narrow_peak_to_its_area(self):
        # Discrete convolution as reference: a fine source, a target response of 40 nm.
        fine = np.arange(400.0, 1000.5, 0.5)
        spectrum = np.exp(-0.5 * ((fine - 700) / 5) ** 2)
        sigma = 40 / 2.3548
        response = np.exp(-0.5 * ((fine - 705) / sigma) ** 2)
        expected = (spectrum * response).sum() / response.sum()
        got = spectrum @ resampling_matrix(fine, [705.0], [40.0])[:, 0]
        assert got == pytest.approx(expected, rel=5e-3)

    def test_narrow_responses_become_linear_interpolation(self):
        assert resampling_matrix(SENSOR, [553.0], [0.01]) == pytest.approx(
            resampling_matrix(SENSOR, [553.0]), abs=1e-6
        )

    def test_what_the_source_has_blurred_is_not_blurred_again(self):
        widths = np.full(len(SENSOR), 12.0)
        matrix = resampling_matrix(SENSOR, SENSOR, widths, source_fwhm=widths)
        assert np.array_equal(matrix, np.eye(len(SENSOR), dtype=np.float32))
        assert resampling_matrix(SENSOR, SENSOR, widths)[30, 30] < 0.9

    @given(
        st.lists(st.floats(420, 980), min_size=1, max_size=20),
        st.floats(1, 60),
    )
    def test_columns_are_weights(self, targets, fwhm):
        matrix = resampling_matrix(SENSOR, targets, np.full(len(targets), fwhm))
        assert (matrix >= 0).all()
        assert matrix.sum(axis=0) == pytest.approx(np.ones(len(targets)), abs=1e-5)

    @given(st.lists(st.floats(500, 900), min_size=1, max_size=20), st.floats(1, 60), st.floats(-2, 2))
    def test_straight_spectra_are_read_exactly(self, targets, fwhm, slope):
        spectrum = 0.3 + slope * (SENSOR - 700) / 300
        matrix = resampling_matrix(SENSOR, targets, np.full(len(targets), fwhm))
        expected = 0.3 + slope * (np.asarray(targets) - 700) / 300
        assert spectrum @ matrix == pytest.approx(expected, abs=1e-5)

    def test_a_missing_range_is_named(self):
        with pytest.raises(SceneError, match="400 to 1000 nm, and 1000 to 2400 nm are missing"):
            resampling_matrix(SENSOR, np.arange(500.0, 2401.0, 10.0))
        with pytest.raises(SceneError, match="350 to 400 nm and 1000 to 1100 nm are missing"):
            resampling_matrix(SENSOR, [350.0, 700.0, 1100.0])

    def test_a_range_that_does_not_overlap_at_all_is_named(self):
        with pytest.raises(SceneError, match="1500 to 1600 nm are missing"):
            resampling_matrix(SENSOR, [1500.0, 1600.0])

    def test_half_a_band_beyond_the_edge_is_covered(self):
        assert resampling_matrix(SENSOR, [396.0])[0, 0] == 1
        with pytest.raises(SceneError):
            resampling_matrix(SENSOR, [394.0])

    def test_a_hole_is_not_papered_over(self):
        holed = np.concatenate([np.arange(1000.0, 1350.0, 10), np.arange(1450.0, 1800.0, 10)])
        with pytest.raises(SceneError, match="no good band between 1340 and 1450 nm"):
            resampling_matrix(holed, [1300.0, 1310.0, 1400.0])
        assert resampling_matrix(holed, [1300.0, 1500.0]).shape == (70, 2)

    def test_wavelengths_that_are_none_are_refused(self):
        with pytest.raises(SceneError, match="not positive"):
            resampling_matrix([400.0, np.nan], [400.0])


class TestPlanBands:
    def test_a_scene_of_the_same_sensor_needs_nothing(self):
        own = scene(SENSOR)
        assert plan_bands(SensorBands.of_scene(own), own) == BandPlan(tuple(range(61)))

    def test_only_the_good_bands_of_training_are_read(self):
        good = np.ones(61, bool)
        good[20:25] = False
        plan = plan_bands(SensorBands.of_scene(scene(SENSOR, good=good)), scene(SENSOR))
        assert plan.matrix is None
        assert plan.bands == (*range(20), *range(25, 61))
        assert plan.note == ""

    def test_calibration_shifts_are_the_same_band(self):
        model = SensorBands.of_scene(scene(SENSOR, fwhm=np.full(61, 10.0)))
        assert plan_bands(model, scene(SENSOR + 0.8)).matrix is None
        assert plan_bands(model, scene(SENSOR + 3.0)).matrix is not None

    def test_the_models_bands_are_found_among_more_of_them(self):
        model = SensorBands.of_scene(scene(SENSOR))
        wider = np.arange(300.0, 1101.0, 10.0)
        assert plan_bands(model, scene(wider)).bands == tuple(range(10, 71))

    def test_overlapping_detectors_are_matched_by_position(self):
        centres = np.array([940.0, 950.0, 950.2, 960.0])
        own = scene(centres)
        assert plan_bands(SensorBands.of_scene(own), own).bands == (0, 1, 2, 3)

    def test_another_sensor_is_resampled(self):
        model = SensorBands.of_scene(scene(SENSOR, fwhm=np.full(61, 10.0)))
        other = np.arange(393.0, 1015.0, 6.5)
        plan = plan_bands(model, scene(other, fwhm=np.full(len(other), 6.0)))
        spectrum = np.sin(other / 90).astype(np.float32)
        cube = np.broadcast_to(spectrum[:, None, None], (len(other), 2, 3))[list(plan.bands)]
        resampled = plan.apply(np.ascontiguousarray(cube))
        assert resampled.shape == (61, 2, 3)
        assert resampled.dtype == np.float32
        assert resampled[:, 1, 2] == pytest.approx(np.sin(SENSOR / 90), abs=2e-3)
        assert "resampled to the model's 61 (400 to 1000 nm)" in plan.note

    def test_bands_that_are_bad_here_come_from_their_neighbours(self):
        good = np.ones(61, bool)
        good[30] = False
        plan = plan_bands(SensorBands.of_scene(scene(SENSOR)), scene(SENSOR, good=good))
        assert 30 not in plan.bands
        assert plan.apply(SENSOR[list(plan.bands)].astype(np.float32)) == pytest.approx(SENSOR, abs=0.01)
        assert plan.note.startswith("1 of the model's 61 bands are bad")

    def test_bands_of_no_weight_are_not_read(self):
        # A NaN in a band that is not needed must not reach the result.
        plan = plan_bands(SensorBands.of_scene(scene(np.arange(500.0, 600.0, 7.0))), scene(SENSOR))
        assert set(plan.bands) <= set(range(9, 22))

    def test_nan_stays_in_its_pixel(self):
        plan = plan_bands(SensorBands.of_scene(scene(SENSOR[:-1] + 5)), scene(SENSOR))
        values = np.ones((len(plan.bands), 1, 2), np.float32)
        values[3, 0, 0] = np.nan
        result = plan.apply(values)
        assert np.isnan(result[:, 0, 0]).any()
        assert np.isfinite(result[:, 0, 1]).all()

    @pytest.mark.parametrize("without", ["scene", "model"])
    def test_bands_go_by_position_where_there_are_no_wavelengths(self, without):
        good = np.ones(61, bool)
        good[5] = False
        plain, full = scene(bands=61, good=good), scene(SENSOR, good=good)
        trained, target = (full, plain) if without == "scene" else (plain, full)
        plan = plan_bands(SensorBands.of_scene(trained), target)
        assert plan.bands == tuple(i for i in range(61) if i != 5)
        assert f"The {without} has no wavelengths" in plan.note

    def test_a_scene_without_wavelengths_that_has_the_used_bands_alone_is_taken(self):
        model = SensorBands(scene_bands=61, used=tuple(range(50)), wavelength=tuple(SENSOR[:50].tolist()))
        assert plan_bands(model, scene(bands=50)).bands == tuple(range(50))

    def test_another_number_of_bands_without_wavelengths_is_refused(self):
        model = SensorBands(scene_bands=61, used=tuple(range(50)), wavelength=tuple(SENSOR[:50].tolist()))
        with pytest.raises(SceneError, match="scene has 40 bands, the model wants 50 of 61"):
            plan_bands(model, scene(bands=40))

    def test_a_scene_of_bad_bands_alone_is_refused(self):
        with pytest.raises(SceneError, match="All 61 bands"):
            plan_bands(SensorBands.of_scene(scene(SENSOR)), scene(SENSOR, good=np.zeros(61, bool)))
