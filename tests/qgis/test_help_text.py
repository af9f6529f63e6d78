"""The help of an algorithm."""

from hsi_toolkit.qgis_plugin.help_text import python_call, shell_call
from hsi_toolkit.qgis_plugin.parameters import file_filter


def test_the_call_of_the_console_is_python():
    call = python_call("hsi:classify", {"INPUT": "scene.hdr", "SEED": 3})
    assert call.startswith('processing.run("hsi:classify",\n')
    assert "'SEED': 3" in call


def test_the_call_of_the_shell_quotes_what_it_must():
    example = {"INPUT": ["a.hdr", "b c.tif"], "OUTPUT": "m.tif"}
    assert shell_call("hsi:pretrain", example) == (
        "qgis_process run hsi:pretrain --INPUT=a.hdr --INPUT='b c.tif' --OUTPUT=m.tif"
    )


def test_filters_name_what_they_show():
    assert file_filter((".html",)) == "HTML files (*.html)"
    assert file_filter((".sli", ".csv")) == "SLI files (*.sli);;CSV files (*.csv)"


def test_help_has_the_papers_and_plain_quotes(provider):
    page = provider.algorithm("train").shortHelpString()
    assert "HSIMAE: A Unified Masked Autoencoder" in page
    assert "&quot;" not in page
    assert "the options page decides" in page
