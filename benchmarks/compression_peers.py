"""Image codecs of ``imagecodecs`` on cubes: run by ``benchmarks.compression`` with a Python that has it.

Reads a .npy file (bands, rows, columns) of 16-bit integers named on the command line and prints one JSON
object: for each codec its bytes, and the seconds of coding and decoding. Every stream is decoded and
compared.
"""

import json
import sys
import time

import imagecodecs
import numpy as np


def main() -> None:
    cube = np.load(sys.argv[1], allow_pickle=False)
    wide = cube.astype(np.int32)
    bands = (wide - wide.min()).astype(np.uint16)
    steps = np.concatenate([wide[:1], np.diff(wide, axis=0)])
    # Each plane from zero on, which one number a band undoes.
    steps = (steps - steps.min(axis=(1, 2), keepdims=True)).astype(np.uint16)
    codecs = {
        "JPEG-LS per band": (bands, imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        "JPEG 2000 per band": (
            bands,
            lambda band: imagecodecs.jpeg2k_encode(band, level=0, reversible=True, codecformat="j2k"),
            imagecodecs.jpeg2k_decode,
        ),
        "JPEG XL per band": (
            bands,
            lambda band: imagecodecs.jpegxl_encode(band, lossless=True, effort=7),
            imagecodecs.jpegxl_decode,
        ),
        "spectral difference + JPEG-LS": (steps, imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
    }
    found = {}
    for name, (planes, encode, decode) in codecs.items():
        start = time.perf_counter()
        streams = [encode(np.ascontiguousarray(plane)) for plane in planes]
        middle = time.perf_counter()
        decoded = [decode(stream) for stream in streams]
        end = time.perf_counter()
        if not all(np.array_equal(one, other) for one, other in zip(planes, decoded, strict=True)):
            raise SystemExit(f"{name} is not lossless")
        found[name] = [sum(map(len, streams)), middle - start, end - middle]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
