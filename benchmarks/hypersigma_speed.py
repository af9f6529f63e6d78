"""HyperSIGMA's full-size networks beside the plain way of computing them: time, memory and agreement.

    python -m benchmarks.hypersigma_speed [--threads 1] [--rounds 5] [--only NAME ...] [--json FILE]

The plain way samples keys and values head by head, two ``grid_sample`` calls each, and writes attention
matrices out, all in float32. The product does the same in one go, in float32 ("float32") and with the
matrices of the blocks in the type that the device multiplies fastest ("fast"), which is how it predicts.
Weights and input are the same; the ways take turns, and the best round of each counts. Weights are random,
the sampled points some cells apart. Where the processor multiplies no bfloat16 itself, "fast" is float32, and
the goal of twice the speed is out of reach.

Peak memory is that of a process which builds one network, for one way, and runs it once: libraries, weights
and building are part of it. On CUDA it is what PyTorch allocated while running, weights included.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.inference.devices import choose_device, describe_device, fast_dtype
from hsi_toolkit.models.hypersigma.attention import Attention, Grid, SampledAttention
from hsi_toolkit.models.hypersigma.blocks import Block, round_blocks
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig, FusionClassifier
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.detection import AnomalyNetwork, DetectionConfig
from hsi_toolkit.models.hypersigma.encoders import (
    SpatialConfig,
    SpatialEncoder,
    SpectralConfig,
    SpectralEncoder,
    TransformerSize,
)
from hsi_toolkit.training.per_scene import mixed_precision

CPU_GOAL, CUDA_GOAL = 2.0, 3.0
AGREEMENT_GOAL = 1e-4
"""Largest difference of the float32 outputs, as a share of the largest output."""

BANDS = 191
OFFSET_STD = 0.05
"""Deviation of the weights that place the sampled points: some cells, as a trained network has."""

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("plain", "float32", "fast")


@dataclass(frozen=True)
class Case:
    """A network, the published input of it, and how many go through together."""

    build: Callable[[TransformerSize], nn.Module]
    shape: tuple[int, int, int]
    batch: int


CASES: Mapping[str, Case] = {
    "spatial encoder": Case(
        lambda size: SpatialEncoder(SpatialConfig(BANDS, 64, 2, size)), (BANDS, 64, 64), 1
    ),
    "spectral encoder": Case(
        lambda size: SpectralEncoder(SpectralConfig(64, 100, size.out_indices[-1:], size=size)),
        (BANDS, 64, 64),
        8,
    ),
    "classifier": Case(lambda size: FusionClassifier(ClassifierConfig(30, 16, size=size)), (30, 33, 33), 8),
    "anomaly network": Case(
        lambda size: AnomalyNetwork(DetectionConfig(BANDS, size=size)), (BANDS, 32, 32), 2
    ),
    "denoiser": Case(lambda size: FusionDenoiser(denoising_config(BANDS, size=size)), (BANDS, 64, 64), 1),
}


@dataclass(frozen=True)
class Cost:
    """Seconds of the best round by the clock and of the processor, and peak memory."""

    wall: float
    processor: float
    peak_mb: float


@dataclass(frozen=True)
class Result:
    """What the ways of computing a network cost; how far outputs are from the plain ones, of their scale.

    ``labels`` is the share of classifications in which fast and plain agree, of a classifier.
    """

    costs: Mapping[str, Cost]
    float32_difference: float
    fast_difference: float
    labels: float | None

    def faster(self, way: str) -> float:
        """Plain time over that of ``way``."""
        return self.costs["plain"].wall / self.costs[way].wall

    def reached(self, goal: float) -> bool:
        """Whether the fast way is so much faster and needs less memory, with the same numbers in float32."""
        fast, plain = self.costs["fast"], self.costs["plain"]
        exact = self.float32_difference <= AGREEMENT_GOAL
        return exact and self.faster("fast") >= goal and fast.peak_mb < plain.peak_mb


class PlainAttention(nn.Module):
    """All tokens with all tokens; the attention matrices of all heads are written out."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.head_dim, self.inner = attention.heads, attention.head_dim, attention.inner
        self.qkv, self.proj = attention.qkv, attention.proj

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Attend within each sequence of (N, length, dim)."""
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        attention = (q * self.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        out = (attention @ v).transpose(1, 2).reshape(n, length, self.inner)
        projected: Tensor = self.proj(out)
        return projected


class PlainSampledAttention(PlainAttention):
    """Each token with a few sampled points, one head after the other."""

    def __init__(self, attention: SampledAttention) -> None:
        super().__init__(attention)
        self.points, self.sampling_offsets = attention.points, attention.sampling_offsets

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Attend within each sequence of (N, rows * columns, dim) that forms ``grid``."""
        n, length, _ = x.shape
        rows, columns = grid
        q, k, v = self.qkv(x).split(self.inner, dim=-1)
        offsets = self.sampling_offsets(q).view(n, length, self.heads, self.points, 2)
        y, column = torch.meshgrid(
            torch.arange(rows, device=x.device), torch.arange(columns, device=x.device), indexing="ij"
        )
        cells = torch.stack([column, y], dim=-1).view(1, length, 1, 2)
        out = []
        for head in range(self.heads):
            part = slice(head * self.head_dim, (head + 1) * self.head_dim)
            places = (2 * (cells + offsets[:, :, head]) + 1) / offsets.new_tensor([columns, rows]) - 1
            keys, values = (
                F.grid_sample(
                    each[..., part].transpose(1, 2).reshape(n, self.head_dim, rows, columns),
                    places,
                    mode="bilinear",
                    padding_mode="zeros",
                    align_corners=False,
                ).permute(0, 2, 3, 1)
                for each in (k, v)
            )
            scores = (keys * q[:, :, None, part]).sum(dim=-1) * self.head_dim**-0.5
            out.append((scores.softmax(dim=-1).unsqueeze(-1) * values).sum(dim=2))
        projected: Tensor = self.proj(torch.cat(out, dim=-1))
        return projected


