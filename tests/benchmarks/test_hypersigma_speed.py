"""The plain way says what the networks say, and the benchmark measures both."""

import pytest
import torch

from benchmarks import hypersigma_speed
from benchmarks.hypersigma_speed import CASES, WAYS, Cost, Result, build, draw, in_way, joined, main


@pytest.mark.parametrize("name", ["spatial encoder", "spectral encoder", "classifier"])
def test_the_plain_way_gives_the_same_numbers(name: str) -> None:
    case = CASES[name]
    network, x = build(case, "small"), draw(case)[:1]
    with torch.inference_mode():
        expected = joined(network(x))
        plain = joined(in_way(network, "plain", torch.device("cpu"))(x))
    torch.testing.assert_close(plain, expected, atol=1e-4, rtol=1e-4)


def test_a_run_measures_all_ways_and_prints_whether_the_goal_is_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    monkeypatch.setattr(
        hypersigma_speed, "peak_of_process", lambda name, way, options: asked.append((name, way)) or 1.0
    )
    main(["--size", "small", "--rounds", "1", "--threads", "1", "--only", "spectral encoder"])
    assert asked == [("spectral encoder", way) for way in WAYS]
    printed = capsys.readouterr().out
    assert "goal 2x with less memory" in printed
    assert "in float32" in printed


def test_the_goal_is_speed_and_memory_and_the_same_numbers() -> None:
    plain, fast, large = Cost(2.0, 2.0, 100.0), Cost(0.9, 0.9, 60.0), Cost(0.9, 0.9, 101.0)

    def result(fast: Cost, difference: float) -> Result:
        return Result({"plain": plain, "float32": plain, "fast": fast}, difference, 1e-3, None)

    assert result(fast, 1e-6).reached(2.0)
    assert not result(fast, 1e-6).reached(3.0)
    assert not result(large, 1e-6).reached(2.0)
    assert not result(fast, 1e-3).reached(2.0)
