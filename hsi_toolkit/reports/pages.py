"""What all pages have in common: the template environment, and numbers as a reader expects them."""

import math
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from hsi_toolkit.reports.estimates import Estimate

_NO_BREAK = "\N{NO-BREAK SPACE}"


def page_template(name: str) -> Template:
    """The template of that name: what goes into it is escaped, and what it lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "number": number,
        "shown": shown,
        "moment": moment,
    }
    return environment.get_template(name)


def percent(value: float | None) -> str:
    """``"83.2 %"``, or a dash."""
    return "–" if value is None else f"{100 * value:.1f}{_NO_BREAK}%"


def interval(estimate: Estimate) -> str:
    """``"78.1 – 87.3 %"``, or nothing."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.1f} – {100 * estimate.high:.1f}{_NO_BREAK}%"


def number(value: float | None) -> str:
    """A count or area with as many digits as mean something, or a dash."""
    if value is None:
        return "–"
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def moment(text: str) -> str:
    """``"2025-01-31 12:00:00 UTC"`` for a time of ISO 8601; anything else as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{time:%Y-%m-%d %H:%M:%S} {time.tzname() or ''}".rstrip()


def data_uri(data: bytes | None, kind: str) -> str | None:
    """The bytes of a picture as an address that holds them; None for none."""
    return None if data is None else f"data:{kind};base64,{b64encode(data).decode()}"


def plain(value: object) -> object:
    """``value`` in JSON's own types: NumPy's become Python's, what is not finite becomes null."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def shown(value: object) -> str:
    """A fact of a card or parameter list as a reader expects it."""
    value = plain(value)
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    return str(value)
