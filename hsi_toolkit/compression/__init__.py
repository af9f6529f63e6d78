"""Compressed scenes (.hsz): lossless, or lossy within a bound that every sample keeps."""

from hsi_toolkit.compression.container import Header, HszFile
from hsi_toolkit.compression.engine import Outcome, Wish, compress_scene, verify

__all__ = ["Header", "HszFile", "Outcome", "Wish", "compress_scene", "verify"]
