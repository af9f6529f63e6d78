"""The codecs at their released rates, and the one that a released file holds."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.models.codecs.base import Codec
from hsi_toolkit.models.codecs.cae1d import CAE1D
from hsi_toolkit.models.codecs.cae1d_variants import CAE1DAdvanced, CAE1DExtended
from hsi_toolkit.models.codecs.cae3d import CAE3D
from hsi_toolkit.models.codecs.sscnet import SSCNet

#: Bits per pixel and channel by name, and what sets them: halvings of the spectrum, or channels of the
#: latent. Those of SSCNet at 202 bands are the ones its files hold, which the later code's formula
#: ``64 · bands / ratio`` misses for 2 and 8.
RATES: Mapping[str, Mapping[str, int]] = {
    "cae1d": {"8": 2, "4": 3, "2": 4, "1": 5},
    "sscnet": {"8": 3264, "6": 2424, "4": 1616, "2.5": 1024, "2": 816, "1": 404},
    "cae3d": {"8": 64, "4": 32, "2": 16, "1": 8},
    "cae1da": {"8": 2, "4": 3, "2": 4, "1": 5},
    "cae1de": {"8": 2, "4": 3, "2": 4, "1": 5},
}
RELEASED_BANDS = 202

CODECS: Mapping[str, Callable[..., Codec]] = {
    each.name: each for each in (CAE1D, CAE1DAdvanced, CAE1DExtended, SSCNet, CAE3D)
}


def make_codec(name: str, rate: str, bands: int = RELEASED_BANDS) -> Codec:
    """The codec at one of its ``RATES``; SSCNet's latent grows with the bands.

    Raises:
        ParameterError: there is no such codec or rate.
    """
    size = RATES.get(name, {}).get(rate)
    if size is None:
        known = ", ".join(f"{codec} at {'/'.join(rates)}" for codec, rates in RATES.items())
        raise ParameterError(f"There is no codec {name!r} at {rate!r} bits.", f"Choose from {known}.")
    if name == "sscnet":
        return SSCNet(bands, max(1, round(size * bands / RELEASED_BANDS)))
    return CODECS[name](bands, size)


def codec_from_config(name: str, config: Mapping[str, object]) -> Codec:
    """The codec that says this of itself, with random parameters.

    Raises:
        ModelError: there is none of that name, or the values are not its own.
    """
    try:
        return CODECS[name](**config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"There is no codec {name!r} with {dict(config)}.",
            "Give a codec's model file, or update hsi_toolkit.",
        ) from error


def codec_from_state(state: Mapping[str, Tensor], bands: int | None = None) -> Codec:
    """The codec whose parameters these are, loaded; sizes are read off the tensors.

    Args:
        state: of a released file.
        bands: for the codecs whose parameters do not depend on them; None for the 202 of the data set.

    Raises:
        ModelError: the names or shapes are those of no codec.
    """
    try:
        codec = _empty(state, bands or RELEASED_BANDS)
        codec.load_state_dict(dict(state))
    except (KeyError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(
            f"These parameters are of no codec that is known ({reason}).",
            "Give a file of the HySpecNet-11k benchmark.",
        ) from error
    return codec.eval()


def _empty(state: Mapping[str, Tensor], bands: int) -> Codec:
    if "encoder.12.weight" in state:
        first, last = state["encoder.0.weight"], state["encoder.11.weight"]
        return SSCNet(first.shape[1], len(last), len(first))
    if "encoder.6.block.0.weight" in state:
        return CAE3D(bands, len(state["encoder.9.weight"]))
    nested = partial(re.fullmatch, r"encoder\.0\.\d+\.0\.weight")
    halvings = sum(nested(key) is not None for key in state)
    if halvings:
        return CAE1D(bands, halvings)
    # Flat: encoder.{0, 3, …} are the halvings, followed by two convolutions.
    return CAE1D(
        bands, sum(key.startswith("encoder.") and key.endswith("weight") for key in state) - 2, flat=True
    )
