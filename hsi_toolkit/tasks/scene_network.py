"""Parameters of methods that train a network on the scene itself, declared once."""

from typing import Any

from .base import parameter


def weights() -> Any:
    return parameter(
        "model",
        "Pretrained weights",
        "For hypersigma: a pretrained spatial and a spectral encoder with a comma between, or one alone: "
        "files, or names of fetched ones. Their size is taken over; by default the start is random.",
        suffixes=(".safetensors", ".pth"),
        default=None,
        advanced=True,
    )


def size() -> Any:
    return parameter(
        "choice",
        "Network size",
        "For hypersigma: small suits laptops; base, large and huge are the published sizes.",
        choices=("small", "base", "large", "huge"),
        default="small",
        advanced=True,
    )


def epochs(default: int) -> Any:
    return parameter(
        "integer",
        "Epochs",
        "For hypersigma: the most passes over what is drawn from the scene; fewer where nothing is gained.",
        default=default,
        minimum=1,
        maximum=10000,
        unit="epochs",
        advanced=True,
    )
