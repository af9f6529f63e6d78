"""Codecs from files: this project's bundles, and released checkpoints."""

from pathlib import Path

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.codecs.base import Codec
from hsi_toolkit.models.codecs.released import codec_from_config, codec_from_state
from hsi_toolkit.models.importing import read_released


def load_codec(path: str | Path, bands: int | None = None) -> Codec:
    """The codec in a bundle (.safetensors) or in a released checkpoint (.pth.tar), in eval mode.

    Args:
        bands: for a checkpoint of a codec whose parameters do not depend on them; None for the 202 of
            HySpecNet-11k.

    Raises:
        ModelError: the file is missing, damaged, or holds no codec.
    """
    if Path(path).suffix != ".safetensors":
        released = read_released(Path(path))
        if released.kind != "codec":
            raise ModelError(f"{path} holds no codec.", "Give a file of the HySpecNet-11k benchmark.")
        return codec_from_state(released.state_dict, bands)
    bundle = ModelBundle.load(path)
    if bundle.metadata.kind != "codec":
        raise ModelError(
            f"{path} is a model of the kind {bundle.metadata.kind!r}, not a codec.",
            "Give what 'hsi codec train' wrote, or a released codec.",
        )
    architecture = bundle.metadata.architecture
    codec = codec_from_config(architecture.name, architecture.config)
    try:
        codec.load_state_dict(bundle.part("network"))
    except RuntimeError as error:
        raise ModelError(
            f"{path} is damaged: its parameters are not those of {architecture.name}.", "Copy it again."
        ) from error
    return codec.eval()
