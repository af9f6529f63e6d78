"""The remaining time: told late enough, calmly, and about right."""

import importlib

import pytest


@pytest.fixture
def feedback(qgis_app):
    return importlib.import_module("hsi_toolkit.qgis_plugin.feedback")


def told(feedback, fractions, step=1.0):
    """What is told at each second of work with these fractions."""
    remaining = feedback.Remaining()
    return [remaining.seconds(fraction, step * number) for number, fraction in enumerate(fractions)]


def test_nothing_is_told_at_the_beginning(feedback):
    times = told(feedback, [second / 100 for second in range(20)])
    assert times[:5] == [None] * 5
    assert times[5] is not None


def test_nothing_is_told_where_nothing_moves(feedback):
    assert set(told(feedback, [0.0] * 50)) == {None}


def test_steady_work_is_foretold(feedback):
    times = told(feedback, [second / 100 for second in range(101)])
    for second in range(10, 101):
        assert times[second] == pytest.approx(100 - second, abs=1.0)


def test_a_jolt_does_not_make_it_jump(feedback):
    """One block takes eight seconds instead of one."""
    fractions = [min(second, 40) / 100 for second in range(48)] + [second / 100 for second in range(41, 101)]
    times = [each for each in told(feedback, fractions) if each is not None]
    assert all(times[number + 1] - times[number] < 5 for number in range(len(times) - 1))


def test_a_slower_stage_is_noticed(feedback):
    """The second half is four times as slow: it takes 200 seconds after 50."""
    fractions = [second / 100 for second in range(50)] + [0.5 + second / 400 for second in range(200)]
    times = told(feedback, fractions)
    assert times[50] < 60
    assert times[110] == pytest.approx(140, rel=0.25)
    assert times[240] == pytest.approx(10, abs=5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (3, "a few seconds left"),
        (33, "about 40 s left"),
        (58, "about 1 min left"),
        (200, "about 3 min left"),
        (7300, "about 2.0 h left"),
    ],
)
def test_times_are_said_as_people_say_them(feedback, seconds, text):
    assert feedback.words(seconds) == text


def test_stage_and_remaining_time_stand_side_by_side(feedback, qgis_app, monkeypatch):
    from qgis.core import QgsProcessingFeedback

    class Shown(QgsProcessingFeedback):
        def __init__(self):
            super().__init__(False)
            self.texts = []

        def setProgressText(self, text):
            self.texts.append(text)

    shown, clock = Shown(), iter(range(100))
    monkeypatch.setattr(feedback.time, "monotonic", lambda: float(next(clock)))
    reporter = feedback.Reporter(shown)
    for step in range(31):
        message = "Training: epoch 3 of 8"
        reporter.take({"event": "progress", "fraction": step / 100, "message": message})
    assert shown.texts[0] == "Training: epoch 3 of 8"
    assert shown.texts[-1] == "Training: epoch 3 of 8 · about 1 min left"
    # A text that says nothing new is not repeated.
    assert len(shown.texts) == len(set(shown.texts))
