"""Hostile and damaged HDF5 files, ENVI headers and disguised rasters are refused in one sentence."""

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene

from .limits import hsi, needs_proc

Make = Callable[[Path], Path]

PRISMA = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"


def empty_file(folder: Path) -> Path:
    h5py.File(folder / "PRS_L2D_STD.he5", "w").close()
    return folder / "PRS_L2D_STD.he5"


def without_cubes(folder: Path) -> Path:
    with h5py.File(folder / "a.he5", "w") as file:
        file.create_group(PRISMA)
    return folder / "a.he5"


def no_hdf5_at_all(folder: Path) -> Path:
    (folder / "EMIT_L2A_RFL.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    return folder / "EMIT_L2A_RFL.nc"


def prisma(folder: Path, name: str = "PRS_L2D.he5", **options: object) -> Path:
    """A PRISMA product with small cubes, or data sets made with ``options``."""
    path = folder / name
    with h5py.File(path, "w") as file:
        for detector, count in (("VNIR", 3), ("SWIR", 4)):
            made = {"data": np.ones((6, count, 5), "u2")} | options
            file.create_dataset(f"{PRISMA}/{detector}_Cube", **made)
            file.attrs[f"List_Cw_{detector.title()}"] = np.linspace(900, 500, count)
            file.attrs[f"L2Scale{detector.title()}Min"] = 0.0
            file.attrs[f"L2Scale{detector.title()}Max"] = 1.0
        for axis, low, high in (("easting", 600_000.0, 600_120.0), ("northing", 5_000_150.0, 5_000_000.0)):
            file.attrs[f"Product_ULcorner_{axis}"], file.attrs[f"Product_LRcorner_{axis}"] = low, high
    return path


def truncated(folder: Path) -> Path:
    path = prisma(folder, data=np.ones((600, 4, 500), "u2"))
    path.write_bytes(path.read_bytes()[:-200_000])
    return path


def absurd(folder: Path) -> Path:
    return prisma(folder, data=None, shape=(10**6, 66, 10**6), dtype="u2", chunks=(16, 66, 16))


def absurd_and_whole(folder: Path) -> Path:
    return prisma(folder, data=None, shape=(10**6, 66, 10**6), dtype="u2")


def giant_chunk(folder: Path) -> Path:
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        options = {"maxshape": (None, None, None), "chunks": (800, 800, 800), "compression": "gzip"}
        file.create_dataset("cube", (40, 40, 40), "u2", **options)
    return path


def linked(link: Callable[[h5py.File], None]) -> Make:
    """A product whose VNIR cube is replaced."""

    def make(folder: Path) -> Path:
        path = prisma(folder)
        with h5py.File(path, "r+") as file:
            del file[f"{PRISMA}/VNIR_Cube"]
            link(file)
        return path

    return make


def external_link(file: h5py.File) -> None:
    file[f"{PRISMA}/VNIR_Cube"] = h5py.ExternalLink("/etc/passwd", "/data")


def looping_links(file: h5py.File) -> None:
    file[f"{PRISMA}/VNIR_Cube"] = h5py.SoftLink(f"/{PRISMA}/other")
    file[f"{PRISMA}/other"] = h5py.SoftLink(f"/{PRISMA}/VNIR_Cube")


def external_bytes(file: h5py.File) -> None:
    file.create_dataset(f"{PRISMA}/VNIR_Cube", (6, 3, 5), "u2", external=[("/etc/passwd", 0, 180)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((6, 3, 5), "u2")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6, 3, 5))
    file.create_virtual_dataset(f"{PRISMA}/VNIR_Cube", layout)


def texts(file: h5py.File) -> None:
    file[f"{PRISMA}/VNIR_Cube"] = np.full((6, 3, 5), b"x")


def a_group(file: h5py.File) -> None:
    file.create_group(f"{PRISMA}/VNIR_Cube")


def group_that_holds_itself(folder: Path) -> Path:
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        for number in range(100):
            group[f"{number}"] = group
    return path


def utf16_header(folder: Path) -> Path:
    (folder / "cube.img").write_bytes(bytes(60))
    header = "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 1\ninterleave = bsq\n"
    (folder / "cube.hdr").write_bytes(header.encode("utf-16"))
    return folder / "cube.hdr"


def data_of_utf16_header(folder: Path) -> Path:
    return utf16_header(folder).with_suffix(".img")


def vrt_as_tiff(folder: Path) -> Path:
    (folder / "a.tif").write_text(
        '<VRTDataset rasterXSize="5" rasterYSize="5"><VRTRasterBand dataType="Byte" band="1" '
        'subClass="VRTRawRasterBand"><SourceFilename>/etc/passwd</SourceFilename></VRTRasterBand></VRTDataset>'
    )
    return folder / "a.tif"


def sparse_tiff(folder: Path) -> Path:
    """A TIFF of 200000 x 200000 pixels whose only strip lies beyond its end."""
    tags = [(256, 4, 200_000), (257, 4, 200_000), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 10**9), (277, 3, 1), (278, 4, 200_000), (279, 4, 2**32 - 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    content = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (folder / "a.tif").write_bytes(content)
    return folder / "a.tif"


CASES: dict[str, tuple[Make, str]] = {
    "no groups": (empty_file, "holds no cube"),
    "no cubes": (without_cubes, "no data set"),
    "signature only": (no_hdf5_at_all, "failed"),
    "truncated": (truncated, "failed"),
    "absurd": (absurd, "claims 132000 GB"),
    "absurd and whole": (absurd_and_whole, "claims 132000 GB"),
    "giant chunk": (giant_chunk, "in parts of 1.0 GB"),
    "external link": (linked(external_link), "of its own"),
    "looping links": (linked(looping_links), "of its own"),
    "external bytes": (linked(external_bytes), "outside the file"),
    "virtual": (linked(virtual), "outside the file"),
    "texts": (linked(texts), "no array of numbers"),
    "group": (linked(a_group), "is no data set"),
    "group in itself": (group_that_holds_itself, "holds no cube"),
    "UTF-16 header": (utf16_header, "UTF-16"),
    "data of a UTF-16 header": (data_of_utf16_header, "UTF-16"),
    "VRT as TIFF": (vrt_as_tiff, "virtual raster"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_hostile_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    make, message = CASES[case]
    path = make(tmp_path)
    with pytest.raises(HsiError, match=message) as caught:
        open_scene(path)
    assert "\n" not in str(caught.value)


def test_a_declared_giant_opens_and_fails_on_reading_without_taking_memory(tmp_path: Path) -> None:
    with pytest.raises(HsiError):
        open_scene(sparse_tiff(tmp_path))[:, :1, :100].values  # noqa: B018  reads


@needs_proc
@pytest.mark.parametrize("case", ["absurd", "looping links"])
def test_the_command_line_says_so_within_a_gigabyte_and_ten_seconds(tmp_path: Path, case: str) -> None:
    path = CASES[case][0](tmp_path)
    taken = hsi("info", str(path))
    assert taken.status == 2, taken.said
    assert "Traceback" not in taken.said
    assert path.name in taken.said.replace("\n", "")
    assert taken.seconds < 10
    assert taken.peak_kb < 2**20
