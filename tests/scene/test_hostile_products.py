"""Products that are damaged or made to do harm end in one sentence, quickly and in little memory."""

import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsi_toolkit.errors import HsiError
from hsi_toolkit.safe_xml import XmlError, parse_xml
from hsi_toolkit.scene import open_scene

from .limits import hsi, needs_proc
from .made_products import (
    ENMAP_NAME,
    HYPERION_NAME,
    stored_numbers,
    write_desis,
    write_enmap,
    write_hyperion,
    write_tif,
    zipped,
)

NAME = ENMAP_NAME.format("L2A")
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {name} "{10 * f"&{before};"}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ENTITIES = {
    "billion laughs": LAUGHS + "]><level_X>&i;</level_X>",
    "file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><level_X>&a;</level_X>',
    "parameter": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://example.invalid/a.dtd"> %a;]><level_X/>',
}
EXPANDED = 8 << 30
"""Bytes that a few megabytes of a bomb expand to."""


def with_metadata(folder: Path, text: str) -> Path:
    return write_enmap(folder, metadata=text)


def no_image(folder: Path) -> Path:
    product = write_enmap(folder)
    (product / f"{NAME}-SPECTRAL_IMAGE.TIF").unlink()
    return product


def empty_image(folder: Path) -> Path:
    product = write_enmap(folder)
    (product / f"{NAME}-SPECTRAL_IMAGE.TIF").write_bytes(b"")
    return product


def virtual_image(folder: Path) -> Path:
    product = write_enmap(folder)
    (product / f"{NAME}-SPECTRAL_IMAGE.TIF").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="6"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        "<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return product


def absurd_image(folder: Path) -> Path:
    product = write_enmap(folder)
    options = {"driver": "GTiff", "count": 9, "dtype": "int16", "sparse_ok": True, "tiled": True}
    with rasterio.open(
        product / f"{NAME}-SPECTRAL_IMAGE.TIF", "w", width=200_000, height=200_000, bigtiff="YES", **options
    ):
        return product


def other_bands(folder: Path) -> Path:
    product = write_enmap(folder)
    write_tif(product / f"{NAME}-SPECTRAL_IMAGE.TIF", stored_numbers(7))
    return product


def other_size(folder: Path) -> Path:
    return write_enmap(folder, replace=("<rows>6</rows>", "<rows>60</rows>"))


def truncated_zip(folder: Path) -> Path:
    archive = zipped(write_enmap(folder))
    archive.write_bytes(archive.read_bytes()[:-200])
    return archive


def slip_zip(folder: Path) -> Path:
    """A product whose files would land outside the folder they are unpacked to."""
    product = write_enmap(folder)
    archive = folder / "slip.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for part in product.iterdir():
            file.write(part, f"../../{product.name}/{part.name}")
    return archive


def slip_tar(folder: Path) -> Path:
    product = write_enmap(folder)
    archive = folder / "slip.tar"
    with tarfile.open(archive, "w") as file:
        for part in product.iterdir():
            file.add(part, f"../{product.name}/{part.name}")
    return archive


def truncated_tar(folder: Path) -> Path:
    archive = folder / "product.tar"
    with tarfile.open(archive, "w") as file:
        file.add(write_enmap(folder), NAME)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    return archive


def compressed_tar(folder: Path) -> Path:
    archive = folder / "product.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(write_enmap(folder), NAME)
    return archive


def encrypted_zip(folder: Path) -> Path:
    archive = zipped(write_enmap(folder))
    content = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + at] |= 1
            start = content.find(signature, start + 4)
    archive.write_bytes(content)
    return archive


