"""A model's card."""

from dataclasses import dataclass
from typing import ClassVar, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Card(Task):
    """Write what a model is, where it comes from and how far to trust it."""

    name: ClassVar[str] = "card"
    title: ClassVar[str] = "Model card"
    summary: ClassVar[str] = "One page about a model: classes, wavelengths, training data, accuracy, limits."
    description: ClassVar[str] = (
        "Reads what the model file says about itself and writes it as a page that needs no other file: the "
        "classes in their colours, the bands it looks at, its network and size, what it was trained on, how "
        "accurate it was on polygons it had not seen, how to use it, and where not to. Hand it on together "
        "with the model. The same file gives the same page."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = (
        "model card",
        "documentation",
        "provenance",
        "accuracy",
        "metadata",
        "safetensors",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Mitchell et al. 2019, Model Cards for Model Reporting, Conference on Fairness, Accountability, and "
        "Transparency, doi:10.1145/3287560.3287596",
    )
    examples: ClassVar[Tuple[str, ...]] = ("hsi card model.safetensors -o card.html",)

    model: str = parameter(
        "model",
        "Model",
        "A model file (.safetensors), or the name of a fetched one.",
        suffixes=(".safetensors",),
        positional=True,
    )
    output: str = parameter("file_output", "Card", "The HTML page.", suffixes=(".html",), option="-o")
    overwrite: bool = common.overwrite()
