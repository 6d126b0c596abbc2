"""The speedrun: tiny Shakespeare by characters, from nothing to a loss of 1.886, and beyond.

1.886 nats per character is where nanoGPT's documented preset for a CPU ends: 4 layers, 4 heads,
width 128, context 64, batches of 12, 2,000 steps of AdamW. Trained are the first 90 % of the text,
and the loss is that of the whole remaining 10 %, in windows of 64. The preset is run here with the
library's own GPT and chapter 5's own training loop; beside it runs the recipe of `recipe.py`.

Only training steps are timed, on both sides: not the loading of the text and not the evaluation.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from course_lib.bench.measure import CannotMeasure, Goal, Options, Result, bf16_hardware, seconds
from course_lib.bench.recipe import INGREDIENTS, Recipe, Run, random_windows
from course_lib.data import shakespeare
from course_lib.machine import CannotStart
from course_lib.training import (
    TrainingConfig,
    TrainingRun,
    evaluate,
    stream_windows,
    training_step,
)
from course_lib.transformer import GPT, GPTConfig

__all__ = ["LONG", "PRESET_STEPS", "SHORT", "TARGET", "ablation", "preset", "race", "run"]

TARGET = 1.886  # nats per character
LONG_TARGET = 1.65  # in the preset's whole time
FASTER = 15  # times
PRESET_STEPS = 2_000
SHORT = Recipe()
LONG = replace(SHORT, steps=1_400, n_layer=3, n_head=4, n_embd=128, matrix_lr=0.02)


def characters() -> tuple[Tensor, tuple[Tensor, Tensor], int]:
    """Tiny Shakespeare as ids: the training stream, the validation windows, and how many there are.

    Raises CannotMeasure where the text is neither here nor to be had.
    """
    try:
        train, validation = shakespeare()
    except CannotStart as error:
        raise CannotMeasure(str(error)) from error
    ids = {char: i for i, char in enumerate(sorted(set(train + validation)))}
    stream, rest = (torch.tensor([ids[char] for char in part]) for part in (train, validation))
    return stream, stream_windows(rest, SHORT.context_length), len(ids)


def preset(ids: Tensor, vocab_size: int, seed: int) -> TrainingRun:
    """nanoGPT's CPU preset, ready to start: `training_step` of chapter 5 does a step of it."""
    torch.manual_seed(seed)
    config = TrainingConfig(
        PRESET_STEPS, max_lr=1e-3, min_lr=1e-4, warmup=100, betas=(0.9, 0.99), weight_decay=0.1,
        clip=1.0, precision="float32",
    )  # fmt: skip
    model = GPT(GPTConfig(vocab_size, 64, n_layer=4, n_head=4, n_embd=128, bias=False))
    return TrainingRun(model.train(), random_windows(ids, 64, 12, seed), config)


def steps(count: int, step) -> float:
    """The wall time of so many calls."""
    return seconds(lambda: [step() for _ in range(count)])


def run(options: Options) -> list[Result]:
    """The race, or with `--ablate` the recipe without each ingredient in turn."""
    if not bf16_hardware():
        print("This processor does not multiply bfloat16: the recipe runs in float32.")
    return ablation(options) if options.ablate else race(options)


def race(options: Options) -> list[Result]:
    """The preset in slices, and between two slices a whole speedrun and slices of the long runs.

    With five rounds, a fifth of the preset's 2,000 steps stands beside each of five speedruns (five
    seeds) and beside a fifth of three long runs. A quick race does a tenth of the preset and of one
    long run, and so learns no loss of them.
    """
    ids, validation, size = characters()
    share = (0.1 if options.quick else 1) / options.runs  # of a long run, in one round
    slow = preset(ids, size, seed=1)
    long_runs = [Run(LONG, ids, size, seed) for seed in range(1, 2 if options.quick else 4)]
    times: dict[str, list[float]] = {"preset": [], "short": [], "long": []}
    losses = []
    for seed in range(1, options.runs + 1):
        spent = steps(round(share * PRESET_STEPS), partial(training_step, slow))
        times["preset"].append(spent / share)
        short = Run(SHORT, ids, size, seed)
        times["short"].append(steps(SHORT.steps, short.step))
        losses.append(evaluate(short.model, *validation))
        spent = sum(steps(round(share * LONG.steps), each.step) for each in long_runs)
        times["long"].append(spent / share / len(long_runs))
        print(
            f"round {seed}: preset {times['preset'][-1]:.1f} s, speedrun {times['short'][-1]:.1f} s"
            f" to {losses[-1]:.3f}, long run {times['long'][-1]:.1f} s",
            flush=True,
        )
    rows = [
        timed(f"to {TARGET} nats", times["short"], times["preset"], Goal(FASTER)),
        lost(f"its loss, worst of {options.runs} seeds", losses, TARGET),
        timed("the long run", times["long"], times["preset"], Goal(1)),
    ]
    if not options.quick:
        ends = [evaluate(each.model, *validation) for each in long_runs]
        rows.append(lost("its loss, worst of 3 seeds", ends, LONG_TARGET))
        rows.append(lost("the preset's loss", [evaluate(slow.model, *validation)]))
    return rows


def timed(what: str, ours: list[float], preset: list[float], goal: Goal) -> Result:
    """A row of seconds beside the preset's."""
    note = "Seconds are those of training steps; the preset's whole run is counted from its slices."
    return Result("speedrun", what, "s", ours, "the preset", preset, goal, False, note)


def lost(what: str, losses: list[float], limit: float | None = None) -> Result:
    """A row of losses, of which the worst is held against the limit."""
    goal = None if limit is None else Goal(limit, at_least=False, worst=True)
    return Result("speedrun", what, "nats", losses, goal=goal, more_is_better=False)


def ablation(options: Options) -> list[Result]:
    """The recipe without each ingredient: loss and seconds beside the whole recipe's, three seeds.

    The ratio is that of the whole recipe to the crippled one: below 1, the ingredient helps.
    """
    ids, validation, size = characters()
    recipes = {"": SHORT, **{name: SHORT.without(name) for name in INGREDIENTS}}
    figures = {name: ([], []) for name in recipes}
    for seed in range(1, 2 if options.quick else 4):
        for name, recipe in recipes.items():
            run = Run(recipe, ids, size, seed)
            figures[name][1].append(steps(recipe.steps, run.step))
            figures[name][0].append(evaluate(run.model, *validation))
            loss, time = (column[-1] for column in figures[name])
            label = f"without {name}" if name else "the whole recipe"
            print(f"seed {seed}, {label}: {loss:.3f} nats in {time:.1f} s", flush=True)
    whole = figures.pop("")
    return [
        Result(
            "speedrun", f"without {name}", unit, ours, "whole recipe", theirs, more_is_better=False
        )
        for column, unit in enumerate(("nats", "s"))
        for name, ours, theirs in ((n, f[column], whole[column]) for n, f in figures.items())
    ]
