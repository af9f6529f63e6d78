"""BiMAE networks: of which sizes, from which weights, and as parts of model bundles."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from hsi_toolkit.bimodal.pairs import Preparation
from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bimae import (
    SIZES,
    BiMAEClassifier,
    BiMAEConfig,
    ClassifierConfig,
    Modality,
    TokenEncoder,
    WideAttention,
)
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.importing import read_released
from hsi_toolkit.models.metadata import Json, Preprocessing
from hsi_toolkit.spectral.resample import SensorBands

Network = TypeVar("Network", bound=nn.Module)

#: Architecture and kind of the bundles of pretrained networks, and those of classifiers.
PRETRAINED, PRETRAINED_KIND = "bimae", "pretrained"
CLASSIFIER, CLASSIFIER_KIND = "bimae_classifier", "object_classifier"

#: Narrow and shallow enough for a processor and a few hundred objects; not among the published ones.
MINI = BiMAEConfig(dim=48, depth=2, decoder_dim=32)

#: The middle of the values that images have.
_GREY = 0.5

#: Far beyond any real network; a description of nonsense must not take all memory.
_LARGEST = 100_000


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained network: its sizes, its parameters, and what its data were like, where that is known."""

    config: BiMAEConfig
    state: Mapping[str, Tensor]
    bands: SensorBands | None
    preparation: Preparation | None


def sized(size: str, preparation: Preparation, bands: int) -> BiMAEConfig:
    """A published size, or "mini", for these images.

    Raises:
        ParameterError: there are too few bands or patches to hide any.
    """
    config = replace(
        MINI if size == "mini" else SIZES[size],
        patch=preparation.patch,
        bands=bands,
        rgb_patches=preparation.patches,
        hs_masked=0.9,
    )
    require_masking(config)
    return config


def require_masking(config: BiMAEConfig) -> None:
    """Make sure that something is hidden, something restored and something left to see.

    Raises:
        ParameterError: it is not so.
    """
    for modality, tokens, what in (
        ("hs", config.bands, "bands"),
        ("rgb", config.rgb_patches, "patches of the colour image"),
    ):
        masked, restored = config.split(cast(Literal["hs", "rgb"], modality))
        if not 0 < restored <= masked < tokens:
            raise ParameterError(
                f"Of {tokens} {what}, {masked} would be hidden and {restored} restored.",
                "Give more of them, or hide another share.",
            )


def load_pretrained(name: str) -> Pretrained:
    """The pretrained network of a bundle, a file or a name in the model folder, or of a Keras file (.h5).

    Raises:
        ModelError: it is missing, damaged, or of another network.
    """
    path = zoo.resolve(name)
    if path.suffix.lower() in (".h5", ".hdf5"):
        released = read_released(path)
        return Pretrained(network_config(released.architecture.config, path), released.state_dict, None, None)
    bundle = ModelBundle.load(path)
    described = bundle.metadata
    if described.architecture.name != PRETRAINED:
        raise ModelError(
            f"{path} is no pretrained BiMAE, but a model of the kind {described.kind!r} "
            f"({described.architecture.name}).",
            "Give one that 'hsi bimae pretrain' made, or weights of the original (.h5).",
        )
    preprocessing = described.preprocessing
    return Pretrained(
        network_config(described.architecture.config, path),
        bundle.part("network"),
        preprocessing.bands if preprocessing else None,
        preparation_of(preprocessing),
    )


def network_config(config: Mapping[str, Json], path: str | Path) -> BiMAEConfig:
    """The sizes that a bundle states.

    Raises:
        ModelError: they are missing or make no sense.
    """
    known: dict[str, int | float] = {}
    for each in fields(BiMAEConfig):
        value = config.get(each.name, each.default)
        limit = _LARGEST if each.type is int else 1.0
        whole = each.type is not int or isinstance(value, int)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not whole
            or not 0 < value <= limit
        ):
            raise ModelError(
                f"{path} is damaged: the network's {each.name} is {value!r}.", "Copy or download it again."
            )
        known[each.name] = value
    return BiMAEConfig(**known)  # type: ignore[arg-type]  # checked field by field


