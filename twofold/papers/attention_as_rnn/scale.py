"""What one long sequence costs over 8 to 1,024 devices: a model, since no test here has more than eight."""

import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ...report.provenance import write_json
from ...report.tables import console_table
from ...scan.axis import GATHERED

DEVICES = (8, 64, 256, 1024)
TOKENS, WIDTH, HEADS = 4 * 2**20, 2048, 16
"""One sequence and one layer, forward and backward."""
SECONDS_A_ROUND, BYTES_A_SECOND = 5e-6, 50e9
"""One port of NDR InfiniBand has 400 Gb/s each way. The time of a round is an assumption."""
FLOPS_A_SECOND = 0.4 * 989e12
"""40% of the peak of an H100 in bfloat16, without sparsity."""
SCAN_SECONDS = {"forward": 3.57e-3 / (16_384 * 512), "gradient": 8.97e-3 / (16_384 * 512)}
"""The time of twofold's softmax scan for a token and a feature, on two cores of an AMD EPYC: alone, and with its gradient.
results/bench has it for 16,384 tokens of width 512."""


class Cost(NamedTuple):
    """What one device does and waits for."""

    bytes_sent: int | float
    rounds: int
    """How many exchanges follow one another."""
    seconds: float
    """The time of the exchanges, if nothing else goes on meanwhile."""


def cost(bytes_sent: int | float, rounds: int) -> Cost:
    return Cost(bytes_sent, rounds, rounds * SECONDS_A_ROUND + bytes_sent / BYTES_A_SECOND)


def spread_scan(devices: int, summary_bytes: int) -> Cost:
    """A scan whose time is spread over devices, forward and backward, at most.

    Up to four devices gather all summaries. More of them pass summaries on, to the next device and then in steps that double.
    """
    rounds = devices - 1 if devices <= GATHERED else math.ceil(math.log2(devices)) + 1
    return cost(2 * rounds * summary_bytes, 2 * rounds)


def gathered_states(devices: int, state_bytes: int) -> Cost:
    """Linear attention where each device gathers the states of all others, forward and backward (LASP-2, Sun et al. 2025)."""
    return cost(2 * (devices - 1) * state_bytes, 2)


def gathered_maps(devices: int, heads: int, size: int) -> Cost:
    """DeltaNet, whose tokens come to a map of the state: a matrix for what is there, and a state that is added.

    Each device gathers the maps of all others, forward and backward, as flash-linear-attention does.
    """
    return gathered_states(devices, 4 * heads * size * (size + size))


def ring_attention(devices: int, tokens: int, width: int) -> Cost:
    """Softmax attention whose keys and values, in bfloat16, go round a ring of devices (Liu et al. 2023).

    Backward, they go round once more, together with their gradients.
    """
    once = (devices - 1) * tokens / devices * 2 * width * 2
    return cost(3 * once, 2 * (devices - 1))


def attention_seconds(devices: int, tokens: int, width: int) -> float:
    """The products of causal attention: 2 n^2 d operations forward, and two and a half times as many backward."""
    return 3.5 * 2 * tokens**2 * width / devices / FLOPS_A_SECOND


def scan_seconds(devices: int, tokens: int, width: int) -> float:
    """The work of Aaren's scans on each of several devices: a first pass for the summary, then the scan and its gradient."""
    return sum(SCAN_SECONDS.values()) * tokens * width / devices


def modelled(devices: int) -> dict[str, Any]:
    """The costs at a number of devices, by the names of the methods."""
    numbers = 4  # bytes of a float32
    aaren = numbers * (2 * WIDTH + 3 * HEADS)  # m, c, o, and what rounding leaves of c and o
    state = numbers * WIDTH**2 // HEADS
    costs = {
        "Aaren": spread_scan(devices, aaren),
        "linear attention": spread_scan(devices, state),
        "linear attention, LASP-2": gathered_states(devices, state),
        "DeltaNet, gathered maps": gathered_maps(devices, HEADS, WIDTH // HEADS),
        "ring attention": ring_attention(devices, TOKENS, WIDTH),
    }
    return {name: each._asdict() for name, each in costs.items()}


def table(results: dict[str, Any]) -> Table:
    """Bytes, rounds and seconds of each method, a row for each number of devices."""

    def cell(each: dict[str, Any]) -> str:
        return f"{_bytes(each['bytes_sent'])}\n{each['rounds']:,} rounds\n{_time(each['seconds'])}"

    names = list(next(iter(results["costs"].values())))
    rows = [
        (
            f"{int(devices):,}",
            *(cell(costs[name]) for name in names),
            *(_time(results[work][devices]) for work in ("attention_seconds", "scan_seconds")),
        )
        for devices, costs in results["costs"].items()
    ]
    return console_table(
        ("devices", *names, "products of softmax attention", "Aaren's scans, two CPU cores a device"),
        rows,
        title=f"Exchanges of one layer of width {results['width']:,} on {results['tokens']:,} tokens, forward and backward",
        caption="Bytes that one device sends, exchanges that follow one another, and their time at 50 GB/s and 5 µs a round.",
        show_lines=True,
    )


def _bytes(count: int | float) -> str:
    power = min(int(math.log(count, 1000)), 4)
    return f"{count / 1000**power:,.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _time(seconds: float) -> str:
    return (
        f"{seconds * 1e6:,.0f} µs"
        if seconds < 1e-3
        else f"{seconds * 1e3:,.3g} ms"
        if seconds < 1
        else f"{seconds:,.3g} s"
    )


@dataclasses.dataclass
class Command:
    """Compute what one long sequence costs over 8 to 1,024 devices, by a model of bytes, rounds and operations.

    Example: twofold reproduce scale
    """

    out: Path = Path("runs/scale")
    """The folder for scale.json."""

    def run(self, console: Console) -> None:
        results = {
            "tokens": TOKENS,
            "width": WIDTH,
            "heads": HEADS,
            "costs": {str(devices): modelled(devices) for devices in DEVICES},
            "attention_seconds": {str(devices): attention_seconds(devices, TOKENS, WIDTH) for devices in DEVICES},
            "scan_seconds": {str(devices): scan_seconds(devices, TOKENS, WIDTH) for devices in DEVICES},
        }
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "scale.json", results)
        console.print(table(results))
        console.print(f"All figures are in {self.out / 'scale.json'}.")
