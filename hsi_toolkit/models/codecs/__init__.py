"""The learned codecs of HySpecNet-11k (Fuchs and Demir 2023, arXiv:2306.00385), with their released names.

A codec turns a batch of patches with values from 0 to 1 into a latent of 32-bit floats and back; there is
no quantisation and no entropy coding in the networks themselves.
"""

from hsi_toolkit.models.codecs.base import Codec
from hsi_toolkit.models.codecs.cae1d import CAE1D
from hsi_toolkit.models.codecs.cae1d_variants import CAE1DAdvanced, CAE1DExtended
from hsi_toolkit.models.codecs.cae3d import CAE3D
from hsi_toolkit.models.codecs.released import (
    CODECS,
    RATES,
    codec_from_config,
    codec_from_state,
    make_codec,
)
from hsi_toolkit.models.codecs.sscnet import SSCNet

__all__ = [
    "CAE1D",
    "CAE3D",
    "CODECS",
    "RATES",
    "CAE1DAdvanced",
    "CAE1DExtended",
    "Codec",
    "SSCNet",
    "codec_from_config",
    "codec_from_state",
    "make_codec",
]
