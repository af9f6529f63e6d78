"""HyperSIGMA's pretrained weights in dialogs: two files are asked for where a task takes both in one text."""

from dataclasses import replace
from typing import Any, Dict, List

from ..hsi_toolkit.tasks import Parameter

SUFFIXES = (".safetensors", ".pth")

SPECTRAL = Parameter(
    kind="model",
    label="Pretrained spectral weights",
    help="For the method hypersigma, the spectral encoder beside the spatial one; of the same size.",
    suffixes=SUFFIXES,
    name="spectral_weights",
    advanced=True,
)


def with_spectral(shown: List[Parameter]) -> List[Parameter]:
    """The parameters with one for the spectral weights behind that for the weights."""
    found: List[Parameter] = []
    for each in shown:
        if each.name == "weights":
            found += [replace(each, suffixes=SUFFIXES), SPECTRAL]
        else:
            found.append(each)
    return found


def joined(request: Dict[str, Any]) -> Dict[str, Any]:
    """The request with both weights in one, as the task takes them."""
    names = [request.pop(name, None) for name in ("weights", "spectral_weights")]
    given = ",".join(str(name) for name in names if name)
    return {**request, "weights": given} if given else request
