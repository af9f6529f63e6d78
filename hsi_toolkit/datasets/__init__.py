"""Data sets in the layout of HySpecNet-11k: reading them, and making them from any scenes."""

from hsi_toolkit.datasets.patches import PatchSet
from hsi_toolkit.datasets.tiling import TileRule, tile_scenes

__all__ = ["PatchSet", "TileRule", "tile_scenes"]
