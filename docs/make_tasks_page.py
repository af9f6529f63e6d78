"""Write docs/tasks.md from the task declarations: ``python docs/make_tasks_page.py``."""

from pathlib import Path

from hsi_toolkit.tasks import TASKS, Parameter, Task

PAGE = Path(__file__).with_name("tasks.md")


def page() -> str:
    """The page: a section for each task, with a table of its parameters."""
    intro = (
        "# Tasks\n\nEvery task is one command, and one section here. The tables are made from the same "
        "declarations as the commands. All commands also take `--json` (the result as JSON on the output "
        "stream) and `--progress bar|json|none`. Exit codes: 0 done, 2 something you can put right (one "
        "line says what), 130 cancelled, 1 a defect.\n"
    )
    return intro + "".join(section(task) for task in TASKS.values())


def section(task: type[Task]) -> str:
    """One task: what it does, examples, parameters and sources."""
    rows = "\n".join(row(parameter) for parameter in task.parameters())
    examples = "\n".join(task.examples)
    sources = "".join(f"\n- {reference}" for reference in task.references)
    text = (
        f"\n## {task.title}: `hsi {task.command()}`\n\n{task.description}\n\n```sh\n{examples}\n```\n\n"
        f"| parameter | default | meaning |\n|---|---|---|\n{rows}\n"
    )
    return text + (f"\nSources:\n{sources}\n" if sources else "")


def row(parameter: Parameter) -> str:
    """One line of the table."""
    flag = "--" + parameter.name.replace("_", "-")
    name = parameter.name.upper() if parameter.positional else flag
    short = f", `{parameter.option}`" if parameter.option else ""
    default = (
        "required" if parameter.required else "" if parameter.default is None else f"`{parameter.default}`"
    )
    choices = (
        f" One of {', '.join(f'`{choice}`' for choice in parameter.choices)}." if parameter.choices else ""
    )
    bounded = parameter.minimum is not None or parameter.maximum is not None
    bounds = f" Takes {parameter.range_text()}." if bounded else ""
    return f"| `{name}`{short} | {default} | {parameter.help}{choices}{bounds} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
