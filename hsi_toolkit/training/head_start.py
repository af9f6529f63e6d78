"""The first weights of a classification head on a pretrained network, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.models.metadata import Json

KEY = "few_label_head"
"""What a model file calls it among its extras."""


@dataclass(frozen=True)
class HeadStart:
    """The ridge and the scale of scores of the regressions a network was pretrained with.

    With them the head of a fine-tuning starts where pretraining left off: as the regression of the classes on
    the network's embedding of the labelled pixels (see ``training.episodes``), not at random.
    """

    ridge: float
    temperature: float

    @classmethod
    def of(cls, extra: Mapping[str, Json]) -> Self | None:
        """What a model file says; None where it was pretrained without such tasks."""
        stated = extra.get(KEY)
        if not isinstance(stated, Mapping):
            return None
        numbers = [stated.get(name) for name in ("ridge", "temperature")]
        if not all(isinstance(number, float) and number > 0 for number in numbers):
            return None
        return cls(*(float(number) for number in numbers))  # type: ignore[arg-type]

    def head(self, embedded: Tensor, classes: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
        """Weight (K, D) and bias (K,) of a head for embeddings (n, D); all classes weigh the same."""
        values = embedded.double()
        share = 1.0 / torch.bincount(classes, minlength=n_classes)[classes].double()
        share = share / share.sum()
        targets = F.one_hot(classes, n_classes).double()
        centre = share @ values
        centred = (values - centre) * share.sqrt()[:, None]
        wanted = (targets - share @ targets) * share.sqrt()[:, None]
        penalty = self.ridge * torch.eye(values.shape[1], dtype=values.dtype)
        weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ wanted) * self.temperature
        return weight.T.float(), -(centre @ weight).float()
