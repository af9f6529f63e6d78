"""What QGIS pays for having the plugin."""

import importlib


def test_the_plugin_is_importable_as_a_package(qgis_app):
    assert importlib.import_module("hsi_toolkit").classFactory
