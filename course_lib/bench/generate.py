"""Tokens per second of writing text, with the cache, beside Hugging Face's `generate`.

Both have the same weights, start from the same prompts and take the likeliest token, equally often.
*As taught* is the loop of chapter 6 over the model of chapter 4; the other rows are the same loop
over the copies that `course_lib.fast.quicken` makes. Every contestant computes with one thread or
with all, whichever a trial finds faster for it: for a small model one is.

A peer of the command line is asked for `tokens/s`, for instance of the case `4x4x128-1` or
`12x12x768-16` (layers x heads x width, prompts; the first has 65 tokens and a context of 256, the
second GPT-2's; 8 tokens of prompt, and 200 or 24 new ones).
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.bench.measure import (
    Goal,
    Options,
    Result,
    bf16_hardware,
    installed,
    interleave,
    quartiles,
    seconds,
)
from course_lib.fast import quicken
from course_lib.pretrained import save_pretrained
from course_lib.sampling import KVCache, Sampling, generate
from course_lib.transformer import GPT, GPTConfig, count_parameters

__all__ = ["CASES", "Case", "read_bandwidth", "run"]

HUGGING_FACE = "Hugging Face generate"
TAUGHT, FLOAT32, BFLOAT16, INT8 = "as taught", "float32", "bfloat16", "int8"
BYTES = {FLOAT32: 4, BFLOAT16: 2, INT8: 1}  # of a weight
PROMPT = 8  # tokens


@dataclass(frozen=True)
class Case:
    """A shape, how many prompts are continued by how many tokens, and what is to be reached."""

    config: GPTConfig
    batch: int
    n_new: int
    kinds: tuple[str, ...]
    goals: dict[str, float]  # times as fast as Hugging Face

    @property
    def name(self) -> str:
        c = self.config
        return f"{c.n_layer}x{c.n_head}x{c.n_embd}-{self.batch}"

    @property
    def title(self) -> str:
        shape = self.name.split("-")[0]
        return f"{shape}, {self.batch} prompt{'s' if self.batch > 1 else ''}"


LITTLE = GPTConfig(vocab_size=65, context_length=256, n_layer=4, n_head=4, n_embd=128)
GPT2 = GPTConfig.gpt2()
ALL = (TAUGHT, FLOAT32, BFLOAT16, INT8)
CASES = [
    Case(LITTLE, 1, 200, (TAUGHT, FLOAT32), {FLOAT32: 3.0}),
    Case(LITTLE, 16, 200, (TAUGHT, FLOAT32), {FLOAT32: 2.3}),
    Case(GPT2, 1, 24, ALL, {FLOAT32: 2.3, INT8: 5.0}),
    Case(GPT2, 16, 24, ALL, {FLOAT32: 1.4, BFLOAT16: 3.0, INT8: 5.0}),
]


# ---- the contestants: functions that write the text once ---------------------------------------


def hugging_face(model: GPT) -> nn.Module:
    """The same weights in Hugging Face's GPT-2."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        theirs = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    theirs.generation_config.eos_token_id = None  # to the last token
    return theirs


