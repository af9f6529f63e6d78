"""The invented tray: what may tell its kinds apart, and what must not."""

import geopandas as gpd
import numpy as np
import rasterio

from hsi_toolkit.scene import open_scene
from hsi_toolkit.synthetic.tray import BANDS, KINDS, PLACE, Tray


def test_seeds_of_all_kinds_cover_the_same_area(tray: Tray) -> None:
    frame, areas = gpd.read_file(tray.objects), dict[str, list[int]]()
    with rasterio.open(tray.colour) as source:
        red, corner, pixel = source.read(1), (source.bounds.left, source.bounds.top), source.res[0]
    for kind, middle in zip(frame[tray.field], frame.geometry.centroid, strict=True):
        column, row = (
            int(abs(at - start) / pixel) // PLACE for at, start in zip(middle.coords[0], corner, strict=True)
        )
        place = red[row * PLACE : (row + 1) * PLACE, column * PLACE : (column + 1) * PLACE]
        areas.setdefault(kind, []).append(int((place > 70).sum()))
    means = np.array([np.mean(areas[kind]) for kind in KINDS])
    np.testing.assert_allclose(means, means.mean(), rtol=0.1)


def test_both_layers_show_the_same_ground(tray: Tray) -> None:
    scene = open_scene(tray.scene)
    with rasterio.open(tray.colour) as source:
        assert source.crs == scene.rio.crs
        np.testing.assert_allclose(source.bounds, scene.rio.bounds())
        assert source.width / scene.sizes["x"] == source.height / scene.sizes["y"] > 10
    assert scene.sizes["band"] == BANDS
