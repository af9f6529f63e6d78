"""What the engine answers, as figures that feed models and as lines of the log."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Callable, List, Mapping, Optional, Tuple, TypeVar, Union

from qgis.core import QgsProcessingFeedback

Values = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A number among the results: its output's name and label, and where the engine's result has it.

    ``path`` are the keys to it; of a list that is found there, ``reduce`` makes a number.
    """

    name: str
    label: str
    path: Tuple[Union[str, int], ...]
    reduce: Optional[Callable[[List[float]], float]] = None

    def of(self, result: Values) -> Optional[float]:
        """The number, None where the result has none."""
        found: Any = result
        for key in self.path:
            if isinstance(found, list) and isinstance(key, int):
                found = found[key]
            else:
                found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, list) and self.reduce is not None:
            # The shortest of no wavelengths is none.
            return self.reduce(found) if found or self.reduce is len else None
        return found if isinstance(found, (int, float)) else None


ACCURACY = (
    Figure("OVERALL_ACCURACY", "Overall accuracy (0 to 1)", ("accuracy", "overall", "value")),
    Figure("AVERAGE_ACCURACY", "Average accuracy (0 to 1)", ("accuracy", "average", "value")),
    Figure("KAPPA", "Kappa", ("accuracy", "kappa", "value")),
)


def fixed(**values: T) -> Mapping[str, T]:
    """The values by name, not to be changed."""
    return MappingProxyType(values)


def tell(result: Values, feedback: QgsProcessingFeedback) -> None:
    """Put what the engine says for people into the log."""
    for label, text in (result.get("facts") or {}).items():
        feedback.pushInfo(f"{label}: {text}")
    for sentence in result.get("warnings") or ():
        feedback.pushWarning(str(sentence))
    if result.get("summary"):
        feedback.pushInfo(str(result["summary"]))
