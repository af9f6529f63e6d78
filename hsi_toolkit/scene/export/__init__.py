"""Scenes as files of other formats, written block by block."""

from hsi_toolkit.scene.export.choosing import SUFFIXES, SceneWriter, gdal_name, open_writer

__all__ = ["SUFFIXES", "SceneWriter", "gdal_name", "open_writer"]
