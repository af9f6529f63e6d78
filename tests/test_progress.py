"""What progress says about the pace of work: measured, in words, and only where it helps."""

import pytest

from hsi_toolkit.errors import Cancelled
from hsi_toolkit.progress import Pace, Progress, duration_text, rate_text


class Listener(Progress):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[float, str]] = []
        self.logged: list[str] = []
        self.stop = False

    def report(self, fraction: float, message: str = "") -> None:
        self.said.append((round(fraction, 6), message))

    def log(self, message: str) -> None:
        self.logged.append(message)

    def cancelled(self) -> bool:
        return self.stop


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def listener() -> Listener:
    return Listener()


def pace_of(listener: Listener, clock: Clock, parts: int = 38) -> Pace:
    return Pace(
        listener,
        f"Classifying: {parts} blocks",
        10_000_000,
        "pixels",
        parts=parts,
        where="this CPU (2 threads)",
        clock=clock,
    )


def run_blocks(pace: Pace, clock: Clock, blocks: int, *, prepare: float, compute: float) -> None:
    """Blocks alike: so many seconds until each is ready, and so many from there in four steps."""
    for number in range(blocks):
        clock.now += prepare
        part = pace.part(number / blocks, (number + 1) / blocks)
        part.report(0.0, f"Classifying block {number + 1} of {blocks}")
        for step in (0.25, 0.5, 0.75, 1.0):
            clock.now += compute / 4
            part.report(step)


def test_long_work_says_once_how_long_it_will_take(listener: Listener, clock: Clock) -> None:
    run_blocks(pace_of(listener, clock), clock, 38, prepare=2.0, compute=4.32)
    assert listener.logged == ["Classifying: 38 blocks, about 4 minutes on this CPU (2 threads)"]


@pytest.mark.parametrize(("prepare", "compute"), [(0.0, 60.0), (30.0, 30.0), (50.0, 10.0)])
@pytest.mark.parametrize("blocks", [1, 2, 10])
def test_the_estimate_counts_what_each_block_needs_before_it_can_begin(
    listener: Listener, clock: Clock, blocks: int, prepare: float, compute: float
) -> None:
    run_blocks(pace_of(listener, clock, blocks), clock, blocks, prepare=prepare, compute=compute)
    minutes = "60 seconds" if blocks == 1 else f"{blocks} minutes"
    assert listener.logged == [f"Classifying: {blocks} blocks, about {minutes} on this CPU (2 threads)"]


def test_blocks_that_are_over_in_no_time_are_not_counted_twice(listener: Listener, clock: Clock) -> None:
    run_blocks(pace_of(listener, clock, 600), clock, 600, prepare=0.1, compute=0.1)
    assert listener.logged == ["Classifying: 600 blocks, about 2 minutes on this CPU (2 threads)"]


def test_the_estimate_comes_long_before_the_end_of_a_single_block(listener: Listener, clock: Clock) -> None:
    pace = pace_of(listener, clock, 1)
    pace.report(0.0, "Classifying block 1 of 1")
    clock.now += 4.0
    pace.report(0.02)
    assert listener.logged == ["Classifying: 1 blocks, about 3 minutes on this CPU (2 threads)"]


def test_work_that_is_over_soon_says_nothing(listener: Listener, clock: Clock) -> None:
    run_blocks(pace_of(listener, clock, 5), clock, 5, prepare=0.5, compute=3.0)
    assert listener.logged == []


def test_work_that_goes_on_after_an_interruption_is_judged_by_what_is_left(
    listener: Listener, clock: Clock
) -> None:
    pace = pace_of(listener, clock)
    pace.report(0.5, "Epoch 6 of 10")
    clock.now += 27.0
    pace.report(0.6, "Epoch 7 of 10")
    assert listener.logged == ["Classifying: 38 blocks, about 2 minutes on this CPU (2 threads)"]


def test_messages_have_the_rate_as_soon_as_it_is_known(listener: Listener, clock: Clock) -> None:
    run_blocks(pace_of(listener, clock, 10), clock, 10, prepare=0.0, compute=24.0)
    assert listener.said[0] == (0.0, "Classifying block 1 of 10")
    assert listener.said[1] == (0.025, "Classifying block 1 of 10, 42,000 pixels/s")
    assert listener.said[5] == (0.1, "Classifying block 2 of 10, 42,000 pixels/s")
    assert listener.said[-1][0] == 1.0


def test_the_rate_is_measured_anew_every_ten_seconds_and_said_when_it_is(
    listener: Listener, clock: Clock
) -> None:
    pace = pace_of(listener, clock)
    pace.report(0.0, "Step")
    texts = []
    for seconds, fraction in ((4, 0.1), (4, 0.3), (4, 0.4), (4, 0.8)):
        clock.now += seconds
        pace.report(fraction, "Step")
        texts.append(listener.said[-1][1])
    assert texts == ["Step, 250,000 pixels/s", "", "", "Step, 500,000 pixels/s"]


def test_cancelling_passes_through(listener: Listener, clock: Clock) -> None:
    listener.stop = True
    with pytest.raises(Cancelled):
        pace_of(listener, clock).part(0.0, 0.5).check()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "10 seconds"), (44, "40 seconds"), (89, "90 seconds"), (91, "2 minutes"), (240, "4 minutes"),
        (5399, "90 minutes"), (5401, "1.5 hours"), (7300, "2 hours"), (200_000, "2 days"),
    ],
)  # fmt: skip
def test_durations_are_as_precise_as_they_can_be_foretold(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0"),
        (0.0123, "0.012"),
        (0.96, "0.96"),
        (4.24, "4.2"),
        (99.6, "100"),
        (412, "410"),
        (41_234, "41,000"),
    ],
)
def test_rates_have_two_digits_that_count(rate: float, text: str) -> None:
    assert rate_text(rate, "pixels") == f"{text} pixels/s"
