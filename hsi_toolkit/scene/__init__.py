"""Scenes: any supported raster as a lazy ``xarray.DataArray``, read in blocks, written in windows."""

from hsi_toolkit.scene import accessor as accessor  # registers .hsi
from hsi_toolkit.scene.blocks import Block, iter_blocks
from hsi_toolkit.scene.class_map import ClassEntry, read_class_map, read_legend
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.opening import open_scene
from hsi_toolkit.scene.sampling import read_pixels, read_windows, sample_pixels
from hsi_toolkit.scene.writer import RasterWriter

__all__ = [
    "Block",
    "ClassEntry",
    "RasterWriter",
    "iter_blocks",
    "make_scene",
    "open_scene",
    "read_class_map",
    "read_legend",
    "read_pixels",
    "read_windows",
    "sample_pixels",
]
