"""What all benchmarks share: contestants in turn, medians and quartiles, goals, tables, figures."""

import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from course_lib import machine

__all__ = [
    "CannotMeasure",
    "Goal",
    "Options",
    "Peer",
    "Result",
    "bf16_hardware",
    "compare",
    "describe_machine",
    "installed",
    "interleave",
    "machine_text",
    "quartiles",
    "ratio_figure",
    "save",
    "seconds",
    "table",
]

NOTHING_TO_SAY = 77  # the exit status of a peer's command that does not do this row


class CannotMeasure(Exception):
    """A benchmark cannot run here; the message says why and what to do."""


# ---- contestants -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """Another program that takes part: see `python -m course_lib bench --help`."""

    name: str
    command: str

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Read "NAME: COMMAND"; raises ValueError where one of them is missing."""
        name, colon, command = text.partition(": ")
        if not colon or not name.strip() or not command.strip():
            raise ValueError(f'--peer {text!r} must have the form "NAME: COMMAND"')
        return cls(name.strip(), command.strip())

    def measure(self, benchmark: str, case: str, unit: str) -> float:
        """Run the command once and return its figure.

        Raises CannotMeasure where it fails, has nothing to say on this row, or does not print
        `unit number` on its last line.
        """
        words = [
            word.replace("{benchmark}", benchmark).replace("{case}", case)
            for word in shlex.split(self.command)
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads())}
        try:
            done = subprocess.run(words, capture_output=True, text=True, env=environment)
        except OSError as error:
            raise CannotMeasure(f"The peer {self.name} does not start: {error}.") from error
        if done.returncode == NOTHING_TO_SAY:
            raise CannotMeasure(f"The peer {self.name} does not take part in {case}.")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise CannotMeasure(f"The peer {self.name} ended with status {done.returncode}: {last}")
        return read_figure(done.stdout, unit, self.name)


def read_figure(text: str, unit: str, name: str) -> float:
    """The number on the last line of a peer's output, which must read `unit number`."""
    last = (text.strip().splitlines() or [""])[-1].split()
    try:
        if len(last) == 2 and last[0] == unit and 0 < float(last[1]) < float("inf"):
            return float(last[1])
    except ValueError:
        pass
    raise CannotMeasure(
        f"The peer {name} must print `{unit} NUMBER` on its last line, not {' '.join(last)!r}."
    )


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark."""

    runs: int = 5  # rounds in which every contestant runs once
    quick: bool = False
    peers: list[Peer] = field(default_factory=list)
    ablate: bool = False  # for the speedrun


def installed(package: str) -> bool:
    """Whether a peer's package can be imported; if not, says that it is left out."""
    import importlib.util

    if importlib.util.find_spec(package) is not None:
        return True
    print(f"{package} is not installed: what is measured beside it is left out.")
    return False


