"""Linear unmixing: which materials a scene holds, and how much of each is in every pixel."""

from hsi_toolkit.unmixing.abundances import AbundanceSolver, estimate_abundances
from hsi_toolkit.unmixing.archetypes import Archetypes, find_archetypes
from hsi_toolkit.unmixing.blind import count_endmembers, find_endmembers
from hsi_toolkit.unmixing.brightness import fit_brightness, unevenness
from hsi_toolkit.unmixing.extraction import nfindr, vca
from hsi_toolkit.unmixing.naming import name_endmembers
from hsi_toolkit.unmixing.simplex import minimum_volume
from hsi_toolkit.unmixing.sparse import sunsal, sunsal_tv
from hsi_toolkit.unmixing.subspace import hysime, virtual_dimensionality
from hsi_toolkit.unmixing.unmixer import Unmixed, Unmixer
from hsi_toolkit.unmixing.variability import MultipleEndmembers

__all__ = [
    "AbundanceSolver",
    "Archetypes",
    "MultipleEndmembers",
    "Unmixed",
    "Unmixer",
    "count_endmembers",
    "estimate_abundances",
    "find_archetypes",
    "find_endmembers",
    "fit_brightness",
    "hysime",
    "minimum_volume",
    "name_endmembers",
    "nfindr",
    "sunsal",
    "sunsal_tv",
    "unevenness",
    "vca",
    "virtual_dimensionality",
]
