"""Colours of classes, as QGIS and the engine both choose them. Standard library only."""

import re
from typing import Optional

#: Okabe and Ito (2008) without black, then what stays apart from it of Tol's "muted" scheme (2021).
BASE = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442",
    "#332288", "#117733", "#882255", "#999933", "#7f7f7f", "#6b4423", "#ddcc77",
)  # fmt: skip

#: Covers that everybody expects in a certain colour. They differ in lightness, too.
CUSTOMARY = (
    (r"water|river|lake|\bsea\b|wasser|fluss", "#2b7bba"),
    (r"tree|forest|\bwoods?\b|conifer|deciduous|baum|wald", "#1b7a43"),
    (r"grass|meadow|pasture|lawn|low vegetation|wiese|rasen", "#a5d86e"),
    (r"soil|bare|\bsand|boden", "#c79a6b"),
    (r"roof|building|house|dach|gebäude", "#b3262a"),
    (r"pavement|road|asphalt|impervious|street|straße", "#8d9096"),
    (r"crop|arable|agricult|acker", "#e3b93c"),
)


def customary_colour(name: str) -> Optional[str]:
    """The colour that maps usually give a cover of this name, such as blue for water; None for others."""
    words = name.casefold()
    return next((colour for pattern, colour in CUSTOMARY if re.search(pattern, words)), None)