def seconds(function: Callable[[], object]) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(
    contestants: dict[str, Callable[[], float]], runs: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Let every contestant run once, then every one again: `runs` figures each, round by round.

    A contestant is a function that does its work once and returns its figure (seconds, tokens per
    second). The first round is thrown away where `warm_up` is set. One that raises CannotMeasure
    is told of and drops out.
    """
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(runs + warm_up):
        for name in list(figures):
            try:
                figure = contestants[name]()
            except CannotMeasure as error:
                print(f"{error} It is left out.")
                del figures[name]
                continue
            if turn >= warm_up:
                figures[name].append(figure)
    return figures


# ---- results -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """What a row should reach: its ratio where there is a peer, otherwise its own figure."""

    limit: float
    at_least: bool = True  # otherwise: at most
    worst: bool = False  # every single figure should reach it, not only the median

    def met(self, measured: float) -> bool:
        return measured >= self.limit if self.at_least else measured <= self.limit

    def verdict(self, measured: float, unit: str = "") -> str:
        """For example "goal: at least 1.10, measured 1.23: met"."""
        bound = f"at {'least' if self.at_least else 'most'} {number(self.limit, unit)}"
        by = number(abs(measured - self.limit), unit)
        end = "met" if self.met(measured) else f"missed by {by}"
        return f"goal: {bound}, measured {number(measured, unit)}: {end}"


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile (linear between the values)."""
    values = sorted(values)
    if not values:
        raise ValueError("There are no values: quartiles need at least one.")
    if len(values) == 1:
        return values[0], values[0], values[0]
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True)
class Result:
    """One row: our figures, one per round, and a peer's of the same rounds, if it has one."""

    benchmark: str
    what: str  # the row's name
    unit: str  # of the figures, for example "tokens/s" or "s"
    ours: list[float]
    peer: str = ""
    theirs: list[float] = field(default_factory=list)
    goal: Goal | None = None
    more_is_better: bool = True  # False for seconds, bytes and losses
    note: str = ""

    def __post_init__(self):
        if bool(self.peer) != bool(self.theirs) or (
            self.peer and len(self.ours) != len(self.theirs)
        ):
            raise ValueError(f"{self.what}: a peer needs as many figures as we have.")

    def ratios(self) -> list[float]:
        """How many times as good as the peer we were, round by round; above 1 we are better.

        The two runs of a round stood side by side, so what slows the machine for a while cancels.
        """
        pairs = zip(self.ours, self.theirs)
        return [a / b if self.more_is_better else b / a for a, b in pairs]

    def measured(self) -> float:
        """What a goal is held against: the median ratio, or without a peer our median."""
        figures = self.ratios() if self.peer else self.ours
        if self.goal is not None and self.goal.worst:
            return min(figures) if self.goal.at_least else max(figures)
        return quartiles(figures)[1]

    def verdict(self) -> str:
        return (
            ""
            if self.goal is None
            else self.goal.verdict(self.measured(), "" if self.peer else self.unit)
        )


def compare(
    benchmark: str,
    case: str,
    unit: str,
    ours: Callable[[], float],
    theirs: dict[str, Callable[[], float]],
    options: Options,
    goals: dict[str, Goal] | None = None,
    more_is_better: bool = True,
    what: str = "",
    note: str = "",
) -> list[Result]:
    """Our contestant in turn with others and with the peers of the command line: a row for each.

    `theirs` maps a name to a function as in `interleave`; `goals` maps such a name, or that of a
    `--peer`, to its goal. Without anybody to compare with there is a single row.
    """
    contestants = {"": ours, **theirs}
    for peer in options.peers:
        contestants[peer.name] = partial(peer.measure, benchmark, case, unit)
    figures = interleave(contestants, options.runs)
    own = figures.pop("")
    common = {"more_is_better": more_is_better, "note": note}
    what = what or case
    rows = [
        Result(benchmark, what, unit, own, name, values, (goals or {}).get(name), **common)
        for name, values in figures.items()
    ]
    return rows or [Result(benchmark, what, unit, own, **common)]


# ---- the machine -------------------------------------------------------------------------------


def threads() -> int:
    """How many threads torch computes with."""
    import torch

    return torch.get_num_threads()


def processor() -> tuple[str, set[str]]:
    """The CPU's name, and what it can do (empty where the system does not say)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
    flags = facts.get("flags", "") or facts.get("Features", "")
    return facts.get("model name") or platform.machine(), set(flags.split())


def bf16_hardware() -> bool:
    """Whether this CPU multiplies bfloat16 numbers by itself; where it does not, bf16 is slower."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & processor()[1])


def describe_machine() -> dict:
    """What a reader must know to repeat a measurement."""
    import torch

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "processor": processor()[0],
        "bf16": sorted({"avx512_bf16", "amx_bf16", "bf16"} & processor()[1]),
        "cores": machine.cores(),
        "threads": threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT", ""),
    }


def machine_text(about: dict) -> str:
    """`describe_machine` in two lines."""
    load = "" if about["load"] is None else f", load {about['load']:.1f} at the start"
    short = ", ".join(about["bf16"]) or "none"
    where = f"{about['processor']}, {about['cores']} cores, {about['threads']} threads"
    gpu = f", {about['gpu']}" if about["gpu"] else ""
    return (
        f"{where}{gpu} (bf16 in hardware: {short}){load}\n"
        f"torch {about['torch']}, Python {about['python']}, {about['system']}, {about['date']}"
    )


# ---- showing and saving ------------------------------------------------------------------------


