"""XML of unknown origin, parsed without entities: a file may be anyone's."""

from collections.abc import Collection
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

MAX_DEPTH = 100
"""Elements within elements; metadata and styles have some ten or twenty."""


class XmlError(ValueError):
    """A text is no XML, or declares entities, which could expand without end or name other files."""


class _EntityDeclaredError(Exception):
    pass


class _TooDeepError(Exception):
    pass


def parse_xml(text: str | bytes, skip: Collection[str] = ()) -> Element:
    """The root element.

    A document type without declarations, as QGIS writes it, is let pass; external ones are never read.

    Args:
        text: the whole document.
        skip: names of elements to leave out with all they hold, which saves the time of building them; they
            must not hold others of their own name.

    Raises:
        XmlError: the text is no XML, declares entities or is nested without end.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        if tag in skip:
            leave_out(tag)
            return
        depth += 1
        if depth > MAX_DEPTH:
            raise _TooDeepError
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def leave_out(skipped: str) -> None:
        def look_for_end(tag: str) -> None:
            if tag == skipped:
                build()

        parser.StartElementHandler = parser.CharacterDataHandler = None
        parser.EndElementHandler = look_for_end

    def build() -> None:
        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler = builder.data

    build()
    parser.EntityDeclHandler = _refuse_entities
    try:
        parser.Parse(text, True)
        return builder.close()
    except _EntityDeclaredError:
        raise XmlError("it declares entities") from None
    except _TooDeepError:
        raise XmlError(f"its elements are nested more than {MAX_DEPTH} deep") from None
    except (expat.ExpatError, AssertionError, ValueError) as error:
        raise XmlError(str(error)) from error


def _refuse_entities(*declaration: object) -> NoReturn:
    raise _EntityDeclaredError
