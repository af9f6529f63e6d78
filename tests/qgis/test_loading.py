"""What QGIS does with the plugin: load it, unload it."""

import importlib

import pytest
from qgis.core import QgsApplication


@pytest.fixture
def plugin_module(qgis_app):
    return importlib.import_module("hsi_toolkit")


@pytest.fixture
def other_id(monkeypatch):
    """The tests' own provider is registered already, and ids are unique."""
    from hsi_toolkit.qgis_plugin.provider import Provider

    monkeypatch.setattr(Provider, "id", lambda self: "hsi_again")


def test_the_plugin_is_importable_as_a_package(plugin_module):
    assert plugin_module.classFactory


def test_processing_alone_needs_no_interface(plugin_module, other_id):
    plugin = plugin_module.classFactory(None)
    plugin.initProcessing()
    plugin.initProcessing()
    registry = QgsApplication.processingRegistry()
    assert registry.providerById("hsi_again") is plugin.provider
    plugin.unload()
    assert registry.providerById("hsi_again") is None
    plugin.unload()


class Interface:
    """As much of QGIS's interface as the plugin touches."""

    def __init__(self):
        self.factories, self.docks = [], []

    def registerOptionsWidgetFactory(self, factory):
        self.factories.append(factory)

    def unregisterOptionsWidgetFactory(self, factory):
        self.factories.remove(factory)


class Dock:
    def __init__(self, interface):
        self.interface = interface
        interface.docks.append(self)

    def remove(self):
        self.interface.docks.remove(self)


def test_unloading_takes_everything_along(plugin_module, other_id, monkeypatch):
    from hsi_toolkit.qgis_plugin import profile_dock

    monkeypatch.setattr(profile_dock, "install", Dock)
    interface = Interface()
    plugin = plugin_module.classFactory(interface)
    plugin.initGui()
    assert len(interface.factories) == len(interface.docks) == 1
    assert QgsApplication.processingRegistry().providerById("hsi_again") is not None
    plugin.unload()
    assert interface.factories == interface.docks == []
    assert QgsApplication.processingRegistry().providerById("hsi_again") is None


def test_unloading_ends_the_engine(plugin_module, other_id, monkeypatch):
    stopped = []
    monkeypatch.setattr("hsi_toolkit.qgis_plugin.client.stop", lambda: stopped.append(True))
    plugin = plugin_module.classFactory(None)
    plugin.initProcessing()
    plugin.unload()
    assert stopped == [True]
