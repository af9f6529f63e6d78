"""What the algorithms on two layers have in common: layers come first, and all of them are needed."""

import dataclasses
from typing import List, Sequence

from ..hsi_toolkit.tasks import Parameter

#: Files of images, which QGIS has no layers for.
HIDDEN = ("data",)


def layers_first(shown: Sequence[Parameter], layers: Sequence[str]) -> List[Parameter]:
    """The declarations with these required and in front."""
    declared = {each.name: each for each in shown if each.name not in HIDDEN}
    needed = [dataclasses.replace(declared.pop(name), required=True, default=None) for name in layers]
    return needed + list(declared.values())
