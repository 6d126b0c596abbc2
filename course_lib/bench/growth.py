"""How time and memory grow with context, width and depth: counted first, then measured.

A law `time ~ size ** e` is a straight line in a picture with two logarithmic axes, and `e` is its
slope. For every law the exponent is first predicted, from counting operations and bytes, and shown;
then the sizes are run and the slope of what was measured is put beside it. A measured exponent
below the counted one says that small sizes waste time on something that does not grow: calling
each operation, and waking the second core.

Memory is what autograd keeps for the backward pass, and for the cache its keys and values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from course_lib.attention import attention_flops
from course_lib.bench.measure import Goal, Options, Result, interleave, quartiles, seconds
from course_lib.sampling import KVCache
from course_lib.training import lm_loss
from course_lib.transformer import GPT, GPTConfig

__all__ = ["Law", "figure", "run"]

VOCABULARY, BATCH = 256, 4
BASE = {"context_length": 128, "n_embd": 128, "n_layer": 4}
SIZES = {  # each is changed alone
    "context_length": (64, 128, 256, 512, 1024),
    "n_embd": (64, 128, 256, 512),
    "n_layer": (1, 2, 4, 8, 16),
}
WORDS = {"context_length": "context", "n_embd": "width", "n_layer": "depth"}
UNITS = {"context": "tokens", "width": "features", "depth": "layers"}
CACHED = (256, 512, 1024, 2048, 4096, 8192)  # tokens in the cache when one more is written


@dataclass(frozen=True)
class Law(Result):
    """A row that says how something grows: its exponents, and the points behind them."""

    axis: str = ""
    sizes: list[int] = field(default_factory=list)
    counted: list[float] = field(default_factory=list)  # operations or bytes
    measured_at: list[float] = field(default_factory=list)  # median seconds or bytes


def slope(sizes: list[int], values: list[float]) -> float:
    """The exponent e of values ~ sizes ** e: the line of least squares through the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y))
    return above / sum((a - middle_x) ** 2 for a in x)


# ---- counting ----------------------------------------------------------------------------------


def step_flops(config: GPTConfig) -> int:
    """Operations of a forward and a backward pass: the backward one takes twice as many."""
    time, c = config.context_length, config.n_embd
    mlp = 2 * 2 * time * c * 4 * c
    layer = sum(attention_flops(time, c).values()) + mlp
    head = 2 * time * c * config.vocab_size
    return 3 * BATCH * (config.n_layer * layer + head)


def step_bytes(config: GPTConfig) -> int:
    """What the backward pass needs: the inputs of every product, and of what bends them.

    Of a token in a layer: the inputs of two norms, of queries-keys-values, of the output projection
    and of the MLP (1 width each), queries, keys and values (3), what enters the GELU and what
    leaves it (4 each): 16 widths. Of every pair of tokens and every head: one attention weight.
    """
    time, c = config.context_length, config.n_embd
    layer = 16 * time * c + config.n_head * time * time
    ends = 2 * time * c + time * config.vocab_size  # the last norm, the head, the probabilities
    return 4 * BATCH * (config.n_layer * layer + ends)


def token_bytes(config: GPTConfig, cached: int) -> int:
    """What is read to write one token: weights, and keys and values of the tokens before it."""
    weights = config.n_layer * 12 * config.n_embd**2 + config.vocab_size * config.n_embd
    return 4 * (weights + 2 * config.n_layer * cached * config.n_embd)


# ---- measuring ---------------------------------------------------------------------------------


def shape(**changes: int) -> GPTConfig:
    return GPTConfig(vocab_size=VOCABULARY, n_head=4, **{**BASE, **changes})


def step(config: GPTConfig) -> Callable[[], None]:
    """A function that does one forward and one backward pass."""
    torch.manual_seed(1)
    model = GPT(config)
    x, y = torch.randint(VOCABULARY, (2, BATCH, config.context_length))

    def one_step() -> None:
        model.zero_grad()
        lm_loss(model(x), y).backward()

    return one_step


