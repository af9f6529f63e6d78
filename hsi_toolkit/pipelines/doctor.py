"""Checking the engine: what it runs on, and whether its parts work."""

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from hsi_toolkit import __version__
from hsi_toolkit.files import atomic_path
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks.doctor import Doctor

_PACKAGES = ("numpy", "scipy", "xarray", "rioxarray", "h5py", "geopandas", "pyogrio", "scikit-learn", "numba")
_VARIABLES = ("HSI_MODELS", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "GDAL_CACHEMAX", "LD_LIBRARY_PATH")
_GIB = 1 << 30


def run(task: Doctor, progress: Progress) -> Mapping[str, object]:
    """Look at each part on its own: one that fails is a warning and keeps no other from being looked at."""
    facts: dict[str, str] = {}
    warnings: list[str] = []
    for number, (label, look) in enumerate(_LOOKS.items()):
        progress.check()
        progress.report(number / len(_LOOKS), f"Checking: {label}")
        try:
            facts[label] = _nameless(look())
        # A part that is broken may raise anything; saying so is what this task is for.
        except Exception as error:
            problem = _nameless(" ".join(f"{type(error).__name__}: {error}".split()))
            facts[label] = f"FAILED ({problem})"
            warnings.append(f"{label} failed: {problem}.")
    count = len(warnings)
    summary = f"{count} of {len(facts)} checks failed." if count else "The engine works."
    report = _report(summary, facts)
    outputs = {}
    if task.output:
        with atomic_path(task.output, overwrite=task.overwrite) as temporary:
            temporary.write_text(report, encoding="utf-8")
        outputs["report"] = task.output
    return {
        "summary": summary,
        "facts": facts,
        "outputs": outputs,
        "warnings": warnings,
        "report": report,
        "failed": count,
    }


def _report(summary: str, facts: Mapping[str, str]) -> str:
    width = max(map(len, facts)) + 2
    lines = [f"{label + ':':<{width}}{text}" for label, text in facts.items()]
    return "\n".join([f"hsi_toolkit {__version__}: {summary}", "", *lines, ""])


def _nameless(text: str) -> str:
    """The text with the home folder as ``~`` and without the user's name in paths."""
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~").replace(home.replace("\\", "/"), "~")
    user = os.environ.get("USERNAME") or os.environ.get("USER")
    return re.sub(rf"(?<=[/\\]){re.escape(user)}(?=[/\\]|$)", "<user>", text) if user else text


def _python() -> str:
    return f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})"


def _platform() -> str:
    return f"{platform.platform()}, {platform.machine()}"


def _processors() -> str:
    import torch

    return f"{os.cpu_count()}, of which PyTorch uses {torch.get_num_threads()}"


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"


def _packages() -> str:
    """Their versions as they are installed; ``version`` raises for one that is not."""
    return ", ".join(f"{name} {version(name)}" for name in _PACKAGES)


def _geospatial() -> str:
    import rasterio

    return (
        f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}, PROJ {rasterio.__proj_version__}"
    )


def _torch() -> str:
    import torch

    return f"{torch.__version__} ({'CUDA ' + torch.version.cuda if torch.version.cuda else 'without CUDA'})"


def _cuda() -> str:
    import torch

    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{each.name} ({each.total_memory / _GIB:.0f} GiB)" for each in devices) or "none"


def _variables() -> str:
    found = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    return ", ".join(f"{name}={value}" for name, value in found.items()) or "none set"


def _model_folder() -> str:
    from hsi_toolkit.models.zoo import model_folder

    folder = model_folder()
    # It is made on first use: until then the nearest folder above it decides.
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise PermissionError(f"{folder} cannot be written; choose another one")
    models = len(list(folder.glob("*.safetensors"))) if folder.is_dir() else 0
    return f"{folder} (writable, {models} model files)"


def _temporary_folder() -> str:
    folder = tempfile.gettempdir()
    return f"{folder}, {shutil.disk_usage(folder).free / _GIB:.1f} GiB free"


def _coordinates() -> str:
    """On its central meridian, at the equator, UTM's easting is 500 km and its northing 0."""
    from rasterio.warp import transform

    (longitude,), (latitude,) = transform("EPSG:32633", "EPSG:4326", [500_000.0], [0.0])
    if abs(longitude - 15.0) > 1e-9 or abs(latitude) > 1e-9:
        raise ValueError(f"PROJ gives {longitude}, {latitude} instead of 15, 0")
    return "transformed"


def _raster() -> str:
    """A raster with wavelengths comes back as it was written."""
    import numpy as np
    import rioxarray  # noqa: F401  gives the grid its .rio
    import xarray as xr
    from affine import Affine

    from hsi_toolkit.scene import RasterWriter, open_scene

    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    grid = xr.DataArray(np.zeros((3, 4)), dims=("y", "x"))
    grid = grid.rio.write_crs("EPSG:32633").rio.write_transform(Affine(10.0, 0.0, 5e5, 0.0, -10.0, 0.0))
    with tempfile.TemporaryDirectory(prefix="hsi-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "check.tif"
        with RasterWriter(path, like=grid, count=2, wavelengths=[500.0, 600.0]) as writer:
            writer.write(values, 0)
        scene = open_scene(path)
        if not np.array_equal(scene.to_numpy(), values) or list(scene["wavelength"]) != [500.0, 600.0]:
            raise ValueError("the raster that was read is not the one that was written")
        scene.close()
    return "written and read"


def _computation() -> str:
    """A convolution of known result, on the processor and each CUDA device."""
    import torch

    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    took = []
    for name in names:
        begun = time.perf_counter()
        ones = torch.ones(1, 8, 16, 16, device=name)
        sums = torch.nn.functional.conv2d(ones, torch.ones(4, 8, 3, 3, device=name))
        if not bool((sums == 72.0).all()):
            raise ValueError(f"a convolution on {name} gives a wrong result")
        took.append(f"{name} in {1000 * (time.perf_counter() - begun):.0f} ms")
    return ", ".join(took)


def _kernels() -> str:
    """A compiled kernel of known result, and what maps are computed in first."""
    import torch

    from hsi_toolkit.inference.devices import quick_dtypes
    from hsi_toolkit.kernels import WIDTH, array, quantise

    values, rounded = torch.full((2, WIDTH), -3.0), torch.empty(2, WIDTH, dtype=torch.int8)
    scales = torch.empty(WIDTH)
    quantise(array(values), array(rounded), array(scales))
    if not bool((rounded == -127).all()) or not torch.allclose(scales, torch.tensor(3 / 127)):
        raise ValueError("a compiled kernel gives a wrong result")
    names = [str(dtype).removeprefix("torch.") for dtype in quick_dtypes(torch.device("cpu"))]
    return f"compiled; first answers of maps on the processor in {' or '.join([*names, 'float32'])}"


_LOOKS: dict[str, Callable[[], str]] = {
    "Python": _python,
    "System": _platform,
    "Memory": _memory,
    "Processors": _processors,
    "Packages": _packages,
    "Geospatial": _geospatial,
    "PyTorch": _torch,
    "CUDA devices": _cuda,
    "Variables": _variables,
    "Model folder": _model_folder,
    "Temporary folder": _temporary_folder,
    "Coordinates": _coordinates,
    "Raster": _raster,
    "Computation": _computation,
    "Kernels": _kernels,
}