def bomb(folder: Path, part: str, claim: int | None = None) -> Path:
    """A zip with a part of ``EXPANDED`` zeros; ``claim`` is the length its contents list states."""
    product = write_enmap(folder)
    archive = folder / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for each in product.iterdir():
            if not each.name.endswith(part):
                file.write(each, f"{NAME}/{each.name}")
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = squeezer.compress(bytes(1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    packed = piece * (EXPANDED >> 20) + squeezer.flush()
    append_member(archive, f"{NAME}/{NAME}{part}", packed, EXPANDED if claim is None else claim)
    return archive


def append_member(archive: Path, name: str, packed: bytes, length: int) -> None:
    """Put a deflated member with any length claimed into a zip."""
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        start, count = file.start_dir, len(file.infolist())
    directory = content[start : content.rfind(b"PK\x05\x06")]
    big = struct.pack("<HHQ", 1, 8, length) if length > 0xFFFFFFFE else b""
    shown = 0xFFFFFFFF if big else length
    common = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 0, 0, len(packed), shown, len(name), len(big))
    local = b"PK\x03\x04" + common
    entry = b"PK\x01\x02" + struct.pack("<H", 45) + common + struct.pack("<HHHII", 0, 0, 0, 0, start)
    members = content[:start] + local + name.encode() + big + packed
    directory += entry + name.encode() + big
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count + 1, count + 1, len(directory), len(members), 0)
    archive.write_bytes(members + directory + end)


def lying_tar(folder: Path) -> Path:
    """A tar whose first file claims more bytes than there are, in the binary numbers of GNU."""
    archive = folder / "product.tar"
    with tarfile.open(archive, "w") as file:
        file.add(write_enmap(folder) / f"{NAME}-METADATA.XML", f"{NAME}-METADATA.XML")
    content = bytearray(archive.read_bytes())
    content[124:136] = b"\x80" + (1 << 62).to_bytes(11, "big")
    archive.write_bytes(content)
    return archive


def looping_links(folder: Path) -> Path:
    """Folders that hold themselves, and files that are links to each other."""
    product = write_enmap(folder)
    (product / "again").symlink_to(product, target_is_directory=True)
    for one, other in (("METADATA.XML", "SPECTRAL_IMAGE.TIF"), ("SPECTRAL_IMAGE.TIF", "METADATA.XML")):
        (product / f"{NAME}-{one}").unlink()
        (product / f"{NAME}-{one}").symlink_to(product / f"{NAME}-{other}")
    return product / f"{NAME}-METADATA.XML"


def several(folder: Path) -> Path:
    write_enmap(folder, "L2A")
    write_enmap(folder, "L1C")
    return folder


def band_of_another_size(folder: Path) -> Path:
    product = write_hyperion(folder)
    write_tif(product / f"{HYPERION_NAME}_B020_L1T.TIF", np.ones((1, 3, 3), np.int16))
    return product


def wide_quality_layer(folder: Path) -> Path:
    product = write_enmap(folder)
    write_tif(product / f"{NAME}-QL_QUALITY_CLOUD.TIF", np.zeros((1, 9, 9), np.uint8))
    return product


PRODUCTS: dict[str, Callable[[Path], Path]] = {
    **{
        f"xml {name}": lambda folder, text=text: with_metadata(folder, text)
        for name, text in ENTITIES.items()
    },
    "xml cut short": lambda folder: with_metadata(folder, "<level_X><base>"),
    "xml of another kind": lambda folder: with_metadata(folder, "<html/>"),
    "xml without bands": lambda folder: with_metadata(folder, "<a><base><level>L2A</level></base></a>"),
    "deep xml": lambda folder: with_metadata(folder, "<a>" * 1_000_000),
    "gain in words": lambda folder: write_enmap(folder, replace=("<GainOfBand>0.0001", "<GainOfBand>much")),
    "gain of no number": lambda folder: write_enmap(
        folder, replace=("<GainOfBand>0.0001", "<GainOfBand>nan")
    ),
    "wavelength below zero": lambda folder: write_enmap(
        folder, replace=("<wavelengthCenterOfBand>4", "<wavelengthCenterOfBand>-4")
    ),
    "no image": no_image,
    "empty image": empty_image,
    "virtual image": virtual_image,
    "absurd image": absurd_image,
    "other bands": other_bands,
    "other size": other_size,
    "truncated zip": truncated_zip,
    "zip slip": slip_zip,
    "tar slip": slip_tar,
    "truncated tar": truncated_tar,
    "lying tar": lying_tar,
    "compressed tar": compressed_tar,
    "encrypted zip": encrypted_zip,
    "metadata bomb": lambda folder: bomb(folder, "-METADATA.XML"),
    "metadata bomb that lies": lambda folder: bomb(folder, "-METADATA.XML", claim=1000),
    "image bomb": lambda folder: bomb(folder, "-SPECTRAL_IMAGE.TIF"),
    "image bomb that lies": lambda folder: bomb(folder, "-SPECTRAL_IMAGE.TIF", claim=1000),
    "looping links": looping_links,
    "several products": several,
    "desis without bands": lambda folder: _desis_without_bands(folder),
}


