"""Compressing and decompressing, from file to file."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from hsi_toolkit.compression.container import HszFile
from hsi_toolkit.errors import ModelError, OutputError, ParameterError, SceneError
from hsi_toolkit.models.codecs import CAE1D
from hsi_toolkit.pipelines import run
from hsi_toolkit.tasks.compress import Compress
from hsi_toolkit.tasks.decompress import Decompress
from tests.compression.cubes import natural, write_tif


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cube = natural(rows=30, columns=26)
    cube[:, :6, :5] = -32768
    write_tif(tmp_path / "scene.tif", cube, nodata=-32768, scale=1e-4)
    return tmp_path


def test_there_and_back_gives_the_same_file(folder: Path) -> None:
    result = run(Compress(str(folder / "scene.tif"), str(folder / "a.hsz"), verify=True))
    assert result["guarantee"] == "lossless"
    assert result["facts"]["Read back"] == "all samples agree"
    assert result["compressed_bytes"] == (folder / "a.hsz").stat().st_size
    run(Decompress(str(folder / "a.hsz"), str(folder / "b.tif")))
    with rasterio.open(folder / "scene.tif") as one, rasterio.open(folder / "b.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())
        for name in (
            "dtypes",
            "nodatavals",
            "crs",
            "transform",
            "scales",
            "offsets",
            "descriptions",
            "units",
        ):
            assert getattr(one, name) == getattr(other, name), name
        assert one.tags(4) == other.tags(4)
        assert one.tags(4)["bbl"] == "0"
        assert one.tags(ns="IMAGERY") == other.tags(ns="IMAGERY")


def test_the_bound_is_said_and_measured(folder: Path) -> None:
    result = run(Compress(str(folder / "scene.tif"), str(folder / "a.hsz"), max_error=5.0, verify=True))
    assert (result["guarantee"], result["bound"], result["largest_error"]) == ("max_error", 5, 5)
    assert "no sample off by more than 5" in result["summary"]
    done = run(Decompress(str(folder / "a.hsz"), str(folder / "b.tif")))
    assert "no sample off by more than 5" in done["summary"]


def test_a_damaged_tile_stops_decompression_or_becomes_no_data(folder: Path) -> None:
    run(Compress(str(folder / "scene.tif"), str(folder / "a.hsz")))
    content = bytearray((folder / "a.hsz").read_bytes())
    content[HszFile.open(folder / "a.hsz").entries[0][0] + 99] ^= 1
    (folder / "a.hsz").write_bytes(content)
    with pytest.raises(SceneError, match="Tile 1 of 1"):
        run(Decompress(str(folder / "a.hsz"), str(folder / "b.tif")))
    assert not (folder / "b.tif").exists()
    result = run(Decompress(str(folder / "a.hsz"), str(folder / "b.tif"), skip_damaged=True))
    assert result["damaged_tiles"] == [1]
    assert "Tile 1 of 1" in result["warnings"][0]
    with rasterio.open(folder / "b.tif") as dataset:
        assert (dataset.read() == -32768).all()


def test_a_checkpoint_serves_as_model(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save({"state_dict": CAE1D(24, flat=True).state_dict()}, folder / "cae1d_8bpppc.pth.tar")
    asked = {
        "codec": "cae1d",
        "model": str(folder / "cae1d_8bpppc.pth.tar"),
        "max_error": 20.0,
        "verify": True,
    }
    result = run(Compress(str(folder / "scene.tif"), str(folder / "a.hsz"), **asked))
    assert result["largest_error"] == 20
    assert HszFile.open(folder / "a.hsz").header.codec == "cae1d"
    with pytest.raises(ModelError, match="holds cae1d, not sscnet"):
        run(Compress(str(folder / "scene.tif"), str(folder / "b.hsz"), **{**asked, "codec": "sscnet"}))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"max_error": 1.0, "rate": 2.0}, "max_error and rate"),
        ({"codec": "lossless", "max_angle": 1.0}, "no largest error"),
        ({"codec": "cae1d"}, "needs a model"),
        ({"codec": "lossless", "model": "x.safetensors"}, "takes no model"),
        ({"rate": 0.01}, "more than 0.01"),
    ],
)
def test_wishes_that_exclude_each_other_are_refused(
    folder: Path, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(ParameterError, match=words):
        run(Compress(str(folder / "scene.tif"), str(folder / "a.hsz"), **asked))
    assert not (folder / "a.hsz").exists()


def test_the_scene_itself_is_no_output(folder: Path) -> None:
    run(Compress(str(folder / "scene.tif"), str(folder / "a.hsz")))
    with pytest.raises(OutputError, match="is the scene"):
        run(Compress(str(folder / "a.hsz"), str(folder / "a.hsz"), overwrite=True))
