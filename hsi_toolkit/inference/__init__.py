"""Applying a trained classifier to scenes of any size, on a processor or CUDA device."""

from hsi_toolkit.inference.classify import MapResult, classify_scene
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.inference.outputs import MapOutputs

__all__ = ["MapOutputs", "MapResult", "choose_device", "classify_scene"]
