"""What makes a polygon layer ready for drawing classes: its colours, and a form that offers their names."""

from typing import Sequence, Tuple

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsEditorWidgetSetup,
    QgsFieldConstraints,
    QgsFillSymbol,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

#: How much of the scene is seen through a polygon, and how strong its outline is.
FILL_OPACITY, OUTLINE_MM = 0.30, 0.6
NO_CLASS, NO_CLASS_COLOUR = "no class yet", "#9aa0a6"

ClassColour = Tuple[str, str]


def style_training_layer(layer: QgsVectorLayer, field: str, classes: Sequence[ClassColour]) -> None:
    """Show the classes in their colours, and let the form offer them; a polygon must have one."""
    categories = [QgsRendererCategory(name, _symbol(colour), name) for name, colour in classes]
    # QGIS takes the category without a value for whatever no other one holds.
    categories.append(QgsRendererCategory("", _symbol(NO_CLASS_COLOUR), NO_CLASS))
    layer.setRenderer(QgsCategorizedSymbolRenderer(field, categories))
    index = layer.fields().lookupField(field)
    pairs = [{name: name} for name, _ in classes]
    layer.setEditorWidgetSetup(index, QgsEditorWidgetSetup("ValueMap", {"map": pairs}))
    hard = QgsFieldConstraints.ConstraintStrength.ConstraintStrengthHard
    layer.setFieldConstraint(index, QgsFieldConstraints.Constraint.ConstraintNotNull, hard)
    form = layer.editFormConfig()
    # The next polygon is mostly one of the same class.
    form.setReuseLastValue(index, True)
    layer.setEditFormConfig(form)


def _symbol(colour: str) -> QgsFillSymbol:
    fill = QColor(colour)
    channels = f"{fill.red()},{fill.green()},{fill.blue()}"
    return QgsFillSymbol.createSimple(
        {
            "color": f"{channels},{round(255 * FILL_OPACITY)}",
            "outline_color": f"{channels},255",
            "outline_width": str(OUTLINE_MM),
            "outline_width_unit": "MM",
        }
    )
