"""The tutorial's pictures, from a real QGIS window on a virtual screen.

    HSI_PYTHON=.venv/bin/python python3 tools/screenshots.py                      docs/images/*.png
    HSI_PYTHON=… HSI_SHARED=… python3 tools/screenshots.py --real /tmp/pictures   Berlin and Potsdam

QGIS gets a profile of its own with this clone as the plugin, and goes through the tutorial on the scene the
project makes itself (tools/screenshots_inside.py). With ``--real`` it makes maps of two real scenes instead;
those pictures are for looking at, not for the repository. Needs QGIS 3.22 or newer, Xvfb and the engine's
environment.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "tools" / "screenshots_inside.py"
SCREEN = "1600x1000x24"
#: Seconds that QGIS has for a tour, and bytes from which on a picture has to do with 256 colours.
LIMIT, LARGE = 1500, 190_000
#: Browsers that take pictures of pages; any one does.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

INI = """
[PythonPlugins]
hsi_toolkit=true
processing=true
db_manager=false
MetaSearch=false
grassprovider=false
sagaprovider=false
otbprovider=false
[qgis]
checkVersion=false
showTips322=false
style=Fusion
[locale]
userLocale=en_US
overrideFlag=true
[hsi_toolkit]
interpreter={interpreter}
"""

MAKE_DEMO = """
import sys
from hsi_toolkit.demo import make_demo_scene
make_demo_scene(sys.argv[1])
"""
#: Large pictures get 256 colours: window and legend keep theirs exactly, the image shares what is left.
SHRINK = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
for path in map(Path, sys.argv[2:]):
    picture = Image.open(path).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size <= int(sys.argv[1]):
        continue
    pixels = np.asarray(picture).reshape(-1, 3)
    colours, place, count = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-count)
    kept, others = order[:128], order[128:]
    means = MiniBatchKMeans(256 - len(kept), random_state=0, n_init=1)
    number = np.empty(len(colours), np.uint8)
    number[kept] = np.arange(len(kept))
    number[others] = len(kept) + means.fit_predict(colours[others], sample_weight=count[others])
    few = Image.fromarray(number[place.reshape(-1)].reshape(picture.size[::-1]), "P")
    few.putpalette(np.vstack([colours[kept], means.cluster_centers_.round()]).astype(np.uint8).tobytes())
    few.save(path, optimize=True)
"""

#: Real scenes: the cube, the polygons, and the field with their classes.
REAL = {
    "berlin": ("EnMAP_BerlinUrbanGradient.bsq", "LandCov_BerlinUrbanGradient.shp", "Level_2"),
    "potsdam": ("enmap_potsdam_mosaic18.tif", "landcover_mosaic18_polygons.gpkg", ""),
}


def main() -> int:
    """Take the pictures; 0 when all of them were taken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures"
    )
    parser.add_argument("--real", type=Path, help="folder for pictures of the real scenes of HSI_SHARED")
    arguments = parser.parse_args()
    python = Path(os.environ.get("HSI_PYTHON", ROOT / ".venv" / "bin" / "python"))
    missing = [name for name in ("qgis", "xvfb-run", python) if shutil.which(name) is None]
    if missing:
        sys.exit(f"Needed and not there: {', '.join(map(str, missing))}")
    with tempfile.TemporaryDirectory(prefix="hsi-screenshots-") as folder, data_folder() as data:
        if arguments.real:
            tours = real_tours(data, arguments.real)
        else:
            tours = [demo_tour(data, python, arguments.output)]
        # By a link, so that the options page shows no path of whoever made the pictures.
        engine = data / "engine"
        engine.symlink_to(Path(os.path.abspath(python)).parents[1], target_is_directory=True)
        codes = [take(Path(folder), engine / "bin" / "python", tour) for tour in tours]
        for tour in tours:
            shoot_report(Path(tour["data"]) / "result" / "report.html", Path(tour["output"]) / "report.png")
        pictures = [path for tour in tours for path in sorted(Path(tour["output"]).glob("*.png"))]
        subprocess.run([python, "-c", SHRINK, str(LARGE), *pictures], check=True)
    return max(codes)


@contextmanager
def data_folder() -> Iterator[Path]:
    """A folder for the data at a path that looks well in dialogs; it is not there before and not after."""
    folder = Path.home() / "hsi-tutorial"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def demo_tour(data: Path, python: Path, output: Path) -> dict[str, str]:
    """The tutorial on the project's own scene."""
    subprocess.run([python, "-c", MAKE_DEMO, str(data)], check=True)
    return {"tour": "tutorial", "data": str(data), "output": str(output.resolve())}


