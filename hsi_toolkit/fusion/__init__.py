"""A sharp cube from a hyperspectral scene and a sharper image of the same place."""

from hsi_toolkit.fusion.cnmf import CoupledEndmembers
from hsi_toolkit.fusion.grids import Axis, GridPair, match_grids
from hsi_toolkit.fusion.model import FusionModel
from hsi_toolkit.fusion.solve import Sharpener

__all__ = ["Axis", "CoupledEndmembers", "FusionModel", "GridPair", "Sharpener", "match_grids"]
