"""TFRecords: the published layout in all its encodings, and one sentence for whatever is wrong."""

import contextlib
import gzip
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.bimodal.crc32c import masked_crc32c
from hsi_toolkit.bimodal.pairs import Pairs, Preparation
from hsi_toolkit.bimodal.records import pairs_from_records
from hsi_toolkit.errors import SceneError

from .conftest import Writer, example, framed, message, seed_record, varint

SMALL = Preparation(patch=4, side=8)


def read(path: Path) -> Pairs:
    return pairs_from_records(path, SMALL)


def serialised(values: np.ndarray, kind: int) -> bytes:
    """A TensorProto as tf.io.serialize_tensor writes it."""
    shape = b"".join(message(2, varint(1 << 3) + varint(size)) for size in values.shape)
    return varint(1 << 3) + varint(kind) + message(2, shape) + message(4, values.tobytes())


def test_the_published_layout(write_records: Writer) -> None:
    pairs = read(write_records(*(seed_record(number) for number in range(4))))
    assert pairs.rgb.shape == (4, 8, 8, 3)
    assert pairs.hs.shape == (4, 4, 4, 10)
    assert pairs.called == ("seed 0", "seed 1", "seed 2", "seed 3")
    assert pairs.classes.names == ("barley", "wheat")
    assert pairs.labels is not None
    assert pairs.labels.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(pairs.rgb[2], seed_record(2)["rgb_image"])
    assert (pairs.hs.min(axis=-1) == 0).all()
    assert (pairs.hs.max(axis=-1) == 1).all()


def test_every_encoding_gives_the_same(write_records: Writer) -> None:
    plain = seed_record(3)
    rgb, hs = (
        np.asarray(plain["rgb_image"]),
        np.frombuffer(bytes(plain["hs_image"]), np.uint8).reshape(4, 4, 10),
    )
    wanted = read(write_records(plain))
    for changed in (
        {"rgb_image": rgb.tobytes(), "hs_image": hs.astype(np.int64)},
        {"rgb_image": serialised(rgb, 1), "hs_image": serialised(hs, 4)},
    ):
        found = read(write_records(seed_record(3, **changed)))
        np.testing.assert_array_equal(found.rgb, wanted.rgb)
        np.testing.assert_array_equal(found.hs, wanted.hs)


def test_colours_up_to_255_and_numbered_classes(write_records: Writer) -> None:
    bright = np.full((8, 8, 3), 51.0, np.float32)
    bright[0, 0] = 255.0
    records = [seed_record(n, rgb_image=bright, label=np.array([10 - n])) for n in range(2)]
    pairs = read(write_records(*records))
    assert pairs.rgb[0, 1, 1, 0] == pytest.approx(0.2)
    assert pairs.classes.values == (9, 10)


def test_gzip_and_folders_of_shards(write_records: Writer, tmp_path: Path) -> None:
    write_records(seed_record(0), name="seeds.tfrecord.gz")
    write_records(seed_record(1), name="seeds.tfrecord-00001-of-00002")
    (tmp_path / "notes.txt").write_text("not a record")
    assert sorted(read(tmp_path).called) == ["seed 0", "seed 1"]


def without(name: str) -> Callable[[dict], dict]:
    return lambda record: {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("hs_image"), "Record 2 of .* has no feature 'hs_image'"),
        (without("label"), "Record 2 of .* has no feature 'label'"),
        (lambda r: {**r, "depth": np.array([3])}, "Record 2 of .* has an unknown feature 'depth'"),
        (
            lambda r: {**r, "rgb_image": np.zeros(100, np.float32)},
            "Record 2 of .*: rgb_image holds 100 values instead of 8 × 8 × 3 = 192",
        ),
        (
            lambda r: {**r, "hs_image": bytes(150)},
            "Record 2 of .*: hs_image holds 150 values instead of 4 × 4 × 10 = 160",
        ),
        (lambda r: {**r, "label": np.zeros(2, np.float32)}, "Record 2 of .*: label is not one text"),
        (
            lambda r: {**r, "rgb_image": np.full((8, 8, 3), np.nan, np.float32)},
            "Record 2 of .*: rgb_image holds values that are no colours",
        ),
        (lambda _: b"\x0a\xff\xff\xff\xff\x0f", "Record 2 of .* is damaged: it is no Example, or cut off"),
        (lambda _: b"\xff" * 40, "Record 2 of .* is damaged: it is no Example"),
    ],
)
def test_what_is_wrong_is_named_with_record_and_feature(
    write_records: Writer, change: Callable[[dict], dict | bytes], said: str
) -> None:
    path = write_records(seed_record(1), change(seed_record(2)))
    with pytest.raises(SceneError, match=said):
        read(path)


def test_a_first_record_of_another_patch_size_is_said(write_records: Writer) -> None:
    with pytest.raises(SceneError, match="hs_image holds 90 values, which are no bands of 4 × 4 pixels"):
        read(write_records(seed_record(1, patch=3)))


@pytest.mark.parametrize("name", ["seeds.tfrecord", "seeds.tfrecord.gz"])
@pytest.mark.parametrize("cut", [1, 5, 400])
def test_truncated_files_name_the_record(write_records: Writer, name: str, cut: int) -> None:
    with pytest.raises(SceneError, match=r"Record 2 of .* is truncated"):
        read(write_records(seed_record(1), seed_record(2), name=name, cut=cut))


def test_a_gzip_file_cut_off_is_said(write_records: Writer) -> None:
    path = write_records(seed_record(1), seed_record(2), name="seeds.tfrecord.gz")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SceneError, match=r"Record \d of .* is truncated|damaged gzip"):
        read(path)


def test_a_flipped_bit_is_found(write_records: Writer) -> None:
    path = write_records(seed_record(1), seed_record(2))
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(SceneError, match=r"Record 2 of .* is damaged: its checksum is wrong"):
        read(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_hostile_length_allocates_nothing(tmp_path: Path, packed: bool) -> None:
    length = struct.pack("<Q", 2**62)
    data = framed(example(seed_record(1))) + length + struct.pack("<I", masked_crc32c(length))
    path = tmp_path / "huge.tfrecord"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(SceneError, match=r"Record 2 of .* is (truncated|damaged: it claims 4,611,686)"):
        read(path)


def test_other_files_are_no_tfrecords(tmp_path: Path) -> None:
    other = tmp_path / "picture.png"
    other.write_bytes(b"\x89PNG" + bytes(100))
    with pytest.raises(SceneError, match=re.escape("is no TFRecord file")):
        read(other)
    with pytest.raises(SceneError, match="holds no TFRecord files"):
        read(tmp_path / ".." / tmp_path.name)
    with pytest.raises(SceneError, match="There is no file"):
        read(tmp_path / "nothing.tfrecord")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes_end_in_one_sentence(data: st.DataObject) -> None:
    original = example(seed_record(1))
    start = data.draw(st.integers(0, len(original) - 1))
    changed = (
        original[:start]
        + data.draw(st.binary(max_size=12))
        + original[start + data.draw(st.integers(0, 40)) :]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changed.tfrecord"
        path.write_bytes(framed(changed))
        with contextlib.suppress(SceneError):
            read(path)
