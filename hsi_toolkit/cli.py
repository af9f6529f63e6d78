"""The command line: one command a task, made from its declaration, and the model zoo."""

import inspect
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hsi_toolkit import __version__
from hsi_toolkit.console import print_result, progress_for
from hsi_toolkit.failures import Failure, failure_of
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks import FAMILIES, TASKS, Parameter, Task

USER_ERROR, INTERNAL_ERROR, CANCELLED, PARTLY = 2, 1, 130, 3

app = typer.Typer(
    name="hsi",
    help="Hyperspectral intelligence: from a scene and polygons to a map and a report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(
    help="Published weights: list, show, fetch and import them.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models_app, name="models")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ProgressOption = Annotated[
    Literal["bar", "json", "none"], typer.Option("--progress", help="How to show progress.")
]

_TYPES: dict[str, type] = {"integer": int, "number": float, "flag": bool}


def main() -> None:
    """The entry point of ``hsi``."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hsi_toolkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def execute(work: Callable[[Progress], Mapping[str, object]], *, progress: str, as_json: bool) -> None:
    """Run ``work``, print its result, and turn every error into one line and an exit code.

    2 is for what the user can put right, 130 for cancelled, 1 for a defect, whose traceback goes to a
    file that the line names. 3 is for a result that names ``failures``: parts of the work that could not be
    done, while the others were.
    """
    shown = progress_for(progress)
    try:
        with shown.listening():
            result = work(shown)
    except (Exception, KeyboardInterrupt) as error:
        failure = failure_of(error)
        if failure.kind == "internal":
            _fail(f"{failure.message} Please report it with {_log(failure)}.", INTERNAL_ERROR)
        if failure.kind == "cancelled":
            _fail("Cancelled.", CANCELLED)
        _fail(failure.message, USER_ERROR)
    else:
        print_result(result, as_json=as_json)
        if result.get("failures"):
            raise typer.Exit(PARTLY)


def _fail(sentence: str, code: int) -> None:
    # One line whatever the message holds, so that a caller can rely on it.
    typer.echo(f"Error: {' '.join(sentence.split())}", err=True)
    raise typer.Exit(code)


def _log(failure: Failure) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="hsi-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(f"hsi_toolkit {__version__}\n{' '.join(sys.argv)}\n\n{failure.details}")
    return log.name


def _command(task: type[Task]) -> Callable[..., None]:
    """The command's function: its signature is the task's declaration, from which typer makes options."""

    def command(**values: Any) -> None:
        as_json, progress = values.pop("json"), values.pop("progress")

        def work(shown: Progress) -> Mapping[str, object]:
            # Imported now, so that help and a mistyped parameter answer without loading torch.
            checked = task.from_dict(values)
            from hsi_toolkit.pipelines import run

            return run(checked, shown)

        execute(work, progress=progress, as_json=as_json)

    declared = [_option(parameter) for parameter in task.parameters()]
    common = [
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
        inspect.Parameter(
            "progress", inspect.Parameter.KEYWORD_ONLY, default="bar", annotation=ProgressOption
        ),
    ]
    command.__signature__ = inspect.Signature([*declared, *common])  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in (*declared, *common)}
    command.__name__ = task.name
    command.__doc__ = _help(task)
    return command


def _option(parameter: Parameter) -> inspect.Parameter:
    kind: Any = _TYPES.get(parameter.kind, str)
    if parameter.kind == "choice":
        kind = Literal[parameter.choices]
    if parameter.kind in ("rasters", "files"):
        kind = list[str]
    flag = "--" + parameter.name.replace("_", "-")
    help_text = parameter.help + (f" [{parameter.range_text()}]" if _is_bounded(parameter) else "")
    if parameter.positional:
        metavar = parameter.name.upper() + ("..." if parameter.kind in ("rasters", "files") else "")
        info: object = typer.Argument(help=parameter.help, metavar=metavar, show_default=False)
    elif parameter.kind == "flag":
        info = typer.Option(flag, help=help_text)
    else:
        names = [flag, parameter.option] if parameter.option else [flag]
        info = typer.Option(*names, help=help_text, rich_help_panel=None)
    annotation: Any = kind if parameter.required or parameter.default is not None else kind | None
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if parameter.required else parameter.default,
        annotation=Annotated[annotation, info],
    )


def _is_bounded(parameter: Parameter) -> bool:
    return parameter.minimum is not None or parameter.maximum is not None


def _help(task: type[Task]) -> str:
    examples = "\n\n".join(f"  {line}" for line in task.examples)
    return f"{task.summary}\n\n{task.description}\n\nExample:\n\n{examples}"


_FAMILIES = {"models": models_app}

for _task in TASKS.values():
    *_family, _name = _task.command().split()
    _app = app
    for _each in _family:
        if _each not in _FAMILIES:
            _FAMILIES[_each] = typer.Typer(help=FAMILIES[_each], no_args_is_help=True, rich_markup_mode=None)
            app.add_typer(_FAMILIES[_each], name=_each)
        _app = _FAMILIES[_each]
    _app.command(_name)(_command(_task))


@models_app.command("list")
def list_models(json: JsonOption = False) -> None:
    """List the published weights of the four systems."""
    from hsi_toolkit.models import zoo

    def work(_: Progress) -> Mapping[str, object]:
        entries = zoo.list_models()
        rows = {entry.id: entry.title for entry in entries}
        return {"summary": f"{len(rows)} published models.", "facts": rows}

    execute(work, progress="none", as_json=json)


@models_app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="A published model's name, or a model file.")],
    json: JsonOption = False,
) -> None:
    """Show what a published model or a model file says about itself."""
    from hsi_toolkit.models import zoo
    from hsi_toolkit.models.bundle import ModelBundle

    def work(_: Progress) -> Mapping[str, object]:
        if Path(model).exists():
            return {"facts": ModelBundle.read_metadata(model).card()}
        return {"facts": zoo.show(model)}

    execute(work, progress="none", as_json=json)


@models_app.command("fetch")
def fetch_model(
    model: Annotated[str, typer.Argument(help="A published model's name.")],
    json: JsonOption = False,
    progress: ProgressOption = "bar",
) -> None:
    """Download a published model into the model folder; an interrupted download goes on where it stopped."""
    from hsi_toolkit.models import zoo

    def work(shown: Progress) -> Mapping[str, object]:
        return {"outputs": {"model": str(zoo.fetch(model, progress=shown))}}

    execute(work, progress=progress, as_json=json)


@models_app.command("import")
def import_model(
    source: Annotated[str, typer.Argument(help="A released checkpoint, or the name of a fetched model.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="The model file to write.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    json: JsonOption = False,
    progress: ProgressOption = "bar",
) -> None:
    """Convert a released checkpoint into a model file."""
    from hsi_toolkit.models import zoo

    def work(shown: Progress) -> Mapping[str, object]:
        bundle = zoo.import_model(source, output, overwrite=overwrite, progress=shown)
        written = output or str(zoo.model_folder() / f"{bundle.metadata.name}.safetensors")
        return {"facts": bundle.card(), "outputs": {"model": written}}

    execute(work, progress=progress, as_json=json)


if __name__ == "__main__":
    main()
