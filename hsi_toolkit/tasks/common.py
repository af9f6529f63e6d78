"""Parameters that several tasks have in common, declared once."""

from typing import Any

from .base import parameter

VECTOR_SUFFIXES = (".gpkg", ".shp", ".geojson", ".fgb", ".json", ".kml", ".gml")
LIBRARY_SUFFIXES = (".sli", ".hdr", ".esl", ".csv", ".txt")
MAP_SUFFIXES = (".tif",)

HSIMAE_PAPER = (
    "Wang et al. 2024, HSIMAE: A Unified Masked Autoencoder with Large-Scale Pretraining for Hyperspectral "
    "Image Classification, IEEE J. of Selected Topics in Applied Earth Observations and Remote Sensing 17"
)


def scene(
    help: str = "The hyperspectral scene: a product of a sensor, ENVI, GeoTIFF, MATLAB, NumPy and others.",
) -> Any:
    return parameter("raster", "Scene", help, positional=True)


def variable() -> Any:
    return parameter(
        "text",
        "Variable",
        'Which array of a file with several, by its name; "swath" for an image without its map grid.',
        default=None,
        advanced=True,
    )


def labels(help: str = "Polygons or points with a class each, in any vector format.") -> Any:
    return parameter(
        "vector", "Labels", help, suffixes=VECTOR_SUFFIXES, geometries=("polygon", "point"), option="-l"
    )


def label_field() -> Any:
    return parameter(
        "field",
        "Class field",
        "The field with the class: text or whole numbers.",
        parent="labels",
        option="-f",
    )


def layer() -> Any:
    return parameter(
        "text",
        "Layer",
        "The layer within the labels' file, where it has several.",
        default=None,
        advanced=True,
    )


def model() -> Any:
    return parameter(
        "model",
        "Model",
        "A model file (.safetensors), or the name of a fetched one.",
        suffixes=(".safetensors",),
        option="-m",
    )


def device() -> Any:
    return parameter(
        "choice",
        "Device",
        "Where to compute; auto takes CUDA when there is one.",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        advanced=True,
    )


def seed() -> Any:
    return parameter(
        "integer",
        "Seed",
        "The same seed gives the same result on the same machine.",
        default=0,
        minimum=0,
        maximum=2**32 - 1,
        advanced=True,
    )


def overwrite() -> Any:
    return parameter("flag", "Overwrite", "Replace outputs that exist.", default=False, advanced=True)


def cluster() -> Any:
    return parameter(
        "text",
        "Cluster",
        "Compute blocks in other processes, with the same result: local:4 for four of this machine, or the "
        "address of a Dask scheduler, such as tcp://host:8786.",
        default=None,
        advanced=True,
    )


def memory_limit() -> Any:
    return parameter(
        "integer",
        "Memory limit",
        "How much memory blocks and batches may take together; by default what is free.",
        default=None,
        minimum=256,
        unit="MB",
        advanced=True,
    )


def size() -> Any:
    return parameter(
        "choice",
        "Network size",
        "Small suits laptops; Base, Large and Huge are the published sizes.",
        choices=("small", "base", "large", "huge"),
        default="small",
    )


def mode() -> Any:
    return parameter(
        "choice",
        "Mode",
        "exact gives every pixel its own window; fast takes a grid and interpolates where they agree.",
        choices=("exact", "fast"),
        default="exact",
    )


def false_alarm_rate() -> Any:
    return parameter(
        "number",
        "False-alarm rate",
        "Share of ordinary pixels that the map may flag by mistake.",
        default=0.001,
        minimum=1e-7,
        maximum=0.5,
    )


def robust(help: str) -> Any:
    return parameter("flag", "Robust background", help, default=False, advanced=True)