def _desis_without_bands(folder: Path) -> Path:
    product = write_desis(folder)
    (metadata,) = product.glob("*METADATA.xml")
    metadata.write_text(metadata.read_text().replace("bandCharacterisation", "bands"))
    return product


@pytest.mark.parametrize("make", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_a_hostile_product_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    tracemalloc.start()
    with pytest.raises(HsiError) as raised:
        open_scene(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raised.value.problem.endswith(".")
    assert raised.value.remedy
    assert peak < 200 << 20


def test_a_band_of_another_size_is_found_when_it_is_read(tmp_path: Path) -> None:
    scene = open_scene(band_of_another_size(tmp_path))
    with pytest.raises(HsiError, match="unlike the other bands"):
        scene.isel(band=np.flatnonzero(scene.band == 20)).values  # noqa: B018  reading is the test


def test_a_quality_layer_of_another_size_is_found_when_it_is_read(tmp_path: Path) -> None:
    scene = open_scene(wide_quality_layer(tmp_path))
    assert np.isfinite(scene[:, 1:].values).all()
    with pytest.raises(HsiError, match="no layer of 6 x 4"):
        scene["cloud"].values  # noqa: B018  reading is the test


def test_names_that_lead_out_are_no_part_of_the_product(tmp_path: Path) -> None:
    """Beside a whole product, such names change nothing, and nothing is written anywhere."""
    product = write_enmap(tmp_path / "made")
    archive = tmp_path / "product.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for part in product.iterdir():
            file.write(part, f"{NAME}/{part.name}")
        file.writestr(f"../{NAME}-METADATA.XML", "<a/>")
        file.writestr(f"/tmp/{NAME}-METADATA.XML", "<a/>")
    before = sorted(tmp_path.rglob("*"))
    np.testing.assert_array_equal(open_scene(archive).values, open_scene(product).values)
    assert sorted(tmp_path.rglob("*")) == before


@needs_proc
def test_the_command_line_says_it_in_one_sentence_with_status_2(tmp_path: Path) -> None:
    taken = hsi("info", str(bomb(tmp_path, "-SPECTRAL_IMAGE.TIF", claim=1000)))
    assert taken.status == 2
    assert "Traceback" not in taken.said
    assert taken.peak_kb < 1 << 20


@pytest.mark.parametrize("text", ENTITIES.values(), ids=ENTITIES.keys())
def test_entities_are_refused_whatever_they_do(text: str) -> None:
    with pytest.raises(XmlError, match="entities"):
        parse_xml(text)


def test_xml_is_read_without_what_is_skipped() -> None:
    root = parse_xml("<a><b><c>1</c><d/></b><c>2</c>x<b/><e f='3'/></a>", skip=("b",))
    assert [element.tag for element in root] == ["c", "e"]
    assert root.findtext("c") == "2"
    assert parse_xml("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'><a b='1'/>").get("b") == "1"