def make_plain(network: nn.Module) -> nn.Module:
    """Replace all attentions in place, with the same weights."""
    for block in network.modules():
        if isinstance(block, Block):
            attention = block.attn
            kind = PlainSampledAttention if isinstance(attention, SampledAttention) else PlainAttention
            block.attn = kind(attention)  # type: ignore[assignment, arg-type]
    return network


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, write the figures where asked, and return 1 if a goal was missed."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory_of is not None:
        print(peak_memory(options.only[0], options.size, options.memory_of))
        return 0
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    figures: dict[str, object] = {"benchmark": "hypersigma_speed", **vars(options), "json": None}
    reached = True
    for name in devices:
        device = choose_device(name)
        goal = CUDA_GOAL if device.type == "cuda" else CPU_GOAL
        results = {each: measure(each, options, device) for each in options.only}
        reached &= report(results, device, goal)
        figures[name] = {each: asdict(result) for each, result in results.items()}
    if len(devices) == 1:
        print("CUDA: no device, not measured")
    figures["reached"] = reached
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if reached else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="default 2")
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts (default 5)")
    parser.add_argument("--size", default="base", help="small, base, large or huge (default base)")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES, metavar="NAME")
    # In a process of its own: print the peak memory of one way to compute one network.
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    return parser


def build(case: Case, size: str) -> nn.Module:
    """The network with random weights, the same each time, and sampled points some cells apart."""
    torch.manual_seed(0)
    network = case.build(TransformerSize.of(size)).eval()
    for module in network.modules():
        if isinstance(module, SampledAttention):
            nn.init.normal_(module.sampling_offsets.weight, std=OFFSET_STD)
    return network


def draw(case: Case) -> Tensor:
    """The input, the same each time."""
    return torch.rand(case.batch, *case.shape, generator=torch.Generator().manual_seed(1))


def in_way(network: nn.Module, way: str, device: torch.device) -> nn.Module:
    """The network, changed in place, to be computed in that way."""
    if way == "plain":
        return make_plain(network)
    if way == "fast":
        round_blocks(network, fast_dtype(device))
    return network


