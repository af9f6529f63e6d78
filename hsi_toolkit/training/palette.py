"""A qualitative palette that stays apart for colour-blind readers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.tasks.palette import BASE

#: Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as seen with protanopia and deuteranopia.
_DEFICIENCIES = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
#: Linear sRGB to CIE XYZ, relative to the D65 white (IEC 61966-2-1).
_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])  # fmt: skip

#: Colours nearer than this to one already in use (CIE 1976 difference) are passed over where possible.
_NEAR = 15.0


def palette(count: int, taken: Sequence[str] = ()) -> tuple[str, ...]:
    """``count`` colours ``#rrggbb``, always the same, apart from each other and from those ``taken``.

    The first ones are Okabe and Ito's; when the list is used up, each next colour is the one that
    lies farthest from all before it, in the worst of normal, protan and deutan vision.
    """
    chosen: list[str] = []
    for colour in BASE:
        if len(chosen) < count and colour_difference(colour, [*taken, *chosen]) >= _NEAR:
            chosen.append(colour)
    if len(chosen) == count:
        return tuple(chosen)
    candidates = _candidates()
    seen = _appearance(candidates)
    nearest = np.full(len(candidates), np.inf)
    for colour in [*taken, *chosen]:
        nearest = np.minimum(nearest, _distances(seen, colour))
    while len(chosen) < count:
        colour = candidates[int(np.argmax(nearest))]
        chosen.append(colour)
        nearest = np.minimum(nearest, _distances(seen, colour))
    return tuple(chosen)


def colour_difference(colour: str, others: Sequence[str]) -> float:
    """The smallest CIE 1976 difference to any of ``others``, in the worst of the three kinds of vision."""
    if not others:
        return float("inf")
    return float(_distances(_appearance(others), colour).min())


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of ``#rrggbb``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ink(colour: str) -> str:
    """Black or white, whichever reads better on ``colour`` (WCAG 2 contrast)."""
    luminance = float(_linear(np.array([rgb(colour)]))[0] @ np.array([0.2126, 0.7152, 0.0722]))
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


def _candidates() -> list[str]:
    """A grid through the RGB cube without what reads as background, black or white."""
    levels = np.linspace(20, 245, 8).astype(int)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in cube.tolist()]
    lightness = _appearance(colours)[0, :, 0]
    return [colour for colour, light in zip(colours, lightness, strict=True) if 22 < light < 90]


def _distances(seen: NDArray[np.float64], colour: str) -> NDArray[np.float64]:
    apart = np.linalg.norm(seen - _appearance([colour]), axis=2)
    worst: NDArray[np.float64] = apart.min(axis=0)
    return worst


def _appearance(colours: Sequence[str]) -> NDArray[np.float64]:
    """CIE Lab of each colour, (vision, colours, 3), for normal, protan and deutan vision."""
    linear = _linear(np.array([rgb(colour) for colour in colours]))
    visions = np.clip(np.einsum("vij,nj->vni", _DEFICIENCIES, linear), 0.0, 1.0)
    xyz = visions @ _XYZ.T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )


def _linear(srgb: NDArray[np.int64]) -> NDArray[np.float64]:
    scaled = srgb / 255.0
    linear: NDArray[np.float64] = np.where(
        scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4
    )
    return linear
