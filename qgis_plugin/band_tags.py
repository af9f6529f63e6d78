"""What a raster layer's file says about its bands, as QGIS and the files beside it show it.

Nothing is interpreted here but the syntax: ENVI headers, the provider's metadata, GDAL's ``.aux.xml`` and
STAC items become plain tags, keys in lower case joined by underscores.
"""

import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Optional

from qgis.core import QgsProviderRegistry, QgsRasterLayer
from qgis.PyQt.QtCore import QXmlStreamReader

Tags = Dict[str, str]

#: Beyond this a file beside the scene is not what its name says.
LARGEST_SIDECAR = 16 << 20
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# The rows of the provider's table: a label, in the user's language, and a list of "key=value".
_ROW = re.compile(r'<td class="highlight">([^<]*)</td>\s*<td>\s*<ul>(.*?)</ul>', re.DOTALL)
_ITEM = re.compile(r"<li>(.*?)</li>", re.DOTALL)
# "Band 012: 842.00 nm", "Kanal 3": the number is QGIS's, what follows it the file's.
_BAND_NAME = re.compile(r"^[^\d:]*\d+(?::\s*|\s*(?:\(\w+\))?$)")


@dataclass
class BandTags:
    """Tags of the whole file and of each band by domain ("" is the default one), and the bands' descriptions.

    ``envi`` holds the entries of an ENVI header, ``stac`` the bands of a STAC item; empty without one.
    """

    count: int
    descriptions: List[str]
    whole: Dict[str, Tags] = field(default_factory=dict)
    bands: List[Dict[str, Tags]] = field(default_factory=list)
    envi: Tags = field(default_factory=dict)
    stac: List[Mapping[str, object]] = field(default_factory=list)


def read_tags(layer: QgsRasterLayer) -> BandTags:
    """Collect the tags of a layer; files that cannot be read count as absent."""
    count = layer.bandCount()
    names = [_BAND_NAME.sub("", layer.bandName(band)) for band in range(1, count + 1)]
    tags = BandTags(count, names, bands=[{} for _ in range(count)])
    path = layer_path(layer)
    if path is not None:
        _read_aux(path.with_name(path.name + ".aux.xml"), tags)
        header = envi_header(path)
        if header is not None:
            tags.envi = parse_envi(_text(header))
        tags.stac = _stac(path)
    _read_provider(layer.dataProvider().htmlMetadata(), tags)
    return tags


def layer_path(layer: QgsRasterLayer) -> Optional[Path]:
    """The file a layer comes from; None for a service or a file within an archive."""
    parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    text = parts.get("path") or ""
    if not text or parts.get("vsiPrefix"):
        return None
    path = Path(text)
    return path if path.is_file() else None


def sidecars(path: Path) -> List[Path]:
    """The files whose change may change the tags: the scene's own and those beside it."""
    header = envi_header(path)
    beside = [path.with_name(path.name + ".aux.xml"), *_stac_paths(path)]
    return [path, *([header] if header else []), *beside]


def envi_header(path: Path) -> Optional[Path]:
    """The ENVI header beside a data file, ``name.img.hdr`` before ``name.hdr``, in any case of letters."""
    wanted = [f"{path.name}.hdr".lower(), f"{path.stem}.hdr".lower()]
    try:
        with path.open("rb") as file:
            if file.read(4) in _TIFF:
                return None
        found = [entry for entry in path.parent.iterdir() if entry.name.lower() in wanted and entry != path]
    except OSError:
        return None
    for entry in sorted(found, key=lambda entry: wanted.index(entry.name.lower())):
        if _text(entry, 64).lstrip("\ufeff \t\r\n").startswith("ENVI"):
            return entry
    return None


def parse_envi(text: str) -> Tags:
    """The entries of an ENVI header; lists keep their braces. A list that never ends is left out."""
    entries: Tags = {}
    lines = iter(text.splitlines()[1:])
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or line.lstrip().startswith(";"):
            continue
        value = value.strip()
        if value.startswith("{"):
            parts = [value]
            while "}" not in parts[-1]:
                following = next(lines, None)
                if following is None:
                    return entries
                if not following.lstrip().startswith(";"):
                    parts.append(following.strip())
            value = " ".join(parts)
        entries[clean_key(key)] = value
    return entries


def split_list(text: str) -> List[str]:
    """The entries of an ENVI list, with or without its braces."""
    inside = text.strip()
    inside = inside[1:] if inside.startswith("{") else inside
    inside = inside[:-1] if inside.endswith("}") else inside
    return [entry.strip() for entry in inside.split(",")] if inside.strip() else []


def clean_key(key: str) -> str:
    """A key in lower case, its words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")


def _read_provider(page: str, tags: BandTags) -> None:
    """The default domain's tags from the table that QGIS shows under Information."""
    for label, items in _ROW.findall(page):
        number = re.search(r"(\d+)\s*$", label)
        found: Tags = {}
        for item in _ITEM.findall(items):
            key, equals, value = html.unescape(item).partition("=")
            if equals:
                found[clean_key(key)] = value
        if number is None:
            tags.whole.setdefault("", {}).update(found)
        elif 1 <= int(number[1]) <= tags.count:
            tags.bands[int(number[1]) - 1].setdefault("", {}).update(found)


def _read_aux(path: Path, tags: BandTags) -> None:
    """GDAL's persistent metadata. A document type, and so entities, is refused: files may be anyone's."""
    text = _text(path)
    if not text:
        return
    reader = QXmlStreamReader(text)
    band, domain, key = 0, "", ""
    while not reader.atEnd():
        token = reader.readNext()
        if token == QXmlStreamReader.TokenType.DTD:
            return
        if token == QXmlStreamReader.TokenType.EndElement and reader.name() == "PAMRasterBand":
            band = 0
        if token != QXmlStreamReader.TokenType.StartElement:
            continue
        name, attributes = reader.name(), reader.attributes()
        if name == "PAMRasterBand":
            number = attributes.value("band")
            band = int(number) if number.isdecimal() else 0
        elif name == "Metadata":
            domain = attributes.value("domain")
        elif name == "MDI":
            key = clean_key(attributes.value("key"))
            value = reader.readElementText(QXmlStreamReader.ReadElementTextBehaviour.SkipChildElements)
            place = tags.bands[band - 1] if 1 <= band <= tags.count else tags.whole
            place.setdefault(domain, {})[key] = value


def _stac_paths(path: Path) -> List[Path]:
    return [path.with_name(path.name + ".stac.json"), path.with_suffix(".stac.json")]


def _stac(path: Path) -> List[Mapping[str, object]]:
    for beside in _stac_paths(path):
        text = _text(beside)
        try:
            item = json.loads(text) if text else None
        except ValueError:
            continue
        properties = item.get("properties") if isinstance(item, dict) else None
        bands = properties.get("eo:bands") if isinstance(properties, dict) else None
        if isinstance(bands, list) and all(isinstance(band, dict) for band in bands):
            return bands
    return []


def _text(path: Path, limit: int = LARGEST_SIDECAR) -> str:
    """The start of a text file, "" where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(limit)
    except OSError:
        return ""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