def number(value: float, unit: str = "") -> str:
    """A figure with the digits that count: three places for a loss, otherwise two or fewer."""
    if unit == "nats" and (value == 0 or abs(value) >= 0.001):
        return f"{value:.3f}"
    if value == 0 or 0.01 <= abs(value) < 100:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def spread(values: list[float], unit: str = "") -> str:
    """Median and quartiles, for example "12,300 (11,900 to 12,500)"."""
    low, middle, high = quartiles(values)
    if len(values) == 1:
        return number(middle, unit)
    return f"{number(middle, unit)} ({number(low, unit)} to {number(high, unit)})"


def table(results: list[Result]) -> str:
    """The rows as text: medians with quartiles in brackets, ratio, goal, and notes below."""
    head = ("", "ours", "beside", "theirs", "ratio")
    rows = [head]
    for row in results:
        theirs = ("", "", "")
        if row.peer:
            theirs = (row.peer, spread(row.theirs, row.unit), spread(row.ratios()))
        rows.append((row.what, f"{spread(row.ours, row.unit)} {row.unit}", *theirs))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for row, result in zip(rows, [None, *results]):
        verdict = result.verdict() if result else ""
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append("  ".join([*cells, verdict]).rstrip())
    notes = dict.fromkeys(row.note for row in results if row.note)  # each once, in order
    return "\n".join([*lines, *notes])


def ratio_figure(results: list[Result]):
    """Draw how many times as fast as each peer we are, with quartiles and goals.

    Returns the figure, or None where no row has a peer.
    """
    from course_lib.plotting import COLORS, new_figure

    rows = [row for row in results if row.peer]
    if not rows:
        return None
    fig, ax = new_figure(7.2, 1.3 + 0.36 * len(rows))
    for place, row in enumerate(rows):
        low, middle, high = quartiles(row.ratios())
        ax.barh(place, middle, color=COLORS["model"], height=0.6)
        ax.plot([low, high], [place, place], color=COLORS["ink"], linewidth=1.5)
        if row.goal is not None and row.goal.at_least:
            limit = row.goal.limit
            ax.plot([limit, limit], [place - 0.4, place + 0.4], color=COLORS["ink"], linestyle=":")
        ax.annotate(
            f"{middle:.2f}", (max(high, middle), place), (4, 0), textcoords="offset points",
            va="center", fontsize=9, bbox={"fc": COLORS["paper"], "ec": "none", "pad": 1},
        )  # fmt: skip
    ax.axvline(1, color=COLORS["floor"], linewidth=1.2)
    ax.set_yticks(range(len(rows)), [f"{row.what}\nbeside {row.peer}" for row in rows], fontsize=8)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.margins(x=0.12)
    ax.set_xlabel("times as fast (line: quartiles, dotted: goal)")
    ax.set_title(f"{rows[0].benchmark}: right of 1, the course is faster")
    return fig


def save(asked, options: Options, about: dict, results: list[Result], figures: dict) -> list[Path]:
    """Write the JSON that was asked for and one figure per benchmark; returns the paths.

    The figure goes where `--figure` says, else beside the JSON, else to the reader's own folder.
    With several benchmarks the name of each is added to the file's.
    """
    written = []
    if asked.json:
        rows = [
            {**asdict(row), "measured": row.measured(), "verdict": row.verdict()} for row in results
        ]
        content = {"machine": about, "runs": options.runs, "quick": options.quick, "results": rows}
        written.append(write(Path(asked.json), json.dumps(content, indent=1).encode() + b"\n"))
    if asked.figure:
        wanted = Path(asked.figure)
    elif asked.json:
        wanted = Path(asked.json).with_suffix(".svg")
    else:
        wanted = machine.user_folder() / "bench" / f"{asked.benchmark}.svg"
    for name, (draw, rows) in figures.items():
        fig = draw(rows)
        if fig is None:
            continue
        path = wanted if len(figures) == 1 else wanted.with_stem(f"{wanted.stem}-{name}")
        written.append(write_figure(fig, path))
    return written


def write_figure(fig, path: Path) -> Path:
    """Save a matplotlib figure in the format of the path's suffix, and close it."""
    import io

    import matplotlib.pyplot as plt

    picture = io.BytesIO()
    fig.savefig(picture, format=path.suffix.lstrip("."))
    plt.close(fig)
    return write(path, picture.getvalue())


def write(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
