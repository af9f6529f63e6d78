"""Small products in the layouts of the agencies, written by the tests that read them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

ENMAP_NAME = "ENMAP01-____{}-DT0000001234_20230614T102133Z_003_V010402_20240105T101500Z"
DESIS_NAME = "DESIS-HSI-{}-DT0000386425_025-20191203T021128-V0220"
HYPERION_NAME = "EO1H1350422010129110KF"
PATCH_NAME = "ENMAP01-____L2A-DT0000004990_20221104T023111Z_001_V010110_20221118T144901Z-Y00440047_X03070309"

VNIR = (420.0, 550.0, 660.0, 910.0, 980.0)
SWIR = (902.0, 940.0, 1100.0, 1650.0)
ROWS, COLUMNS = 6, 4
CRS, TRANSFORM = "EPSG:32633", Affine(30, 0, 366_015, 0, -30, 5_809_965)

Stored = NDArray[np.integer]


def write_tif(path: Path, stored: Stored, *, on_map: bool = True, nodata: float | None = None) -> Path:
    """A GeoTIFF of stored numbers (band, y, x)."""
    place = {"crs": CRS, "transform": TRANSFORM} if on_map else {}
    bands, height, width = stored.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands,
        height=height,
        width=width,
        dtype=stored.dtype,
        nodata=nodata,
        **place,
    ) as file:
        file.write(stored)
    return path


def stored_numbers(bands: int, kind: str = "int16") -> Stored:
    """Numbers that are all different and none of them 0."""
    return (np.arange(bands * ROWS * COLUMNS).reshape(bands, ROWS, COLUMNS) * 7 + 100).astype(kind)


def enmap_gains(level: str, bands: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gain and offset of each band of ``write_enmap``."""
    if level == "L2A":
        return np.full(bands, 1e-4), np.zeros(bands)
    return 1e-6 * np.arange(1, bands + 1), 0.001 * np.arange(bands)


def write_enmap(
    folder: Path,
    level: str = "L2A",
    *,
    dead: Sequence[int] = (),
    metadata: str | None = None,
    replace: tuple[str, str] = ("", ""),
) -> Path:
    """An EnMAP product of nine bands in a folder of its name; ``dead`` are band numbers."""
    name = ENMAP_NAME.format(level)
    product = folder / name
    product.mkdir(parents=True)
    kind, nodata = ("int16", -32768) if level == "L2A" else ("uint16", None)
    if level == "L1B":
        centres = [*VNIR, *SWIR]
        for detector, bands in (("VNIR", len(VNIR)), ("SWIR", len(SWIR))):
            image = product / f"{name}-SPECTRAL_IMAGE_{detector}.TIF"
            write_tif(image, _with_gap(stored_numbers(bands, kind), 0))
    else:
        centres = sorted([*VNIR, *SWIR])
        stored = _with_gap(stored_numbers(9, kind), nodata or 0)
        for number in dead:
            stored[number - 1] = nodata or 0
        write_tif(product / f"{name}-SPECTRAL_IMAGE.TIF", stored, nodata=nodata)
    cloud = np.zeros((1, ROWS, COLUMNS), np.uint8)
    cloud[0, 2, 1] = 1
    write_tif(product / f"{name}-QL_QUALITY_CLOUD.TIF", cloud)
    text = metadata or enmap_metadata(level, centres, dead)
    (product / f"{name}-METADATA.XML").write_text(text.replace(*replace), encoding="utf-8")
    return product


def enmap_metadata(level: str, centres: Sequence[float], dead: Sequence[int]) -> str:
    """What METADATA.XML says of bands with these centres."""
    gains, offsets = enmap_gains(level, len(centres))
    ascending = sorted([*VNIR, *SWIR])
    lists = {
        name: ",".join(str(ascending.index(nm) + 1) for nm in detector)
        for name, detector in (("vnir", VNIR), ("swir", SWIR))
    }
    bands = "".join(
        f'<bandID number="{at}"><wavelengthCenterOfBand>{nm}</wavelengthCenterOfBand>'
        f"<FWHMOfBand>8</FWHMOfBand><GainOfBand>{gain!r}</GainOfBand><OffsetOfBand>{offset!r}</OffsetOfBand></bandID>"
        for at, (nm, gain, offset) in enumerate(
            zip(centres, gains.tolist(), offsets.tolist(), strict=True), start=1
        )
    )
    statistics = "".join(
        f'<bandID number="{at}"><mean>{-1000000 if at in dead else 0.1}</mean>'
        f"<stdDeviation>{0 if at in dead else 0.01}</stdDeviation></bandID>"
        for at in range(1, len(centres) + 1)
    )
    size = f"<dimension><columns>{COLUMNS}</columns><rows>{ROWS}</rows></dimension>"
    images = ("vnir", "swir") if level == "L1B" else ("merge",)
    corners = "".join(
        f"<point><frame>{frame}</frame><latitude>{lat}</latitude><longitude>{lon}</longitude></point>"
        for frame, lat, lon in (
            ("upper_left", 52.5, 13.0),
            ("upper_right", 52.4, 13.4),
            ("lower_right", 52.1, 13.3),
            ("lower_left", 52.2, 12.9),
        )
    )
    coefficients = "".join(
        f"<{axis}_{part}_{term:02d}>{term}</{axis}_{part}_{term:02d}>"
        for axis in ("ROW", "COL")
        for part in ("NUM", "DEN")
        for term in range(1, 21)
    )
    scales = "".join(
        f"<{of}_OFF>{at}</{of}_OFF><{of}_SCALE>{at + 1}</{of}_SCALE>"
        for at, of in enumerate(("ROW", "COL", "LAT", "LONG", "HEIGHT"))
    )
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<level_X><base>"
        f"<spatialCoverage><boundingPolygon>{corners}</boundingPolygon></spatialCoverage>"
        "<temporalCoverage><startTime>2023-06-14T10:21:33.123456Z</startTime></temporalCoverage>"
        f"<level>{level}</level></base><specific>"
        + "".join(
            f"<{name}ProductQuality><expectedChannelsList>{text}</expectedChannelsList></{name}ProductQuality>"
            for name, text in lists.items()
        )
        + f"<numberOfVNIRBands>{len(VNIR)}</numberOfVNIRBands><backgroundValue>0</backgroundValue>"
        f"<bandCharacterisation>{bands}</bandCharacterisation></specific><product><image>"
        + "".join(f"<{name}><name>x.TIF</name>{size}</{name}>" for name in images)
        + f"</image><navigation><RPC><bandID number='1'>{scales}{coefficients}</bandID></RPC></navigation>"
        f"<bandStatistics>{statistics}</bandStatistics></product></level_X>"
    )


