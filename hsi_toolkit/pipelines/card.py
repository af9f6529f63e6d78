"""Write the card of a model."""

from collections.abc import Mapping

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.header import read_header
from hsi_toolkit.progress import Progress
from hsi_toolkit.reports.model_card import render_card
from hsi_toolkit.tasks.card import Card


def run(task: Card, progress: Progress) -> Mapping[str, object]:
    """Read the model file's header, none of its tensors, and write the page."""
    target = check_output(task.output, overwrite=task.overwrite)
    if target.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"The card {target} does not end in .html.", "Name it so.")
    path = zoo.resolve(task.model)
    progress.report(0.0, "Reading the model's description")
    metadata, tensors = ModelBundle.read_metadata(path), read_header(path).tensors
    html = render_card(metadata, tensors, path, path.stat().st_size)
    with atomic_path(target, overwrite=task.overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")
    progress.report(1.0)
    return {
        "summary": f"Card of {metadata.name} ({metadata.kind.replace('_', ' ')}).",
        "outputs": {"card": str(target)},
        "card": metadata.card(),
    }
