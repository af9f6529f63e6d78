"""Cut short, altered or made to harm: a sentence that names the tile, and the other tiles."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.compression.container import MAGIC, Header, HszFile, HszWriter
from hsi_toolkit.compression.engine import compress_scene
from hsi_toolkit.compression.tile import encode_tile
from hsi_toolkit.errors import HsiError, SceneError
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.readers import hsz
from tests.compression.cubes import natural, write_tif

SIZE = 32


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    write_tif(folder / "a.tif", natural(rows=SIZE, columns=SIZE), nodata=-1)
    compress_scene(open_scene(folder / "a.tif"), folder / "a.hsz", tile_side=SIZE // 2)
    return folder / "a.hsz"


def damaged_copy(file: Path, target: Path, tile: int) -> Path:
    content = bytearray(file.read_bytes())
    position, length, _ = HszFile.open(file).entries[tile]
    content[position + length // 2] ^= 0xFF
    target.write_bytes(content)
    return target


def written(path: Path, header: Header, tiles: dict[int, bytes]) -> Path:
    with HszWriter(path, header) as writer:
        for tile, data in tiles.items():
            writer.write(tile, data)
    return path


def test_a_damaged_tile_is_named_and_the_others_are_read(file: Path, tmp_path: Path) -> None:
    broken = damaged_copy(file, tmp_path / "b.hsz", 1)
    whole, scene = open_scene(file).values, open_scene(broken)
    message = r"Tile 2 of 4 .*rows 1 to 16, columns 17 to 32.* checksum"
    with pytest.raises(SceneError, match=message):
        scene[:, :4, 14:20].values  # noqa: B018
    np.testing.assert_array_equal(scene[:, 16:].values, whole[:, 16:])
    np.testing.assert_array_equal(scene[:, :, :16].values, whole[:, :, :16])


def test_damaged_tiles_can_be_taken_for_no_data(file: Path, tmp_path: Path) -> None:
    broken = damaged_copy(file, tmp_path / "b.hsz", 2)
    values = hsz.open(broken, None, skip_damaged=True).values
    whole = open_scene(file).values
    assert np.isnan(values[:, 16:, :16]).all()
    values[:, 16:, :16] = whole[:, 16:, :16]
    np.testing.assert_array_equal(values, whole)


def test_a_file_cut_short_gives_the_tiles_it_has(file: Path, tmp_path: Path) -> None:
    position, length, _ = HszFile.open(file).entries[3]
    (tmp_path / "b.hsz").write_bytes(file.read_bytes()[: position + length - 5])
    scene = open_scene(tmp_path / "b.hsz")
    np.testing.assert_array_equal(scene[:, :16].values, open_scene(file)[:, :16].values)
    with pytest.raises(SceneError, match=r"Tile 4 of 4 .*ends 5 bytes before"):
        scene.load()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_happens_to_a_file_it_is_read_or_refused(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(900, len(content) - 1)))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = file.with_name("fuzzed.hsz")
    path.write_bytes(content)
    problem = str(path)
    try:
        open_scene(path).load()
    except HsiError as error:
        problem = error.problem
    assert str(path) in problem


def with_header(file: Path, target: Path, **entries: object) -> Path:
    """The file with another header, its checksum right."""
    content = file.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    header = json.loads(zlib.decompress(content[24 : 24 + length])) | entries
    text = json.dumps(header).encode()
    packed = zlib.compress(text)
    prefix = struct.pack("<8sHHIII", MAGIC, 1, 0, len(packed), len(text), zlib.crc32(packed))
    target.write_bytes(prefix + packed + content[24 + length :])
    return target


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"shape": [24, 2**31, 32]}, "lines"),
        ({"shape": [24, 32]}, "'shape'"),
        ({"shape": [24, 100_000, 100_000]}, "too large"),
        ({"grid": [0, 2]}, "grid"),
        ({"grid": [32, 32]}, "too short"),
        ({"grid": [2**40, 2**40]}, "grid"),
        ({"dtype": "object"}, "'object'"),
        ({"wavelength": [1.0]}, "1 entries"),
        ({"wavelength": ["x"] * 24}, "'wavelength'"),
        ({"good": "yes"}, "'good'"),
        ({"transform": [1, 2]}, "2 entries"),
        ({"crs": "nowhere"}, "coordinate system"),
        ({"nodata": [1, 2]}, "nodata"),
        ({"scale": None}, "'scale'"),
    ],
)
def test_headers_that_make_no_sense_are_refused(
    file: Path, tmp_path: Path, entries: dict[str, object], words: str
) -> None:
    with pytest.raises(SceneError, match=words):
        open_scene(with_header(file, tmp_path / "b.hsz", **entries))


def test_headers_may_know_more_than_this_version(file: Path, tmp_path: Path) -> None:
    more = with_header(file, tmp_path / "b.hsz", colour="green")
    assert open_scene(more).shape == (24, SIZE, SIZE)


def test_later_versions_are_refused_by_name(file: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8] = 2
    (tmp_path / "b.hsz").write_bytes(content)
    with pytest.raises(SceneError, match="version 2"):
        open_scene(tmp_path / "b.hsz")


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.hsz").write_bytes(b"nothing of the kind")
    with pytest.raises(SceneError, match=r"no \.hsz file"):
        open_scene(tmp_path / "b.hsz")


def test_tiles_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    cube = natural(bands=9, rows=8, columns=8)
    data, _ = encode_tile(cube)
    for shape, dtype in (((8, 8, 8), "int16"), ((9, 8, 8), "float32")):
        path = written(tmp_path / f"{shape[0]}{shape[1]}{dtype}.hsz", Header(shape, dtype, (1, 1)), {0: data})
        with pytest.raises(SceneError, match="Tile 1 of 1"):
            open_scene(path).load()


def test_a_bomb_takes_no_more_memory_than_its_header_says(tmp_path: Path) -> None:
    """Parts that would inflate to far more than the tile are not inflated."""
    bomb = zlib.compress(bytes(128 << 20), 1)
    cube = natural(bands=9, rows=8, columns=8)
    data, _ = encode_tile(cube)
    length = struct.unpack_from("<I", data, 1)[0]
    second = 5 + length
    kinds = struct.unpack_from("<I", data, second)[0]
    hostile = data[:second] + struct.pack("<I", len(bomb)) + bomb + data[second + 4 + kinds :]
    written(tmp_path / "bomb.hsz", Header((9, 8, 8), "int16", (1, 1)), {0: hostile})
    written(tmp_path / "plain.hsz", Header((9, 8, 8), "int16", (1, 1)), {0: b"0" + bomb})
    program = (
        "import resource, sys\n"
        "from hsi_toolkit.errors import SceneError\n"
        "from hsi_toolkit.scene import open_scene\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_scene(path).load(); sys.exit(3)\n"
        "    except SceneError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)"
    )
    paths = [str(tmp_path / name) for name in ("bomb.hsz", "plain.hsz")]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 10
