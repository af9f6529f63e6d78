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
    low = int(cube.min())
    bands = (cube.astype(np.int32) - low).astype(np.uint16)
    # Differences of 16-bit numbers come back modulo 2**16; half the range keeps small ones together.
    steps = np.concatenate([bands[:1], bands[1:] - bands[:-1] + np.uint16(1 << 15)])
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
