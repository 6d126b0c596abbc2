"""Seconds to learn a vocabulary, and megabytes encoded per second, on tiny Shakespeare.

Beside Hugging Face's `tokenizers`, which is written in Rust, and beside the trainer of chapter 2
that counts the whole text again before each merge. Ours is plain Python. It is fast because it
looks at a word that occurs a thousand times only once, and because a merge changes the counts of
few pairs: those are corrected, and all others are left alone.

A peer of the command line is asked for `s` of the cases `train-512`, `train-1024` and `train-4096`.
"""

import math
import random
import string
from functools import partial

from course_lib.bench.measure import (
    CannotMeasure,
    Goal,
    Options,
    Result,
    compare,
    installed,
    interleave,
    quartiles,
    ratio_figure,
    seconds,
)
from course_lib.data import fetch
from course_lib.machine import CannotStart
from course_lib.tokenizer import Tokenizer, chunk_table, learn_merges, learn_merges_naive

__all__ = ["figure", "run"]

SIZES = {512: 1.0, 1024: 1.0, 4096: 1.3}  # entries: at most this many times as long as in Rust
RUST, NAIVE = "Hugging Face tokenizers (Rust)", "the naive trainer"
COPIES = (1, 2, 4, 8, 16)  # of the text: 1.1 to 18 MB


def read_text() -> str:
    """Tiny Shakespeare, whole; CannotMeasure where it is neither here nor to be had."""
    try:
        return fetch("shakespeare").read_text(encoding="utf-8")
    except CannotStart as error:
        raise CannotMeasure(str(error)) from error


def train_in_rust(text: str, vocab_size: int):
    """Hugging Face's byte-level tokenizer, trained on the same text."""
    from tokenizers import Tokenizer as Rust
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = Rust(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def training(text: str, options: Options, rust: bool) -> list[Result]:
    """Seconds to learn each size of vocabulary."""
    results = []
    for size, limit in SIZES.items():
        ours = partial(seconds, partial(learn_merges, text, size - 256))
        theirs, goals = {}, {}
        if rust:
            theirs[RUST] = partial(seconds, partial(train_in_rust, text, size))
            goals[RUST] = Goal(1 / limit)  # ratios say how many times as fast we are
        results += compare(
            "tokenizer", f"train-{size}", "s", ours, theirs, options, goals,
            more_is_better=False, what=f"train {size:,} entries",
        )  # fmt: skip
    return results


def beside_naive(text: str, options: Options) -> Result:
    """All 256 merges of ours beside the first few of the naive trainer, which have to be equal."""
    few = 4 if options.quick else 48
    fast, slow = [], []
    ours = [seconds(lambda: fast.append(learn_merges(text, 256)))]
    theirs = [seconds(lambda: slow.append(learn_merges_naive(text, few)))]
    if fast[0][:few] != slow[0]:
        raise CannotMeasure("The two trainers do not learn the same merges: see their tests.")
    return Result(
        "tokenizer", f"256 merges, beside the first {few}", "s", ours, NAIVE, theirs,
        goal=None if options.quick else Goal(100.0), more_is_better=False,
        note=f"The naive trainer is given {few} merges of 256 only, and they are the same: "
        f"for all of them it takes about {256 / few:.0f} times as long.",
    )  # fmt: skip


def encoding(text: str, options: Options, rust: bool) -> list[Result]:
    """Megabytes per second: ours from a cold start, the same tokenizer in tiktoken, and Rust."""
    tokenizer = Tokenizer.train(text, 512)
    size = len(text.encode()) / 1e6

    def ours() -> float:
        cold = Tokenizer(tokenizer.merges)  # has not seen a single chunk
        return size / seconds(partial(cold.encode, text))

    bulk = tokenizer.to_tiktoken()
    if bulk.encode_ordinary(text) != tokenizer.encode(text):
        raise CannotMeasure("tiktoken does not give the same ids: see the tests of the tokenizer.")
    theirs = {"itself in tiktoken": lambda: size / seconds(partial(bulk.encode_ordinary, text))}
    if rust:
        trained = train_in_rust(text, 512)
        theirs[RUST] = lambda: size / seconds(partial(trained.encode, text))
    figures = interleave({"": ours, **theirs}, options.runs)
    own = figures.pop("")
    results = [Result("tokenizer", "encode, plain Python", "MB/s", own, goal=Goal(1.5))]
    for name, values in figures.items():
        results.append(Result("tokenizer", "encode, plain Python", "MB/s", own, name, values))
    return results


def longer(text: str, copies: int) -> str:
    """The text many times over, with new words now and then, as in a longer text.

    Copy number i is written with the letters swapped in one of 1 + floor(sqrt(i)) ways, so the
    number of different words grows with the square root of the length, as it roughly does in
    natural text (Heaps 1978).
    """
    parts = []
    for way in (math.isqrt(i) for i in range(copies)):
        letters = list(string.ascii_lowercase)
        if way:
            random.Random(way).shuffle(letters)
        swapped = "".join(letters)
        table = str.maketrans(string.ascii_letters, swapped + swapped.upper())
        parts.append(text.translate(table))
    return "".join(parts)


def growth(text: str, options: Options) -> list[Result]:
    """How much longer than in proportion 16 times the text takes."""
    copies = COPIES[:3] if options.quick else COPIES
    texts = {n: longer(text, n) for n in copies}
    turns = {str(n): partial(seconds, partial(learn_merges, texts[n], 256)) for n in copies}
    figures = interleave(turns, min(options.runs, 3))
    first, last = figures["1"], figures[str(copies[-1])]
    lengths = ", ".join(f"{len(texts[n]) / 1e6:.1f}" for n in copies)
    times = ", ".join(f"{quartiles(figures[str(n)])[1]:.2f}" for n in copies)
    words = ", ".join(f"{len(chunk_table(texts[n])):,}" for n in copies)
    what = f"train 512 entries, {copies[-1]} times the text: time over proportional time"
    ratios = [b / a / copies[-1] for a, b in zip(first, last)]
    note = f"MB of text: {lengths}; different chunks: {words}; seconds: {times}"
    goal = Goal(1.3, at_least=False)
    return [Result("tokenizer", what, "", ratios, goal=goal, more_is_better=False, note=note)]


def run(options: Options) -> list[Result]:
    """Training, encoding and growth on tiny Shakespeare."""
    text = read_text()
    rust = installed("tokenizers")
    return [
        *training(text, options, rust),
        beside_naive(text, options),
        *encoding(text, options, rust),
        *growth(text, options),
    ]


def figure(results: list[Result]):
    """The ratios as bars; that beside the naive trainer would dwarf all others."""
    return ratio_figure([row for row in results if row.peer != NAIVE])
