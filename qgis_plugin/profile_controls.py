"""The controls of the dock *Spectral profile*: which scene, which classes, and what to do."""

from typing import Callable, Dict, Optional

from qgis.core import (
    QgsFieldProxyModel,
    QgsMapLayer,
    QgsMapLayerProxyModel,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.gui import QgsFieldComboBox, QgsMapLayerComboBox
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import (
    QAction,
    QGridLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolBar,
    QVBoxLayout,
    QWidget,
)

#: A raster with fewer bands is no hyperspectral scene.
LEAST_BANDS = 11
#: Names of fields that are likely to hold the class, the likeliest first.
CLASS_FIELDS = ("class", "class_name", "classname", "klasse", "label", "landcover", "type")
MEANS, CANCEL = "Class means", "Cancel"


def is_scene(layer: Optional[QgsMapLayer]) -> bool:
    """Whether a layer can be a hyperspectral scene."""
    return isinstance(layer, QgsRasterLayer) and layer.isValid() and layer.bandCount() >= LEAST_BANDS


class ProfileControls(QWidget):
    """A tool bar and the boxes for scene, training layer and field; ``actions_by_name`` holds the buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.actions_by_name: Dict[str, QAction] = {}
        self.bar = QToolBar()
        self.bar.setIconSize(QSize(18, 18))
        self.scene_box, self.training_box = QgsMapLayerComboBox(), QgsMapLayerComboBox()
        self.field_box, self.means_button = QgsFieldComboBox(), QPushButton(MEANS)
        self.progress = QProgressBar()
        self._set_up_boxes()
        self._lay_out()
        self.offer_scenes()
        self.training_box.layerChanged.connect(self._offer_fields)
        self._offer_fields(self.training_box.currentLayer())

    def scene(self) -> Optional[QgsRasterLayer]:
        """The scene that is chosen."""
        layer = self.scene_box.currentLayer()
        return layer if is_scene(layer) else None

    def training(self) -> Optional[QgsVectorLayer]:
        """The training layer that is chosen."""
        layer = self.training_box.currentLayer()
        return layer if isinstance(layer, QgsVectorLayer) else None

    def add_action(self, name: str, text: str, icon: str, function: Callable[..., object]) -> QAction:
        """Add a button, with one of QGIS's own icons or, if ``icon`` is empty, with its text."""
        action = QAction(text, self)
        if icon:
            action.setIcon(QIcon(f":/images/themes/default/{icon}"))
        action.triggered.connect(function)
        self.bar.addAction(action)
        self.actions_by_name[name] = action
        return action

    def set_busy(self, busy: bool) -> None:
        """Show that class means are being read."""
        self.progress.setValue(0)
        self.progress.setVisible(busy)
        self.means_button.setText(CANCEL if busy else MEANS)

    def offer_scenes(self, *_: object) -> None:
        """Leave out the rasters that cannot be scenes."""
        layers = QgsProject.instance().mapLayers().values()
        self.scene_box.setExceptedLayerList([layer for layer in layers if not is_scene(layer)])

    def _offer_fields(self, layer: Optional[QgsMapLayer]) -> None:
        self.field_box.setLayer(layer)
        if isinstance(layer, QgsVectorLayer):
            names = {field.name().casefold(): field.name() for field in layer.fields()}
            likely = next((names[name] for name in CLASS_FIELDS if name in names), None)
            if likely:
                self.field_box.setField(likely)

    def _set_up_boxes(self) -> None:
        self.scene_box.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.training_box.setFilters(QgsMapLayerProxyModel.Filter.VectorLayer)
        fields = QgsFieldProxyModel.Filter
        self.field_box.setFilters(fields.String | fields.Int | fields.LongLong)
        for box in (self.scene_box, self.training_box):
            box.setAllowEmptyLayer(True)
        for box in (self.scene_box, self.training_box, self.field_box):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.means_button.setToolTip(
            "Mean and standard deviation of each class of a training layer, from up to 300 of its pixels"
        )
        self.progress.setMaximumHeight(6)
        self.progress.setTextVisible(False)
        self.progress.hide()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.addWidget(QLabel("Scene"), 0, 0)
        grid.addWidget(self.scene_box, 0, 1, 1, 3)
        grid.addWidget(QLabel("Classes"), 1, 0)
        grid.addWidget(self.training_box, 1, 1)
        grid.addWidget(self.field_box, 1, 2)
        grid.addWidget(self.means_button, 1, 3)
        grid.setColumnStretch(1, 3)
        grid.setColumnStretch(2, 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.bar)
        column.addLayout(grid)
        column.addWidget(self.progress)
