"""Spectra as files: a table for other programs and a picture for documents, written whole or not at all."""

import csv
import io
from typing import Optional

from qgis.PyQt.QtCore import QBuffer, QByteArray, QIODevice, QSaveFile
from qgis.PyQt.QtGui import QImage

from .spectrum_plot import SpectrumFigure


class SpectraFileError(Exception):
    """A sentence for the user on why the file cannot be written."""


def write_csv(path: str, figure: SpectrumFigure) -> None:
    """Write a row per band: number, wavelength in nm (where known), whether it is bad, a column per spectrum.

    A class has two columns, its mean and its standard deviation. Raises SpectraFileError.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    head = ["band", "wavelength_nm", "bad_band"]
    for spectrum in figure.spectra:
        if spectrum.deviation:
            head += [f"{spectrum.name} mean", f"{spectrum.name} standard deviation"]
        else:
            head.append(spectrum.name)
    writer.writerow(head)
    axis = figure.axis
    for band, position in enumerate(axis.positions):
        row = [str(band + 1), f"{position:.8g}" if axis.is_wavelength else "", str(int(band in axis.bad))]
        for spectrum in figure.spectra:
            row.append(_text(spectrum.values[band]))
            if spectrum.deviation:
                row.append(_text(spectrum.deviation[band]))
        writer.writerow(row)
    _write(path, QByteArray(table.getvalue().encode("utf-8")))


def write_png(path: str, picture: QImage) -> None:
    """Write a picture as PNG. Raises SpectraFileError."""
    content = QByteArray()
    buffer = QBuffer(content)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    picture.save(buffer, "PNG")
    buffer.close()
    _write(path, content)


def _text(value: Optional[float]) -> str:
    return "" if value is None else f"{value:.7g}"


def _write(path: str, content: QByteArray) -> None:
    """Write to a temporary file beside the target, which takes its name when it is whole."""
    file = QSaveFile(path)
    done = file.open(QIODevice.OpenModeFlag.WriteOnly) and file.write(content) == content.size()
    if not (done and file.commit()):
        raise SpectraFileError(f"{path} cannot be written: {file.errorString()}. Choose another place.")
