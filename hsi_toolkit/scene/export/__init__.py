"""Scenes as files of other formats, written block by block."""

from hsi_toolkit.scene.export.choosing import SUFFIXES, SceneWriter, data_file, open_writer

__all__ = ["SUFFIXES", "SceneWriter", "data_file", "open_writer"]
