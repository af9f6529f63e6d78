"""Pretrained encoders as the start of a task's network: from files, from the zoo, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torch import nn

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models import zoo
from hsi_toolkit.models.hypersigma.encoders import SpatialTransformer, SpectralEncoder, TransformerSize
from hsi_toolkit.models.hypersigma.loading import Pretrained, load_pretrained, read_pretrained
from hsi_toolkit.progress import Progress


@dataclass(frozen=True, eq=False)
class PretrainedEncoders:
    """The weights of a spatial and of a spectral encoder of one size, each None where there are none.

    ``names`` are what the user called them, spatial first.
    """

    spatial: Pretrained | None = None
    spectral: Pretrained | None = None
    names: tuple[str, ...] = ()

    @property
    def size(self) -> str | None:
        """The name of their size, such as base; None without weights."""
        found = self.spatial or self.spectral
        return None if found is None else found.size

    @property
    def tokens(self) -> int | None:
        """Spectral tokens that the spectral encoder was pretrained with; None without it."""
        if self.spectral is None or "pos_embed" not in self.spectral.state_dict:
            return None
        return int(self.spectral.state_dict["pos_embed"].shape[1])


Weights: TypeAlias = str | Path | Sequence[str | Path] | PretrainedEncoders | None
"""A file, a name in the zoo, several of them (a text with commas, or a sequence), or what they hold."""


def read_encoders(weights: Weights, progress: Progress | None = None) -> PretrainedEncoders:
    """The encoders that ``weights`` means, at most one of each kind, of one size.

    Raises:
        ModelError: a file is missing, damaged or of something else, or two do not go together.
    """
    if isinstance(weights, PretrainedEncoders):
        return weights
    progress = progress or Progress()
    names = _names(weights)
    found: dict[str, tuple[str, Pretrained]] = {}
    for number, name in enumerate(names):
        progress.check()
        part = progress.part(number / len(names), (number + 1) / len(names))
        part.report(0.0, f"Reading {Path(name).name}")
        encoder = read_pretrained(zoo.resolve(name, progress=part))
        if encoder.branch in found:
            raise ModelError(
                f"{found[encoder.branch][0]} and {name} are both of the {encoder.branch} encoder.",
                "Give one spatial and one spectral file.",
            )
        found[encoder.branch] = name, encoder
    sizes = {encoder.size for _, encoder in found.values()}
    if len(sizes) > 1:
        raise ModelError(
            f"{' and '.join(names)} are of different sizes, {' and '.join(sorted(sizes))}.",
            "Give two files of one size.",
        )
    ordered = [(branch, *found[branch]) for branch in ("spatial", "spectral") if branch in found]
    return PretrainedEncoders(
        **{branch: encoder for branch, _, encoder in ordered}, names=tuple(name for _, name, _ in ordered)
    )


def load_encoders(network: nn.Module, weights: Weights, progress: Progress | None = None) -> tuple[str, ...]:
    """Put pretrained encoders into a task's network, by the published rules of the task.

    Args:
        network: one of the task networks (see ``loading.RULES``), of the size of the weights.
        weights: None leaves the network as it is; one encoder alone may be given.
        progress: told what is read.

    Returns:
        A sentence an encoder for the model card, saying what was taken over; empty without weights.

    Raises:
        ModelError: a file is missing, damaged, of something else or of another size, two do not go together,
            or the network has no such encoder.
    """
    encoders = read_encoders(weights, progress)
    if encoders.size is None:
        return ()
    _check_size(network, encoders)
    told = []
    pretrained = (each for each in (encoders.spatial, encoders.spectral) if each is not None)
    for name, encoder in zip(encoders.names, pretrained, strict=True):
        report = load_pretrained(network, **{encoder.branch: encoder.state_dict})
        told.append(
            f"{encoder.branch} encoder {encoder.size} from {Path(name).name}: {len(report.loaded)} of "
            f"{len(encoder.state_dict)} tensors"
        )
    return tuple(told)


def _names(weights: str | Path | Sequence[str | Path] | None) -> list[str]:
    if weights is None:
        return []
    if isinstance(weights, str | Path):
        # A comma may be part of a file's name.
        whole = Path(weights).is_file()
        weights = [weights] if whole else str(weights).split(",")
    return [text for text in (str(name).strip() for name in weights) if text]


def _check_size(network: nn.Module, encoders: PretrainedEncoders) -> None:
    size = TransformerSize.of(encoders.size or "")
    for module in network.modules():
        if isinstance(module, SpatialTransformer | SpectralEncoder):
            own = module.config.size
            if (own.dim, own.depth) != (size.dim, size.depth):
                raise ModelError(
                    f"{' and '.join(encoders.names)}: weights of the size {encoders.size} have {size.depth} "
                    f"blocks of {size.dim} channels, and the network has {own.depth} of {own.dim}.",
                    f"Choose the size {encoders.size}, or other weights.",
                )
