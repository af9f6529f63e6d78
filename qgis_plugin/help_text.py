"""The help of an algorithm, made from its task's declaration."""

from html import escape
from pprint import pformat
from typing import Any, Dict, List, Mapping, Type

from ..hsi_toolkit.tasks import Task
from .parameters import help_of, shown_parameters


def help_html(
    task: Type[Task], algorithm_id: str, names: Dict[str, str], when: str, example: Mapping[str, Any]
) -> str:
    """What the task does, when to use it, what each parameter means, how to call it, and its papers."""
    parts = [f"<p><b>{escape(task.summary)}</b></p>", f"<p>{escape(task.description)}</p>"]
    if when:
        parts.append(f"<h3>When to use it</h3><p>{escape(when)}</p>")
    inputs, outputs = [], []
    for declared in shown_parameters(task):
        line = f"<p><b>{escape(declared.label)}</b> ({names[declared.name]}): {escape(help_of(declared))}</p>"
        (outputs if declared.kind.endswith("_output") else inputs).append(line)
    parts += ["<h3>Parameters</h3>", *inputs]
    if outputs:
        parts += ["<h3>Outputs</h3>", *outputs]
    parts += _examples(task, algorithm_id, example)
    if task.references:
        parts.append("<h3>References</h3>")
        parts += [f"<p>{escape(reference)}</p>" for reference in task.references]
    return "".join(parts)


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


def _examples(task: Type[Task], algorithm_id: str, example: Mapping[str, Any]) -> List[str]:
    parts = [
        f"<h3>In Python</h3><pre>{escape(python_call(algorithm_id, example))}</pre>",
        f"<h3>In a shell</h3><p><code>{escape(shell_call(algorithm_id, example))}</code></p>",
    ]
    parts += [f"<p><code>{escape(line)}</code></p>" for line in task.examples]
    return parts
