"""Settings, sample data, scores and words on their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

import napari.settings

from napari_resformer.images.words import percent
from napari_resformer.widgets.base import settings
from napari_resformer.widgets.base.text import Message, Paragraph, without_options
from napari_resformer.widgets.results.scores import ScoreBars
from napari_resformer.widgets.sample_data import generated_nuclei, immunohistochemistry


@pytest.mark.skipif(not hasattr(napari.settings, "get_plugin_settings"), reason="napari has no settings of plugins before 0.9")
def test_settings_come_from_the_preferences(npe2pm: Any, request: pytest.FixtureRequest) -> None:
    from napari.settings import get_plugin_settings
    from npe2 import PluginManifest

    request.getfixturevalue("plugin_settings")  # of napari's
    if "napari-resformer" not in npe2pm:
        npe2pm.register(PluginManifest.from_distribution("napari-resformer"))
    assert settings.read_settings() == settings.PluginSettings()
    stored = get_plugin_settings("napari-resformer").prediction
    stored.tile_size, stored.model = 512, "mine"
    stored.device = "cpu"
    assert settings.read_settings() == settings.PluginSettings("mine", "cpu", 512)


def test_defaults_hold_where_napari_has_no_plugin_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    assert settings.read_settings() == settings.PluginSettings()


def test_sample_data() -> None:
    ((pixels, attributes, kind),) = immunohistochemistry()
    assert (pixels.shape, pixels.dtype, kind) == ((512, 512, 3), np.uint8, "image")
    assert attributes["rgb"]
    ((pixels, attributes, kind),) = generated_nuclei()
    assert (pixels.shape, pixels.dtype, kind) == ((512, 512), np.uint16, "image")
    for sample in (immunohistochemistry, generated_nuclei):  # else a second one lands on the first at another scale
        assert not {"scale", "units", "translate"} & set(sample()[0][1])
    assert np.array_equal(pixels, generated_nuclei()[0][0])
    assert pixels.max() < 65535
    bright = pixels > (pixels.min() + pixels.max()) / 3
    assert 0.05 < bright.mean() < 0.4


@pytest.mark.parametrize(
    ("score", "words"), [(0.5, "50.0%"), (1.0, ">99.9%"), (0.99999, ">99.9%"), (0.0001, "<0.1%"), (0.0, "<0.1%")]
)
def test_rounding_makes_no_score_certain(score: float, words: str) -> None:
    assert percent(score) == words


def test_bars_paint_any_scores_at_any_width(qtbot: Any) -> None:
    bars = ScoreBars()
    qtbot.addWidget(bars)
    for scores in ([], [("a" * 300, 1.0)], [(f"class {number}", 1 / 30) for number in range(30)]):
        bars.set_scores(scores)
        for width in (20, 200, 900):
            bars.resize(width, bars.sizeHint().height() + 1)
            assert not bars.grab().isNull()
    assert bars.minimumSizeHint().width() <= 200


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("name them (--axes) with one letter per dimension", "name them with one letter per dimension"),
        ("(--instance-labels; in the widget, Labels are: instance labels)", "(Labels are: instance labels)"),
        ("a -- b (c--d)", "a -- b (c--d)"),
    ],
)
def test_a_dock_names_no_options_of_the_command_line(words: str, left: str) -> None:
    assert without_options(words) == left


def test_long_words_do_not_widen_the_dock(qtbot: Any) -> None:
    paragraph, message = Paragraph(), Message()
    for part in (paragraph, message):
        qtbot.addWidget(part)
        part.say("W" * 500 + " <b>no markup</b>")
        assert part.minimumSizeHint().width() < 100
    assert message.words.endswith("<b>no markup</b>")
