"""Maps a small scene in a process of its own, killed wherever it is told to be.

    python -m tests.blockwise.killed_map FOLDER

A line on the standard input is a job: mode, name of the map, and how many bytes of the journal are written
before the process is killed (-1: it is left alone). The answer is a line with its exit status. Jobs are
forked from here, where everything is imported and nothing was computed: that saves seconds each.
"""

import os
import signal
import sys
from pathlib import Path

from hsi_toolkit.blockwise.journal import BlockJournal, journal_path
from hsi_toolkit.inference import classify
from hsi_toolkit.inference.classify import MapOutputs, classify_scene
from hsi_toolkit.scene import open_scene
from tests.inference.conftest import small_classifier

ROWS = 4


def main() -> None:
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        mode, name, limit = line.split()
        child = os.fork()
        if not child:
            status = 1
            try:
                run(folder, mode, name, int(limit))
                status = 0
            finally:
                os._exit(status)
        sys.stdout.write(f"{os.waitpid(child, 0)[1]}\n")
        sys.stdout.flush()


def run(folder: Path, mode: str, name: str, limit: int) -> None:
    if limit >= 0:
        kill_after(limit)
    classify.rows_within = lambda *_, **__: ROWS
    result = classify_scene(
        open_scene(folder / "scene.npy", ":byx"),
        small_classifier(),
        MapOutputs(folder / f"{name}.tif", folder / f"{name}_p.tif", folder / f"{name}_u.tif"),
        mode="fast" if mode == "fast" else "exact",
        device="cpu",
        journal=journal_path(folder / f"{name}.tif"),
    )
    (folder / f"{name}.resumed").write_text(str(result.resumed))


def kill_after(limit: int) -> None:
    """Let the journal take so many bytes of this process, and end it within the next one."""
    left, write = limit, BlockJournal._write

    def counted(self: BlockJournal, data: bytes) -> None:
        nonlocal left
        if len(data) > left:
            write(self, data[:left])
            os.kill(os.getpid(), signal.SIGKILL)
        left -= len(data)
        write(self, data)

    BlockJournal._write = counted


if __name__ == "__main__":
    main()
