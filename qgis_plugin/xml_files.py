"""Small XML files, written with Qt."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Optional

from qgis.PyQt.QtCore import QByteArray, QXmlStreamWriter


class XmlFile:
    """An XML document that is written to ``path`` when the ``with`` block ends well.

    It has no declaration: GDAL passes over everything in an ``.aux.xml`` that begins with one.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._bytes = path, QByteArray()
        self._writer = QXmlStreamWriter(self._bytes)
        self._writer.setAutoFormatting(True)

    def __enter__(self) -> "XmlFile":
        return self

    def __exit__(self, kind: Optional[type], *error: object) -> None:
        if kind is None:
            self._path.write_bytes(bytes(self._bytes))

    @contextmanager
    def element(self, name: str, attributes: Optional[Mapping[str, str]] = None) -> Iterator[None]:
        """An element around what is written in the ``with`` block."""
        self._writer.writeStartElement(name)
        for key, value in (attributes or {}).items():
            self._writer.writeAttribute(key, value)
        yield
        self._writer.writeEndElement()

    def leaf(self, name: str, attributes: Optional[Mapping[str, str]] = None, text: str = "") -> None:
        """An element that holds text alone."""
        with self.element(name, attributes):
            self._writer.writeCharacters(text)