def kept_bytes(config: GPTConfig) -> int:
    """The bytes that one forward pass keeps for the backward pass, the parameters not counted."""
    torch.manual_seed(1)
    model = GPT(config)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x, y = torch.randint(VOCABULARY, (2, BATCH, config.context_length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = lm_loss(model(x), y)
    del loss
    return sum(kept.values())


def one_token(config: GPTConfig, cached: int) -> Callable[[], None]:
    """A function that computes one token's hidden state behind `cached` tokens."""
    torch.manual_seed(1)
    model, cache, idx = GPT(config).eval(), KVCache(config), torch.zeros(1, 1, dtype=torch.long)
    for layer in cache.layers:
        layer.keys.normal_()
        layer.values.normal_()

    @torch.no_grad()
    def write() -> None:
        for layer in cache.layers:
            layer.length = cached
        model.hidden(idx, cache)

    return write


def law(what: str, axis: str, sizes, counted, figures, peer: str, goal: Goal | None = None) -> Law:
    """The row of a law: exponents round by round; `figures` holds a list for every size."""
    ours = [slope(sizes, values) for values in zip(*figures)]
    predicted = slope(sizes, counted)
    return Law(
        "growth", what, "exponent", ours, peer, [predicted] * len(ours), goal=goal,
        more_is_better=False, axis=axis, sizes=list(sizes), counted=list(counted),
        measured_at=[quartiles(values)[1] for values in figures],
    )  # fmt: skip


def timed(functions: dict[int, Callable[[], None]], runs: int) -> list[list[float]]:
    """Seconds of each, in turn: in every round the best of three, since noise only adds."""
    best = {n: lambda f=f: min(seconds(f) for _ in range(3)) for n, f in functions.items()}
    figures = interleave({str(n): function for n, function in best.items()}, runs)
    return [figures[str(n)] for n in functions]


# ---- the benchmark -----------------------------------------------------------------------------


def chosen(sizes: tuple[int, ...], options: Options) -> tuple[int, ...]:
    return sizes[:4] if options.quick else sizes


def predict(options: Options) -> None:
    """Print the exponents that counting gives, before anything is measured."""
    print("Predicted from counting, before anything has run:")
    for name, sizes in SIZES.items():
        sizes = chosen(sizes, options)
        configs = [shape(**{name: size}) for size in sizes]
        flops, kept = slope(sizes, map(step_flops, configs)), slope(sizes, map(step_bytes, configs))
        print(f"  a step's time ~ {WORDS[name]}^{flops:.2f}, its memory ~ {WORDS[name]}^{kept:.2f}")
    sizes = chosen(CACHED, options)
    config = shape(context_length=sizes[-1] + 1)
    read = slope(sizes, [token_bytes(config, n) for n in sizes])
    print(
        f"  a token's time with the cache ~ context^{read:.2f}, the cache's memory ~ context^1.00"
    )


def run(options: Options) -> list[Result]:
    """Two laws, of time and of memory, for each of context, width and depth, and for the cache."""
    predict(options)
    results = []
    for name, sizes in SIZES.items():
        sizes = chosen(sizes, options)
        configs = {size: shape(**{name: size}) for size in sizes}
        flops = [step_flops(config) for config in configs.values()]
        times = timed({size: step(config) for size, config in configs.items()}, options.runs)
        axis = WORDS[name]
        results.append(law(f"a step's time by {axis}", axis, sizes, flops, times, "counted FLOPs"))
        kept = [[kept_bytes(config)] for config in configs.values()]
        counted = [step_bytes(config) for config in configs.values()]
        results.append(
            law(f"a step's memory by {axis}", axis, sizes, counted, kept, "counted bytes")
        )
    sizes = chosen(CACHED, options)
    config = shape(context_length=sizes[-1] + 1)
    counted = [token_bytes(config, n) for n in sizes]
    times = timed({n: one_token(config, n) for n in sizes}, options.runs)
    goal = Goal(1.0, at_least=False)
    what, axis = "a token's time with the cache", "context, with the cache"
    results.append(law(what, axis, sizes, counted, times, "counted bytes"))
    results.append(Result("growth", f"{what}: exponent", "", results[-1].ours, goal=goal))
    held = [[KVCache(shape(context_length=n)).n_bytes] for n in sizes]
    counted = [2 * BASE["n_layer"] * n * BASE["n_embd"] * 4 for n in sizes]
    results.append(law("the cache's memory", axis, sizes, counted, held, "counted bytes"))
    return results


def table(results: list[Result]) -> str:
    """Exponents beside each other, and for memory how many of the bytes were counted."""
    lines = [f"{'':<32}{'counted':>9}{'measured':>10}   at the sizes"]
    for row in results:
        if not isinstance(row, Law):
            lines.append(f"{row.what}: {row.verdict()}")
            continue
        memory = "memory" in row.what
        scale, unit = (1e6, "MB") if memory else (1e-3, "ms")
        points = ", ".join(
            f"{size}: {value / scale:,.3g}" for size, value in zip(row.sizes, row.measured_at)
        )
        share = sum(a / b for a, b in zip(row.counted, row.measured_at)) / len(row.sizes)
        counted = f" ({share:.0%} of it counted)" if memory else ""
        exponents = f"{row.theirs[0]:>9.2f}{quartiles(row.ours)[1]:>10.2f}"
        lines.append(f"{row.what:<32}{exponents}   {points} {unit}{counted}")
    return "\n".join(lines)


def figure(results: list[Result]):
    """A panel for every law: points measured, and the counted line laid through their middle."""
    from course_lib.plotting import COLORS, new_figure

    laws = [row for row in results if isinstance(row, Law)]
    fig, axes = new_figure(10.4, 5.6, nrows=2, ncols=4)
    for i, row in enumerate(laws):
        ax = axes[i % 2][i // 2]
        memory = "memory" in row.what
        scale = 1e6 if memory else 1e-3
        middle = math.prod(a / b for a, b in zip(row.measured_at, row.counted))
        factor = middle ** (1 / len(row.sizes)) / scale
        line = [value * factor for value in row.counted]
        ax.loglog(row.sizes, line, color=COLORS["floor"], linewidth=1.2, label="counted")
        values = [value / scale for value in row.measured_at]
        ax.loglog(row.sizes, values, "o", color=COLORS["model"], label="measured")
        ax.set_title(f"{quartiles(row.ours)[1]:.2f}, counted {row.theirs[0]:.2f}", fontsize=9)
        unit = UNITS.get(row.axis, "tokens")
        ax.set_xlabel(f"{row.axis} ({unit})" if memory else "", fontsize=9)
        ax.set_xticks(row.sizes, [f"{size}" for size in row.sizes], fontsize=7, minor=False)
        ax.minorticks_off()
        if i < 2 or i >= 6:
            of = "a token" if i >= 6 else "a step"
            ax.set_ylabel("MB kept" if memory else f"ms for {of}", fontsize=9)
    axes[0][0].legend(fontsize=8)
    fig.suptitle("Exponents: measured, and counted before anything ran")
    return fig