def their_text(model: nn.Module, idx: Tensor, n_new: int) -> Tensor:
    with torch.no_grad():
        return model.generate(
            idx, attention_mask=torch.ones_like(idx), max_new_tokens=n_new, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip


def our_text(model: GPT, idx: Tensor, n_new: int) -> Tensor:
    return generate(model, idx, n_new, Sampling(temperature=0))


def best_threads(write: Callable[[], object]) -> int:
    """One thread or all that there are: what writes the text faster."""
    everything = torch.get_num_threads()
    times = {}
    for count in {1, everything}:
        torch.set_num_threads(count)
        write()
        times[count] = min(seconds(write) for _ in range(3))
    torch.set_num_threads(everything)
    return min(times, key=times.get)


def threads_text(case: Case, kind: str, threads: dict[str, int]) -> str:
    """With how many threads `kind` was measured, and Hugging Face beside it."""
    theirs = f", {HUGGING_FACE} with {threads[HUGGING_FACE]}" if HUGGING_FACE in threads else ""
    return f"{case.title}: {kind} with {threads[kind]} of {torch.get_num_threads()} threads{theirs}"


def rate(write: Callable[[], object], n_threads: int, n_tokens: int) -> float:
    """Tokens per second of one text."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        return n_tokens / seconds(write)
    finally:
        torch.set_num_threads(before)


# ---- the floor ---------------------------------------------------------------------------------


def read_bandwidth() -> float:
    """Bytes per second at which all cores together read memory, by the best of three ways."""
    numbers = torch.randn(2**17, 768)  # 0.4 GB: more than the caches hold
    vector, flat = torch.randn(768), numbers.view(-1)
    ways = (flat.sum, partial(torch.dot, flat, flat), partial(torch.mv, numbers, vector))
    times = [seconds(way) for way in ways for _ in range(7)]
    return numbers.numel() * numbers.element_size() / min(times)


def weights_read(config: GPTConfig) -> int:
    """How many weights a new token needs: all but the tables, of which it needs one row each."""
    tables = config.context_length + (0 if config.tied else config.vocab_size)
    return count_parameters(config) - tables * config.n_embd


def floor_rows(case: Case, figures: dict[str, list[float]], bandwidths: list[float]):
    """The share of the bound of memory that one prompt reaches: a row for each kind of weights."""
    bandwidth = quartiles(bandwidths)[1]
    for kind in [kind for kind in figures if kind in BYTES]:
        size = weights_read(case.config) * BYTES[kind]
        floor = size / bandwidth
        yield Result(
            "generate", f"{case.title}, {kind}: share of the floor", "",
            [floor * figure for figure in figures[kind]],
            goal=Goal(0.8) if kind == FLOAT32 else None,
            note=f"floor, {kind}: {size / 1e6:,.0f} MB of weights at {bandwidth / 1e9:.1f} GB/s "
            f"take {1000 * floor:.1f} ms per token",
        )  # fmt: skip


def cache_row(case: Case) -> Result:
    """The cache's memory beside the count: keys and values, of every layer, row and position."""
    c = case.config
    counted = 2 * c.n_layer * case.batch * c.context_length * c.n_embd * 4
    held = KVCache(c, case.batch).n_bytes
    what = f"{case.title}: the cache's bytes ({held:,}) over those counted"
    return Result("generate", what, "", [held / counted], goal=Goal(1.0, at_least=False))


# ---- the benchmark -----------------------------------------------------------------------------


def contestants(case: Case, beside: bool) -> dict[str, Callable[[], Tensor]]:
    """Everybody who writes: ours by kind, and Hugging Face."""
    torch.manual_seed(1)
    model = GPT(case.config).eval()
    idx = torch.randint(case.config.vocab_size, (case.batch, PROMPT))
    write = {}
    for kind in case.kinds:
        if kind == BFLOAT16 and not bf16_hardware():
            print("This processor has no bfloat16: that row is left out.")
            continue
        ours = model if kind == TAUGHT else quicken(model, kind, case.batch)
        write[kind] = partial(our_text, ours, idx, case.n_new)
    if beside:
        write[HUGGING_FACE] = partial(their_text, hugging_face(model), idx, case.n_new)
    return write


def run_case(case: Case, options: Options, beside: bool) -> list[Result]:
    """A row for each kind of weights beside each peer; with one prompt, the floor as well."""
    write = contestants(case, beside)
    n_tokens = case.batch * case.n_new
    threads = {name: best_threads(text) for name, text in write.items()}
    turns = {name: partial(rate, write[name], threads[name], n_tokens) for name in write}
    for peer in options.peers:
        turns[peer.name] = partial(peer.measure, "generate", case.name, "tokens/s")
    bandwidths = []
    if case.config is GPT2 and case.batch == 1:
        turns["bandwidth"] = lambda: bandwidths.append(read_bandwidth()) or bandwidths[-1]
    figures = interleave(turns, options.runs)
    bandwidths = figures.pop("bandwidth", [])
    peers = [name for name in figures if name not in case.kinds]
    results = []
    for kind in [kind for kind in case.kinds if kind in figures]:
        what = f"{case.title}, {kind}"
        note = threads_text(case, kind, threads)
        for peer in peers:
            goal = case.goals.get(kind) if peer == HUGGING_FACE else None
            results.append(
                Result("generate", what, "tokens/s", figures[kind], peer, figures[peer],
                       goal=None if goal is None else Goal(goal), note=note)
            )  # fmt: skip
        if not peers:
            results.append(Result("generate", what, "tokens/s", figures[kind], note=note))
    if bandwidths:
        results += floor_rows(case, figures, bandwidths)
    return [*results, cache_row(case)]


def run(options: Options) -> list[Result]:
    """All shapes, or with `quick` the little one only."""
    beside = installed("transformers")
    results = []
    for case in CASES[:2] if options.quick else CASES:
        print(f"{case.title} ...", flush=True)
        results += run_case(case, options, beside)
    return results