def measure(name: str, options: argparse.Namespace, device: torch.device) -> Result:
    """Time the ways in turns, compare their outputs, and measure their memory apart."""
    case = CASES[name]
    network, x = build(case, options.size).to(device), draw(case).to(device)
    # Plain and float32 share their weights; the fast way has its own.
    plain = copy.deepcopy(network, {id(each): each for each in network.parameters()})
    ways = {"plain": plain, "float32": network, "fast": copy.deepcopy(network)}
    ways = {way: in_way(each, way, device) for way, each in ways.items()}
    outputs: dict[str, Tensor] = {}
    best = {way: (float("inf"), float("inf")) for way in ways}
    peaks = dict.fromkeys(ways, 0.0)
    with torch.inference_mode():
        for _ in range(options.rounds):
            for way, each in ways.items():
                start, worked = time.perf_counter(), time.process_time()
                outputs[way], peaks[way] = run(each, x, device, rounded=way == "fast")
                spent = time.perf_counter() - start, time.process_time() - worked
                best[way] = min(best[way][0], spent[0]), min(best[way][1], spent[1])
    labels = None
    if name == "classifier":
        labels = float((outputs["fast"].argmax(dim=1) == outputs["plain"].argmax(dim=1)).float().mean())
    if device.type == "cpu":
        del ways, network, plain
        peaks = {way: peak_of_process(name, way, options) for way in WAYS}
    return Result(
        {way: Cost(*best[way], peaks[way]) for way in WAYS},
        difference(outputs["float32"], outputs["plain"]),
        difference(outputs["fast"], outputs["plain"]),
        labels,
    )


def run(network: nn.Module, x: Tensor, device: torch.device, *, rounded: bool) -> tuple[Tensor, float]:
    """The output, several of them as one, and the peak of what CUDA allocated, MB."""
    if device.type == "cpu":
        return joined(network(x)), 0.0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with mixed_precision(device) if rounded else nullcontext():
        found = joined(network(x))
    torch.cuda.synchronize()
    own = sum(each.numel() * each.element_size() for each in network.parameters())
    return found, (torch.cuda.max_memory_allocated() - before + own) / 1e6


def joined(outputs: Tensor | list[Tensor]) -> Tensor:
    """The outputs of a network as one tensor (N, …)."""
    if isinstance(outputs, Tensor):
        return outputs
    return torch.cat([each.flatten(1) for each in outputs], dim=1)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference as a share of the largest value."""
    return float((a.float() - b.float()).abs().max() / b.abs().max())


def peak_of_process(name: str, way: str, options: argparse.Namespace) -> float:
    """``peak_memory`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.hypersigma_speed", "--memory-of", way, "--only", name]
    command += ["--size", options.size, "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(done.stdout)


def peak_memory(name: str, size: str, way: str) -> float:
    """Build a network and run it once in that way; the process's peak resident set on Linux, MB."""
    case = CASES[name]
    network = in_way(build(case, size), way, torch.device("cpu"))
    with torch.inference_mode():
        network(draw(case))
    # Not getrusage, whose peak begins with that of the parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def report(results: Mapping[str, Result], device: torch.device, goal: float) -> bool:
    """Print what was measured; whether all goals were reached."""
    print(f"{describe_device(device)}; the fast way multiplies in {fast_dtype(device)}")
    for name, result in results.items():
        size = "×".join(map(str, (CASES[name].batch, *CASES[name].shape)))
        print(f"{name} ({size})")
        for way, cost in result.costs.items():
            print(
                f"  {way:8} {1000 * cost.wall:9.0f} ms {1000 * cost.processor:9.0f} ms of processor "
                f"{result.faster(way):6.2f}x {cost.peak_mb:8.0f} MB"
            )
        same = "" if result.labels is None else f", {result.labels:.1%} of the labels the same"
        print(
            f"  outputs differ by {result.float32_difference:.1e} of their scale in float32, "
            f"by {result.fast_difference:.1e} in the fast way{same}; "
            f"goal {goal:g}x with less memory: {'reached' if result.reached(goal) else 'MISSED'}"
        )
    return all(result.reached(goal) for result in results.values())


if __name__ == "__main__":
    raise SystemExit(main())