def classifier_config(config: Mapping[str, Json], classes: int, path: str | Path) -> ClassifierConfig:
    """A classifier's sizes as its bundle states them.

    Raises:
        ModelError: they are missing or make no sense.
    """
    network, modality = config.get("network"), config.get("modality")
    if not isinstance(network, Mapping) or modality not in ("bimodal", "hs", "rgb"):
        raise ModelError(f"{path} is damaged: its network is not described.", "Copy or train it again.")
    return ClassifierConfig(network_config(network, path), classes, cast(Modality, modality))


def preparation_of(preprocessing: Preprocessing | None) -> Preparation | None:
    """How a model's images were made, None where it does not say."""
    if preprocessing is None or not preprocessing.config:
        return None
    return Preparation.from_config(preprocessing.config)


def described(config: BiMAEConfig) -> dict[str, Json]:
    """The sizes as a bundle states them."""
    return dict(asdict(config))


def initialised(build: Callable[[], Network], config: BiMAEConfig, seed: int) -> Network:
    """A network with random weights as Keras draws them: uniform after Glorot, biases zero.

    Keras counts the first axis of an attention's kernel (width, heads, width) among the pixels of a filter,
    so that queries, keys and values begin small. Sizes that are not published begin with centred images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in network.modules():
            if isinstance(module, WideAttention):
                dim, heads = module.attention_output.out_features, module.heads
                for projection in (module.query, module.key, module.value):
                    limit = math.sqrt(6 / (heads * dim + dim**2))
                    nn.init.uniform_(projection.weight, -limit, limit)
                limit = math.sqrt(3 / (heads * dim))
                nn.init.uniform_(module.attention_output.weight, -limit, limit)
            elif isinstance(module, TokenEncoder) and not _published(config):
                _centre(module)
    return network


def _published(config: BiMAEConfig) -> bool:
    return any(
        (config.dim, config.heads, config.depth) == (size.dim, size.heads, size.depth)
        for size in SIZES.values()
    )


def _centre(encoder: TokenEncoder) -> None:
    """Let the biases take mid-grey from every patch, and a hidden patch begin as grey.

    Values from 0 to 1 have their mean in common. Projected, it outweighs all that differs between tokens and
    between objects, and layer norms keep its direction and drop its length: a small network sees nothing
    else for a thousand steps, or until its training ends.
    """
    with torch.no_grad():
        encoder.projection.bias.copy_(-_GREY * encoder.projection.weight.sum(dim=1))
        encoder.mask_token.add_(_GREY)


def new_classifier(
    config: ClassifierConfig, pretrained: Mapping[str, Tensor] | None, seed: int
) -> BiMAEClassifier:
    """A classifier with random weights, or with a pretrained encoder.

    Raises:
        ModelError: the pretrained weights do not fit.
    """
    network = initialised(lambda: BiMAEClassifier(config), config.network, seed)
    if pretrained is not None:
        _take_over(network, pretrained, config.modality)
    return network


def _take_over(network: BiMAEClassifier, pretrained: Mapping[str, Tensor], modality: Modality) -> None:
    """Copy encoder and patch encoders by name; the head and the last norm stay."""
    own = network.state_dict()
    taken = {}
    for name, parameter in own.items():
        source = (
            name.replace("patch_encoder.", f"{modality}_patch_encoder.", 1) if modality != "bimodal" else name
        )
        if name.startswith(("norm1.", "classification_head.")):
            continue
        stored = pretrained.get(source)
        if stored is None or stored.shape != parameter.shape:
            raise ModelError(
                f"The pretrained weights have no {source} of {list(parameter.shape)} values"
                + ("." if stored is None else f", but one of {list(stored.shape)}."),
                "Pretrain with the same sizes, or train from scratch.",
            )
        taken[name] = stored
    network.load_state_dict(taken, strict=False)
