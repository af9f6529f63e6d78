"""How a model's file is put to use: in QGIS, in a shell, in Python."""

import json
import shlex
from dataclasses import dataclass

from hsi_toolkit.models.metadata import ModelMetadata
from hsi_toolkit.tasks import TASKS


@dataclass(frozen=True)
class Usage:
    """Instructions for a model's file.

    Attributes:
        algorithm: the Processing algorithm that takes it.
        role: what the file is there.
        shell: the command.
        python: the same in Python, where that is worth telling.
    """

    algorithm: str
    role: str
    shell: str
    python: str = ""


def usage_of(metadata: ModelMetadata, file: str) -> Usage | None:
    """How to use the model in the file of that name; None where its kind is taken by several tasks."""
    quoted = shlex.quote(file)
    if metadata.kind == "classifier":
        return Usage(
            TASKS["classify"].title,
            "the model",
            f"hsi classify SCENE --model {quoted} -o map.tif --uncertainty uncertainty.tif",
            _python("classify", {"scene": "scene.tif", "model": file, "output": "map.tif"}),
        )
    if metadata.kind == "object_classifier":
        layers = {"colour": "colour.tif", "scene": "scene.tif", "objects": "objects.gpkg"}
        return Usage(
            TASKS["bimae_classify"].title,
            "the model",
            f"hsi bimae classify COLOUR SCENE --objects POLYGONS --model {quoted} -o classes.gpkg",
            _python("bimae_classify", {**layers, "model": file, "output": "classes.gpkg"}),
        )
    if metadata.kind == "pretrained":
        task, command = ("train", "train SCENE")
        if metadata.architecture.name == "bimae":
            task, command = ("bimae_finetune", "bimae finetune COLOUR SCENE")
        return Usage(
            TASKS[task].title,
            "the pretrained weights",
            f"hsi {command} --labels POLYGONS --field CLASS --weights {quoted} -o model.safetensors",
        )
    return None


def _python(task: str, parameters: dict[str, str]) -> str:
    each = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in parameters.items())
    return (
        "from hsi_toolkit.pipelines import run\n"
        "from hsi_toolkit.tasks import TASKS\n\n"
        f'run(TASKS["{task}"]({each}))'
    )
