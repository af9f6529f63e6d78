"""Two modalities against each alone, and pretraining against none, on synthetic trays of seeds.

``python -m benchmarks.bimae [--part modalities|pretraining] [--seeds 0 1 2 3 4] [--json FILE]``

Every seed of the random numbers makes a tray of its own, divides it, and trains networks of the default size
from other weights, on small images, as ``hsi bimae finetune`` does by default.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.bimodal.finetuning import BiMAEFinetuning, finetune_bimae
from hsi_toolkit.bimodal.holding_out import hold_out_objects
from hsi_toolkit.bimodal.networks import sized
from hsi_toolkit.bimodal.pairs import Pairs, Preparation
from hsi_toolkit.bimodal.pretraining import BiMAEPretraining, pretrain_bimae
from hsi_toolkit.bimodal.sources import Layers, read_pairs
from hsi_toolkit.bimodal.steps import batch_for, epochs_for, predict
from hsi_toolkit.models.bimae import BiMAEConfig, ClassifierConfig, Modality
from hsi_toolkit.progress import Progress
from hsi_toolkit.synthetic.tray import write_tray

#: Seeds of each kind on a tray, half of which are judged.
EACH = 100
#: Labels of each kind in the comparison of pretrained and random weights.
FEW = 10
PRETRAINING_EPOCHS, PRETRAINING_RATE = 100, 5e-4
BATCH = 512
MODALITIES: tuple[Modality, ...] = ("bimodal", "rgb", "hs")

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Divided:
    """The pairs of a tray, the objects trained on, and the judged ones."""

    pairs: Pairs
    train: Index
    test: Index


def main() -> None:
    """Run a part, or both, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), action="append")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[int, dict[str, float]] = {}
    for seed in options.seeds:
        data = divided_tray(seed)
        rows[seed] = {}
        for part in options.part or PARTS:
            rows[seed] |= PARTS[part](data, seed)
        print(seed, {name: round(value, 3) for name, value in rows[seed].items()}, flush=True)
    for name in rows[options.seeds[0]]:
        values = np.array([row[name] for row in rows.values()])
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        print(f"{name:<24} {values.mean():7.3f} ± {spread:.3f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def divided_tray(seed: int) -> Divided:
    """A tray, half of whose seeds of each kind are to be judged."""
    with tempfile.TemporaryDirectory() as folder:
        tray = write_tray(Path(folder), EACH, seed)
        layers = Layers(str(tray.colour), str(tray.scene), str(tray.objects), tray.field)
        pairs = read_pairs(layers, Preparation(patch=12, side=48), None, Progress())
    held_out = hold_out_objects(pairs, 0.5, seed)
    return Divided(pairs, held_out.train, held_out.test)


def network_of(data: Divided) -> BiMAEConfig:
    """The default size, which a processor trains in a minute."""
    return sized("mini", data.pairs.preparation, len(data.pairs.bands))


def modalities(data: Divided, seed: int) -> dict[str, float]:
    """The accuracy of both images together, and of each alone, and the processor seconds they took."""
    found: dict[str, float] = {}
    for modality in MODALITIES:
        started = time.process_time()
        found[modality] = accuracy(data, modality, seed)
        found[f"{modality} cpu s"] = time.process_time() - started
    return found


def pretraining(data: Divided, seed: int) -> dict[str, float]:
    """The accuracy from few labels, from random and from pretrained weights, which all objects make."""
    few = replace(data, train=few_of(data, seed))
    found = {"ten labels, random": accuracy(few, "bimodal", seed)}
    started = time.process_time()
    config = BiMAEPretraining(network_of(data), PRETRAINING_EPOCHS, BATCH, PRETRAINING_RATE, seed)
    model, losses = pretrain_bimae(data.pairs.only(data.train), config)
    found |= {
        "pretraining cpu s": time.process_time() - started,
        "first loss": losses[0],
        "last loss": losses[-1],
    }
    found["ten labels, pretrained"] = accuracy(few, "bimodal", seed, model.state_dict())
    return found


def accuracy(
    data: Divided,
    modality: Modality,
    seed: int,
    pretrained: dict[str, torch.Tensor] | None = None,
) -> float:
    """The share of judged objects that a classifier gets right."""
    config = ClassifierConfig(network_of(data), len(data.pairs.classes), modality)
    epochs = epochs_for(len(data.train), batch_for(BATCH, len(data.train)))
    run_config = BiMAEFinetuning(config, epochs, BATCH, seed=seed)
    model, _ = finetune_bimae(data.pairs, data.train, run_config, pretrained=pretrained)
    likely = predict(model, data.pairs, torch.device("cpu"), chosen=data.test).argmax(axis=1)
    return float((likely == data.pairs.known_labels()[data.test]).mean())


def few_of(data: Divided, seed: int) -> Index:
    """``FEW`` random objects of each kind among those trained on."""
    generator, labels = np.random.default_rng(seed), data.pairs.known_labels()
    shuffled = generator.permutation(data.train)
    return np.concatenate(
        [shuffled[labels[shuffled] == kind][:FEW] for kind in range(len(data.pairs.classes))]
    )


PARTS = {"modalities": modalities, "pretraining": pretraining}

if __name__ == "__main__":
    main()