def real_tours(data: Path, output: Path) -> list[dict[str, str]]:
    """One tour a real scene, on copies: QGIS writes statistics beside what it opens."""
    shared = Path(os.environ.get("HSI_SHARED", ROOT.parent / "shared")) / "scenes"
    tours = []
    for name, (scene, labels, field) in REAL.items():
        copies = data / name
        shutil.copytree(shared / name, copies, ignore=shutil.ignore_patterns("raw", "tiles"))
        for path in (copies, *copies.iterdir()):
            path.chmod(path.stat().st_mode | 0o200)
        files = {"scene": str(copies / scene), "labels": str(copies / labels), "field": field}
        target = (output / name).resolve()
        tours.append({"tour": "real", "data": str(copies), "output": str(target), **files})
    return tours


def take(work: Path, python: Path, tour: dict[str, str]) -> int:
    """Let QGIS go through a tour in a new profile; 0 when it came to its end."""
    profiles = Path(tempfile.mkdtemp(prefix="profiles-", dir=work))
    profile = profiles / "profiles" / "tour"
    (profile / "python" / "plugins").mkdir(parents=True)
    (profile / "QGIS").mkdir()
    (profile / "QGIS" / "QGIS3.ini").write_text(INI.format(interpreter=python))
    (profile / "python" / "plugins" / "hsi_toolkit").symlink_to(ROOT, target_is_directory=True)
    Path(tour["output"]).mkdir(parents=True, exist_ok=True)
    plan, done = profiles / "tour.json", profiles / "done.json"
    plan.write_text(json.dumps({**tour, "done": str(done)}))
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HSI_PYTHON"},
        "HSI_TOUR": str(plan),
        "QT_QPA_PLATFORM": "xcb",
        "XDG_RUNTIME_DIR": str(work),
    }
    command = [
        "xvfb-run", "-a", "-s", f"-screen 0 {SCREEN}",
        "qgis", "--nologo", "--noversioncheck", "--profiles-path", str(profiles), "--profile", "tour",
        "--code", str(INSIDE),
    ]  # fmt: skip
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        sys.exit(f"QGIS did not finish the tour within {LIMIT} seconds.")
    finally:
        # QGIS and its screen are in a group of their own, whatever ends this.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
    report = json.loads(done.read_text()) if done.exists() else {"log": [], "error": "QGIS ended early."}
    for line in [*report["log"], report["error"]]:
        sys.stdout.write(f"{line}\n")
    return int(bool(report["error"]))


def shoot_report(page: Path, picture: Path) -> None:
    """Take a picture of the report as a browser shows it; without a browser the earlier one stays."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or not page.exists():
        sys.stdout.write(f"{picture.name} stays as it was: there is no report or no Chromium.\n")
        return
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,1180"]
    with tempfile.TemporaryDirectory() as folder:
        # A browser may be kept from writing anywhere but here.
        made = Path(folder) / "report.png"
        command = [browser, *options, f"--screenshot={made}", page.as_uri()]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
        shutil.copyfile(made, picture)


def _end(*_: object) -> None:
    """Let a signal end this like an error, so that nothing is left behind."""
    sys.exit("Ended by a signal.")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
