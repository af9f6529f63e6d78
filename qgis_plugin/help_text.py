"""The help of an algorithm, made from its task's declaration and its parameters."""

import html
from pprint import pformat
from typing import Any, List, Mapping, Type

from qgis.core import QgsProcessingAlgorithm

from ..hsi_toolkit.tasks import Task


def help_html(
    algorithm: QgsProcessingAlgorithm, task: Type[Task], when: str, example: Mapping[str, Any]
) -> str:
    """What the task does, when to use it, what each parameter means, how to call it, and its papers."""
    parameters = algorithm.parameterDefinitions()
    lines = {
        each.name(): f"<p><b>{escape(each.description())}</b> ({each.name()}): {escape(each.help())}</p>"
        for each in parameters
    }
    inputs = [lines[each.name()] for each in parameters if not each.isDestination()]
    outputs = [lines[each.name()] for each in parameters if each.isDestination()]
    outputs += [
        f"<p><b>{escape(each.description())}</b> ({each.name()})</p>"
        for each in algorithm.outputDefinitions()
        if each.name() not in lines
    ]
    parts = [
        f"<p><b>{escape(task.summary)}</b></p><p>{escape(task.description)}</p>",
        f"<h3>When to use it</h3><p>{escape(when)}</p>",
        "<h3>Parameters</h3>",
        *inputs,
        "<h3>Outputs</h3>",
        *outputs,
        *_examples(task, f"hsi:{algorithm.name()}", example),
    ]
    if task.references:
        parts.append("<h3>References</h3>")
        parts += [f"<p>{escape(reference)}</p>" for reference in task.references]
    # QGIS passes over line ends; in a terminal, under qgis_process, they make it readable.
    return "\n".join(parts)


def python_call(algorithm_id: str, example: Mapping[str, Any]) -> str:
    """The call of the Python console."""
    values = pformat(dict(example), width=60, sort_dicts=False)
    return f'processing.run("{algorithm_id}",\n{values})'


def shell_call(algorithm_id: str, example: Mapping[str, Any]) -> str:
    """The call of ``qgis_process``."""
    words: List[str] = []
    for name, value in example.items():
        for each in value if isinstance(value, list) else [value]:
            text = str(each)
            words.append(f"--{name}='{text}'" if " " in text else f"--{name}={text}")
    return " ".join(["qgis_process run", algorithm_id, *words])


def escape(text: str) -> str:
    """The text for HTML; quotes stay as they are."""
    return html.escape(text, quote=False)


def _examples(task: Type[Task], algorithm_id: str, example: Mapping[str, Any]) -> List[str]:
    parts = [
        f"<h3>In Python</h3><pre>{escape(python_call(algorithm_id, example))}</pre>",
        f"<h3>In a shell</h3><p><code>{escape(shell_call(algorithm_id, example))}</code></p>",
    ]
    return parts + [f"<p><code>{escape(line)}</code></p>" for line in task.examples]