def write_desis(folder: Path, level: str = "L2A") -> Path:
    """A DESIS product of four bands in a folder of its name; L1 bands have a gain and an offset each."""
    name = DESIS_NAME.format(level)
    product = folder / name
    product.mkdir(parents=True)
    stored = _with_gap(stored_numbers(4), -32768)
    write_tif(product / f"{name}-SPECTRAL_IMAGE.tif", stored, nodata=-32768)
    gains = [0.0001 if level == "L2A" else at * 0.5 for at in range(1, 5)]
    bands = "".join(
        f"<band><bandNumber>{at}</bandNumber><wavelengthCenterOfBand>{400 + 50 * at}</wavelengthCenterOfBand>"
        f"<wavelengthWidthOfBand>3.5</wavelengthWidthOfBand><gainOfBand>{gain}</gainOfBand>"
        f"<offsetOfBand>{0 if level == 'L2A' else at}</offsetOfBand></band>"
        for at, gain in enumerate(gains, start=1)
    )
    (product / f"{name}-METADATA.xml").write_text(
        "<hsi_doc><base><temporalCoverage><startTime>2019-12-03T02:11:28.5Z</startTime></temporalCoverage>"
        f"<level>{level}</level></base><specific><interiorOrientation><band><bandNumber>1</bandNumber></band>"
        f"</interiorOrientation><bandCharacterisation>{bands}</bandCharacterisation></specific></hsi_doc>",
        encoding="utf-8",
    )
    (product / f"{name}-SPECTRAL_IMAGE.hdr").write_text("ENVI\nfile type = TIFF\n", encoding="utf-8")
    if level == "L2A":
        layers = np.zeros((10, ROWS, COLUMNS), np.uint8)
        layers[5, 1, 2], layers[9] = 1, 70
        write_tif(product / f"{name}-QL_QUALITY-2.tif", layers)
    return product


def write_hyperion(folder: Path, level: str = "L1T", *, mtl: str = "", name: str = HYPERION_NAME) -> Path:
    """A Hyperion product: band n holds n everywhere, but for one empty pixel and one dark number."""
    product = folder / name
    product.mkdir(parents=True)
    for number in range(1, 243):
        stored = np.full((1, ROWS, COLUMNS), number if 8 <= number <= 224 else 0, np.int16)
        stored[0, 0, 0] = 0
        if number == 125:
            stored[0, 3, 3] = 0
        write_tif(product / f"{name}_B{number:03d}_{level}.TIF", stored)
    (product / f"{name}_MTL_{level}.TXT").write_text(
        'GROUP = L1_METADATA_FILE\n  SENSOR_ID = "HYPERION"\n  ACQUISITION_DATE = 2010-05-09\n'
        '  START_TIME = "2010 129 00:52:11"\n  SCALING_FACTOR_VNIR = 40\n  SCALING_FACTOR_SWIR = 80\n'
        f"  PRODUCT_LINES = {ROWS}\n  PRODUCT_SAMPLES = {COLUMNS}\n{mtl}END\n",
        encoding="utf-8",
    )
    return product


def write_patch(folder: Path, name: str = PATCH_NAME) -> Path:
    """A HySpecNet-11k patch of four by four pixels with its image, its DATA.npy and a cloud."""
    folder.mkdir(parents=True)
    stored = np.arange(224 * 16).reshape(224, 4, 4).astype(np.int16) * 3
    stored[:, 0, 0] = -32768
    write_tif(folder / f"{name}-SPECTRAL_IMAGE.TIF", stored, nodata=-32768)
    kept = [band for band in range(224) if not (126 <= band <= 140 or 160 <= band <= 166)]
    np.save(folder / f"{name}-DATA.npy", np.clip(stored[kept], 0, 10_000).astype(np.float32) / 10_000)
    cloud = np.zeros((1, 4, 4), np.uint8)
    cloud[0, 1, 1] = 1
    write_tif(folder / f"{name}-QL_QUALITY_CLOUD.TIF", cloud)
    return folder


def zipped(product: Path, *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """The product's folder as a zip beside it."""
    archive = product.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", compression) as file:
        for part in sorted(product.iterdir()):
            file.write(part, f"{product.name}/{part.name}")
    return archive


def _with_gap(stored: Stored, nodata: int) -> Stored:
    """The numbers with one pixel of nodata, at row 0 and column 0."""
    stored[:, 0, 0] = nodata
    return stored
