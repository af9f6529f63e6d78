"""XML of unknown origin, parsed without entities: a file may be anyone's."""

from collections.abc import Collection
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat


class XmlError(ValueError):
    """A text is no XML, or declares entities, which could expand without end or name other files."""


class _EntityDeclaredError(Exception):
    pass


def parse_xml(text: str | bytes, skip: Collection[str] = ()) -> Element:
    """The root element.

    A document type without declarations, as QGIS writes it, is let pass; external ones are never read.

    Args:
        text: the whole document.
        skip: names of elements to leave out with all they hold, which saves the time of building them.

    Raises:
        XmlError: the text is no XML or declares entities.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag in skip:
            leave_out()
        else:
            builder.start(tag, attributes)

    def leave_out() -> None:
        nonlocal depth
        depth = 1
        parser.StartElementHandler, parser.EndElementHandler = deeper, shallower
        parser.CharacterDataHandler = None

    def deeper(_tag: str, _attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1

    def shallower(_tag: str) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            build()

    def build() -> None:
        parser.StartElementHandler = start if skip else builder.start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data

    build()
    parser.EntityDeclHandler = _refuse_entities
    try:
        parser.Parse(text, True)
        return builder.close()
    except _EntityDeclaredError:
        raise XmlError("it declares entities") from None
    except (expat.ExpatError, AssertionError, ValueError) as error:
        raise XmlError(str(error)) from error


def _refuse_entities(*declaration: object) -> NoReturn:
    raise _EntityDeclaredError
