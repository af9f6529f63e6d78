"""Two modalities against each alone, and pretraining against none, on synthetic trays of seeds.

``python -m benchmarks.bimae [--seeds N] [--pretrain-epochs N] [--json FILE]``

Every seed of the random numbers makes a tray of its own, divides it, and trains from other weights. The network
is a small one on small images, so that a processor trains it in a minute.
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
from hsi_toolkit.bimodal.steps import predict
from hsi_toolkit.models.bimae import BiMAEConfig, ClassifierConfig, Modality
from hsi_toolkit.progress import Progress
from hsi_toolkit.synthetic.tray import write_tray

#: Seeds of each kind on a tray, half of which are judged.
EACH = 120
#: Labels of each kind in the comparison of pretrained and random weights.
FEW = 10
EPOCHS, FEW_EPOCHS = 80, 200
BATCH, LEARNING_RATE, PRETRAINING_RATE = 16, 1e-3, 5e-4
MODALITIES: tuple[Modality, ...] = ("bimodal", "rgb", "hs")

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Divided:
    """The pairs of a tray, the objects trained on, and the judged ones."""

    pairs: Pairs
    train: Index
    test: Index


def main() -> None:
    """Run all seeds and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pretrain-epochs", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [run(seed, options.pretrain_epochs) for seed in range(options.seeds)]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        print(f"{name:<24} {values.mean():7.3f} ± {spread:.3f}  {values.round(3)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def run(seed: int, pretrain_epochs: int) -> dict[str, float]:
    """The accuracies of one seed, and the processor seconds they took."""
    with tempfile.TemporaryDirectory() as folder:
        tray = write_tray(Path(folder), EACH, seed)
        layers = Layers(str(tray.colour), str(tray.scene), str(tray.objects), tray.field)
        pairs = read_pairs(layers, Preparation(patch=12, side=48), None, Progress())
    held_out = hold_out_objects(pairs, 0.5, seed)
    tray_data = Divided(pairs, held_out.train, held_out.test)
    network = replace(sized("tiny", pairs.preparation, len(pairs.bands)), dim=64, depth=3, decoder_dim=32)
    found: dict[str, float] = {}
    for modality in MODALITIES:
        started = time.process_time()
        found[modality] = accuracy(tray_data, network, modality, seed, EPOCHS)
        found[f"{modality} cpu s"] = time.process_time() - started
        print(seed, modality, found[modality], flush=True)
    few = replace(tray_data, train=few_of(tray_data, seed))
    found["ten labels, random"] = accuracy(few, network, "bimodal", seed, FEW_EPOCHS)
    started = time.process_time()
    trained_on = pairs.only(held_out.train)
    config = BiMAEPretraining(network, pretrain_epochs, 4 * BATCH, PRETRAINING_RATE, seed)
    model, losses = pretrain_bimae(trained_on, config)
    found["pretraining cpu s"] = time.process_time() - started
    found["ten labels, pretrained"] = accuracy(few, network, "bimodal", seed, FEW_EPOCHS, model.state_dict())
    print(
        seed,
        {name: round(value, 3) for name, value in found.items()},
        f"loss {losses[0]:.4f} to {losses[-1]:.4f}",
        flush=True,
    )
    return found


def accuracy(
    data: Divided,
    network: BiMAEConfig,
    modality: Modality,
    seed: int,
    epochs: int,
    pretrained: dict[str, torch.Tensor] | None = None,
) -> float:
    """The share of judged objects that a classifier gets right."""
    config = ClassifierConfig(network, len(data.pairs.classes), modality)
    run_config = BiMAEFinetuning(config, epochs, BATCH, LEARNING_RATE, seed)
    model, _ = finetune_bimae(data.pairs, data.train, run_config, pretrained=pretrained)
    likely = predict(model, data.pairs.only(data.test), torch.device("cpu")).argmax(axis=1)
    return float((likely == data.pairs.known_labels()[data.test]).mean())


def few_of(data: Divided, seed: int) -> Index:
    """``FEW`` random objects of each kind among those trained on."""
    generator, labels = np.random.default_rng(seed), data.pairs.known_labels()
    shuffled = generator.permutation(data.train)
    return np.concatenate(
        [shuffled[labels[shuffled] == kind][:FEW] for kind in range(len(data.pairs.classes))]
    )


if __name__ == "__main__":
    main()
