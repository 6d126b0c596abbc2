"""Exercises of chapter 5: the loss, AdamW, the schedule, clipping, accumulation, initialisation."""

import math

import torch
from torch.nn import functional as F

from course_lib.grading import (
    Mistake,
    define,
    edge,
    mixed,
    parsons,
    prediction,
    question,
    wave,
    whole,
)


def _given(logits, idx):
    """The probability that each true next token was given, (B, T - 1)."""
    return logits[:, :-1].softmax(-1).gather(-1, idx[:, 1:, None])


_ROWS = """For a batch of one row it is right, and for several rows it is not. Rows are separate
texts: no token predicts one of another row, and all predictions count alike."""


@define(
    level=1,
    minutes=5,
    task="""Score every next-token prediction of a batch. `idx` (B, T) are the tokens themselves,
    not yet shifted: `logits[:, t]` is the guess at the token at t + 1. Return the mean, in
    nats.""",
    hints=[
        "The last logits predict a token that is not there, and nothing predicts the first token.",
        "`F.cross_entropy` wants (N, V) and (N,): merge batch and time, and keep V last.",
    ],
    insight="A model that knows nothing scores ln V. Anything else at step 0 is a bug.",
    probes=lambda: [
        edge("rows", _ROWS, wave(2, 4, 5, scale=2), whole(2, 4, below=5)),
        (wave(1, 3, 4, phase=1, scale=3), whole(1, 3, below=4, phase=1)),
        edge("rows", _ROWS, wave(3, 2, 3, phase=2), whole(3, 2, below=3, phase=4)),
        (wave(1, 5, 3, phase=5, scale=3), whole(1, 5, below=3, phase=2)),
    ],
    mistakes=[
        Mistake(
            "no_shift",
            "The logits at t are compared with the token at t, which the model has already read. "
            "Compare them with the one at t + 1.",
            {"logits[:, :-1]": "logits", "idx[:, 1:]": "idx"},
        ),
        Mistake(
            "wrong_way",
            "You shifted the wrong way: the logits at t are compared with the token at t - 1.",
            {"logits[:, :-1]": "logits[:, 1:]", "idx[:, 1:]": "idx[:, :-1]"},
        ),
        Mistake(
            "bad_flatten",
            "Vocabulary and time got mixed when you flattened. The vocabulary must stay the last "
            "axis: `reshape(-1, V)`, without a transpose before it.",
            {"logits[:, :-1].reshape": "logits[:, :-1].transpose(1, 2).reshape"},
        ),
        Mistake(
            "sum",
            "You add the surprises up, so the loss grows with the batch. Take the mean.",
            {"(guesses, targets)": '(guesses, targets, reduction="sum")'},
        ),
        Mistake(
            "sum_over_time",
            "You add up along time and take the mean over the batch only, so the loss grows with "
            "the length. It is the mean over all predictions.",
            {"(guesses, targets)": '(guesses, targets, reduction="sum") / len(idx)'},
        ),
        Mistake(
            "softmax_first",
            "`F.cross_entropy` takes raw logits and does the softmax itself. You gave it "
            "probabilities.",
            {"logits[:, :-1].reshape(-1, V)": "logits[:, :-1].softmax(-1).reshape(-1, V)"},
        ),
        Mistake(
            "last_only",
            "Only the last prediction is scored. All T - 1 of them are there to learn from.",
            {
                "logits[:, :-1].reshape(-1, V)": "logits[:, -2]",
                "idx[:, 1:].reshape(-1)": "idx[:, -1]",
            },
        ),
        Mistake(
            "drops_first_pair",
            "You drop the wrong end: both lost their *last* entry, so nothing is shifted.",
            {"idx[:, 1:]": "idx[:, :-1]"},
        ),
        Mistake(
            "perplexity",
            "You return the perplexity. The loss is its logarithm.",
            {
                "    return F.cross_entropy(guesses, targets)": (
                    "    loss = F.cross_entropy(guesses, targets)\n    return loss.exp()"
                ),
            },
        ),
        Mistake(
            "bits",
            "You return bits. The loss is in nats.",
            {
                "    return F.cross_entropy(guesses, targets)": (
                    "    loss = F.cross_entropy(guesses, targets)\n    return loss / math.log(2)"
                ),
            },
        ),
        Mistake(
            "wraps",
            "The last logits are compared with the first token. They predict a token that is "
            "not there: leave them out.",
            {"logits[:, :-1]": "logits", "idx[:, 1:]": "idx.roll(-1, dims=1)"},
        ),
        Mistake(
            "raw_logits",
            "`F.nll_loss` wants log-probabilities and does no softmax. `F.cross_entropy` takes "
            "raw logits.",
            {
                "    return F.cross_entropy(guesses, targets)": (
                    "    loss = F.nll_loss(guesses, targets)\n    return loss"
                ),
            },
        ),
        Mistake(
            "shifted_after_flattening",
            "You flatten first and shift then, so the last token of a row has to predict the first "
            "of the next row, which is another text. Shift along time while the rows are still "
            "apart.",
            {
                "logits[:, :-1].reshape(-1, V)": "logits.reshape(-1, V)[:-1]",
                "idx[:, 1:].reshape(-1)": "idx.reshape(-1)[1:]",
            },
        ),
        Mistake(
            "divided_by_all",
            "You divide by B * T. The last position of a row has no target, so there are "
            "B * (T - 1) predictions.",
            lambda logits, idx: my_lm_loss(logits, idx) * (1 - 1 / idx.size(1)),
        ),
        Mistake(
            "not_averaged",
            "You return one surprise per prediction. Take the mean of them all.",
            lambda logits, idx: F.cross_entropy(
                logits[:, :-1].transpose(1, 2), idx[:, 1:], reduction="none"
            ),
            lambda logits, idx: F.cross_entropy(
                logits[:, :-1].flatten(0, 1), idx[:, 1:].flatten(), reduction="none"
            ),
        ),
        Mistake(
            "sign",
            "The minus sign is missing: log-probabilities are negative, a loss is positive.",
            lambda logits, idx: -my_lm_loss(logits, idx),
        ),
        Mistake(
            "no_log",
            "The log is missing: you average the probabilities of the true tokens.",
            lambda logits, idx: _given(logits, idx).mean(),
            lambda logits, idx: -_given(logits, idx).mean(),
            lambda logits, idx: 1 - _given(logits, idx).mean(),
        ),
        Mistake(
            "log_of_mean",
            "You average probabilities and then take the log. Average the logs.",
            lambda logits, idx: -_given(logits, idx).mean().log(),
        ),
        Mistake(
            "shift_two",
            "You compare the logits at t with the token at t + 2. The next one is at t + 1.",
            lambda logits, idx: (
                my_lm_loss(logits[:, :-1], idx[:, 1:]) if idx.size(1) > 2 else idx.sum()
            ),
            lambda logits, idx: F.cross_entropy(logits[:, :-2].flatten(0, 1), idx[:, 2:].flatten()),
        ),
    ],
)
def my_lm_loss(logits, idx):
    """Mean surprise at every next token: logits (B, T, V), idx (B, T), not shifted -> ()."""
    V = logits.size(-1)
    guesses = logits[:, :-1].reshape(-1, V)  #| all that predict a token we have, (N, V)
    targets = idx[:, 1:].reshape(-1)  #| the tokens they should predict, (N,)
    return F.cross_entropy(guesses, targets)  #| one number


_CORRECTION = "    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)"


_DECAY = """It goes wrong only where there is weight decay. The decay subtracts lr * wd * p, with p
as it was before the step, and does nothing else."""
_EPS = """It goes wrong only where `eps` is large. It is added to the root of v_hat, outside, and
the sum divides m_hat."""
_EARLY = """It goes wrong only in the first steps, and the corrections are what matters there: m and
v are divided by 1 - b1**t and 1 - b2**t, for the step alone."""


def _adam(shape, t, lr=0.1, b1=0.9, b2=0.99, eps=1e-8, wd=0.0, fresh=False):
    """The arguments of a step: in the middle of training, or from means that are still zero."""
    m, v = wave(*shape, phase=4, scale=0.2), wave(*shape, phase=5, scale=0.3) ** 2
    m, v = (torch.zeros(shape), torch.zeros(shape)) if fresh else (m, v)
    return wave(*shape, phase=t), wave(*shape, phase=t + 1), m, v, t, lr, b1, b2, eps, wd


@define(
    level=2,
    minutes=15,
    task="""Do one step of AdamW for one parameter `p` with gradient `g`: update the running means
    `m` (of the gradient) and `v` (of its square), correct both for their start at zero (`t`
    counts from 1), and take a step with *decoupled* weight decay. `eps` is added to the root, and
    the decay is a share of `p` as it was before the step. Return the new p, m and v.""",
    hints=[
        "Four lines: two running means, two corrections, one step.",
        "A running mean: m = b1 * m + (1 - b1) * g. After t steps it lacks a factor 1 - b1**t.",
        "Decoupled means: lr * wd * p is subtracted on its own and never enters m or v.",
    ],
    insight="In the first step every weight moves by almost exactly lr, whatever the size of its "
    "gradient: Adam does not care about the scale.",
    probes=lambda: [
        _adam((3, 2), t=90, b1=0.7, b2=0.6),
        _adam((4,), t=80, b1=0.5, b2=0.8, lr=0.03),
        edge("early", _EARLY, *_adam((3, 2), t=1, fresh=True)),
        edge("early", _EARLY, *_adam((4,), t=5, b1=0.8, b2=0.95, lr=0.05)),
        edge("early", _EARLY, *_adam((2,), t=3, b1=0.7, b2=0.9, lr=0.2)),
        mixed(*_adam((4,), t=4, b1=0.8, b2=0.95, eps=0.2, wd=0.5)),
        edge("decay", _DECAY, *_adam((3,), t=90, b1=0.7, b2=0.6, wd=0.5)),
        edge("decay", _DECAY, *_adam((2, 2), t=85, b1=0.6, b2=0.7, wd=2.0, lr=0.2)),
        edge("eps", _EPS, *_adam((3,), t=90, b1=0.7, b2=0.6, eps=0.3)),
        edge("eps", _EPS, *_adam((2, 2), t=85, b1=0.6, b2=0.7, eps=0.1)),
    ],
    mistakes=[
        Mistake(
            "no_correction",
            "m and v start at zero, so the first means are far too small. Divide by 1 - b1**t and "
            "1 - b2**t.",
            {"m / (1 - b1**t), v / (1 - b2**t)": "m, v"},
        ),
        Mistake(
            "correction_without_t",
            "The correction fades with time: its power is t.",
            {"b1**t": "b1", "b2**t": "b2"},
        ),
        Mistake(
            "t_from_zero",
            "The power in the corrections is t itself, neither t - 1 nor t + 1: t counts from 1, "
            "so it is 1 in the first step.",
            {"    m_hat, v_hat = m": "    t = t - 1\n    m_hat, v_hat = m"},
            {
                "m / (1 - b1**t)": "m / (1 - b1 ** (t - 1) if t > 1 else 1)",
                "v / (1 - b2**t)": "v / (1 - b2 ** (t - 1) if t > 1 else 1)",
            },
            {"b1**t": "b1 ** (t + 1)", "b2**t": "b2 ** (t + 1)"},
        ),
        Mistake(
            "l2",
            "You put the weight decay into the gradient. That is Adam with L2, and the adaptive "
            "step then divides it away. AdamW shrinks the weight directly.",
            {
                "    m = b1 * m": "    g = g + wd * p\n    m = b1 * m",
                " - lr * wd * p": "",
            },
        ),
        Mistake(
            "decay_without_lr",
            "The decay is not multiplied by lr.",
            {"lr * wd * p": "wd * p"},
        ),
        Mistake("no_decay", "There is no weight decay.", {" - lr * wd * p": ""}),
        Mistake(
            "grows",
            "The decay has the wrong sign: the weights grow.",
            {" - lr * wd": " + lr * wd"},
        ),
        Mistake(
            "eps_inside",
            "`eps` stands outside the root here: sqrt(v_hat) + eps.",
            {"(torch.sqrt(v_hat) + eps)": "torch.sqrt(v_hat + eps)"},
        ),
        Mistake(
            "no_root",
            "You divide by v_hat. With its square root the step is about lr, whatever the size of "
            "the gradient.",
            {"torch.sqrt(v_hat)": "v_hat"},
        ),
        Mistake("uphill", "You walk *up* the gradient.", {"p - lr * m_hat": "p + lr * m_hat"}),
        Mistake(
            "not_squared",
            "v is the running mean of the *squared* gradient.",
            {"(1 - b2) * g * g": "(1 - b2) * g"},
        ),
        Mistake(
            "betas_swapped",
            "b1 belongs to m, and b2 to v.",
            {
                "b1 * m + (1 - b1) * g": "b2 * m + (1 - b2) * g",
                "b2 * v + (1 - b2) * g * g": "b1 * v + (1 - b1) * g * g",
            },
            lambda p, g, m, v, t, lr, b1, b2, eps, wd: adamw_step(
                p, g, m, v, t, lr, b2, b1, eps, wd
            ),
        ),
        Mistake(
            "corrected_means_kept",
            "You return the corrected means. The next step needs m and v as they are.",
            {"return p, m, v": "return p, m_hat, v_hat"},
        ),
        Mistake(
            "gradient_itself",
            "The step uses the gradient itself. It goes along the *mean* of the gradients, m_hat.",
            {"    p = p - lr * m_hat": "    m_hat = g\n    p = p - lr * m_hat"},
        ),
        Mistake(
            "betas_inverted",
            "You keep the share 1 - b of the old mean. The old mean keeps the share b, and the "
            "new gradient gets 1 - b.",
            {
                "b1 * m + (1 - b1) * g": "(1 - b1) * m + b1 * g",
                "b2 * v + (1 - b2) * g * g": "(1 - b2) * v + b2 * g * g",
            },
        ),
        Mistake(
            "sums",
            "These are sums and no means: the new gradient counts 1 - b.",
            {"(1 - b1) * g": "g", "(1 - b2) * g * g": "g * g"},
        ),
        Mistake(
            "decay_divided",
            "The decay is divided by sqrt(v_hat), too. Decoupled means that it is not.",
            {
                "    p = p - lr * m_hat": "    m_hat = m_hat + wd * p\n    p = p - lr * m_hat",
                " - lr * wd * p": "",
            },
        ),
        Mistake(
            "one_correction",
            "Only one of the two means is corrected for its start at zero.",
            {"    p = p - lr * m_hat": "    v_hat = v\n    p = p - lr * m_hat"},
            {"    p = p - lr * m_hat": "    m_hat = m\n    p = p - lr * m_hat"},
        ),
        Mistake(
            "no_lr",
            "The step is not multiplied by lr.",
            {"    p = p - lr * m_hat": "    m_hat = m_hat / lr\n    p = p - lr * m_hat"},
        ),
        Mistake(
            "decay_after",
            "You decay the weight after the step. The decay is a share of the weight *before* it.",
            {
                " - lr * wd * p": "",
                "    return p, m, v": "    p = p - lr * wd * p\n    return p, m, v",
            },
        ),
        Mistake(
            "other_correction",
            "Each mean is corrected with its *own* beta: m lacks a factor 1 - b1**t, and v one of "
            "1 - b2**t.",
            *(
                {_CORRECTION: f"    m_hat = m / (1 - {x}**t)\n    v_hat = v / (1 - {y}**t)"}
                for x, y in (("b1", "b1"), ("b2", "b2"), ("b2", "b1"))
            ),
        ),
        Mistake(
            "old_means_kept",
            "You return the old m and v, so the optimiser never remembers anything.",
            {
                "    m = b1 * m": "    old = m, v\n    m = b1 * m",
                "return p, m, v": "return p, *old",
            },
        ),
        Mistake(
            "correction_inverted",
            "You multiply by 1 - b**t. Divide: the means are too *small* at first.",
            {_CORRECTION: "    m_hat = m * (1 - b1**t)\n    v_hat = v * (1 - b2**t)"},
        ),
        Mistake(
            "square_of_mean",
            "You square the mean of the gradients. v is the mean of the squares: square g itself.",
            {"    v = b2 * v": "    a = m\n    v = b2 * v", "(1 - b2) * g * g": "(1 - b2) * a * a"},
        ),
        Mistake(
            "old_means_used",
            "The step uses the means as they were before this gradient. Update m and v first.",
            {
                "    m = b1 * m": "    before = m, v\n    m = b1 * m",
                "m / (1 - b1**t), v / (1 - b2**t)": (
                    "before[0] / (1 - b1**t), before[1] / (1 - b2**t)"
                ),
            },
        ),
        Mistake(
            "sign_only",
            "You use only the sign of m_hat. Adam divides m_hat by the root of v_hat.",
            {
                "    p = p - lr": "    way = m_hat.sign()\n    p = p - lr",
                "m_hat / (torch.sqrt(v_hat) + eps)": "way",
            },
        ),
        Mistake(
            "absolute_value",
            "v is the mean of the *squares* of the gradient, and not of its absolute values.",
            {
                "    v = b2 * v": "    a = g.abs()\n    v = b2 * v",
                "(1 - b2) * g * g": "(1 - b2) * a",
            },
        ),
        Mistake(
            "no_eps",
            "`eps` is not used. It keeps the step finite where v_hat is 0.",
            {"    m = b1 * m": "    eps = 0.0\n    m = b1 * m"},
        ),
    ],
)
def adamw_step(p, g, m, v, t, lr, b1, b2, eps, wd):
    """One step of AdamW: parameter, gradient and running means in; new p, m and v out."""
    m = b1 * m + (1 - b1) * g  #| running mean of the gradient
    v = b2 * v + (1 - b2) * g * g  #| running mean of its square
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)  #| corrected for the start at zero
    p = p - lr * m_hat / (torch.sqrt(v_hat) + eps) - lr * wd * p  #| step, and decoupled decay
    return p, m, v


_WARMUP = """It goes wrong only in the warm-up. That is a straight line which begins with
max_lr / warmup at step 0 and reaches max_lr at its last step, warmup - 1."""
_COSINE = """It goes wrong only between the warm-up and `total`. There it is half a cosine, from
max_lr at step `warmup` down to min_lr at step `total`, and halfway in the middle."""
_END = "It goes wrong only from step `total` on. From there the rate stays at `min_lr`."
_NO_WARMUP = """It goes wrong only where `warmup` is 0. Then step 0 already stands at the top of the
cosine, and nothing may be divided by `warmup`."""


@define(
    level=1,
    minutes=10,
    meta=False,
    task="""Write the schedule of the learning rate from memory: linear warm-up to `max_lr` in
    `warmup` steps (step 0 has `max_lr / warmup`; with `warmup` = 0 there is none), then half a
    cosine down to `min_lr` at step `total`, and `min_lr` ever after.""",
    hints=[
        "Three phases, and the cosine needs a number that goes from 0 to 1 between warmup and "
        "total.",
        "cos goes from 1 to -1 while its argument goes from 0 to pi. 0.5 * (1 + cos) goes 1 to 0.",
    ],
    insight="Plot a schedule before you train with it: a wrong one costs hours and never crashes.",
    probes=lambda: [
        *(edge("warmup", _WARMUP, *a) for a in [(0, 10, 110, 1.0, 0.1), (4, 10, 110, 0.5, 0.1)]),
        *(edge("warmup", _WARMUP, *a) for a in [(9, 10, 110, 1.0, 0.1), (0, 5, 45, 2.0, 0.6)]),
        *(edge("cosine", _COSINE, *a) for a in [(10, 10, 110, 1.0, 0.1), (35, 10, 110, 1.0, 0.1)]),
        *(edge("cosine", _COSINE, *a) for a in [(60, 10, 110, 3e-3, 3e-4), (109, 10, 110, 1, 0.1)]),
        *(edge("cosine", _COSINE, *a) for a in [(15, 5, 45, 2.0, 0.4), (44, 5, 45, 2.0, 0.4)]),
        *(edge("end", _END, *a) for a in [(110, 10, 110, 1.0, 0.1), (150, 10, 110, 1.0, 0.1)]),
        *(
            edge("without_warmup", _NO_WARMUP, *a)
            for a in [(0, 0, 5, 2.0, 0.5), (0, 0, 9, 1.0, 0.2)]
        ),
    ],
    mistakes=[
        Mistake(
            "zero_first",
            "At step 0 the learning rate is 0, so the first batch is wasted: (step + 1) / warmup.",
            {"(step + 1) / warmup": "step / warmup"},
        ),
        Mistake(
            "no_end",
            "After `total` steps the cosine climbs again. Stay at `min_lr`.",
            {"    if step >= total:\n        return min_lr\n": ""},
        ),
        Mistake(
            "zero_end",
            "After `total` steps you return 0. It stays at `min_lr`.",
            {"        return min_lr\n": "        return 0.0\n"},
        ),
        Mistake(
            "progress_from_zero",
            "Progress must be 0 where the warm-up ends, or the schedule jumps there: "
            "(step - warmup) / (total - warmup).",
            {"(step - warmup) / (total - warmup)": "step / total"},
            {"(step - warmup) / (total - warmup)": "step / (total - warmup)"},
        ),
        Mistake(
            "min_added",
            "You add `min_lr` on top, so the peak is max_lr + min_lr. Only the difference between "
            "the two swings.",
            {"(max_lr - min_lr)": "max_lr"},
        ),
        Mistake(
            "min_ignored",
            "The cosine goes down to 0 and not to `min_lr`. (Cutting it off at `min_lr` is no "
            "cure: it must swing between max_lr and min_lr.)",
            {"min_lr + 0.5 * (max_lr - min_lr)": "0.5 * max_lr"},
            {
                "min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))": (
                    "max(min_lr, 0.5 * max_lr * (1 + math.cos(math.pi * progress)))"
                )
            },
        ),
        Mistake(
            "half_swing",
            "The cosine of 0 to pi/2 alone is not half a wave: it starts flat and ends steep. Use "
            "0.5 * (1 + cos(pi * progress)).",
            {
                "0.5 * (max_lr - min_lr) * "
                "(1 + math.cos(math.pi * "
                "progress))": "(max_lr - min_lr) * math.cos(math.pi / 2 * progress)"
            },
        ),
        Mistake(
            "upside_down",
            "The schedule goes up: the cosine has the wrong sign.",
            {"(1 + math.cos": "(1 - math.cos"},
        ),
        Mistake(
            "linear",
            "It falls in a straight line. A cosine leaves the top slowly and arrives slowly.",
            {
                "0.5 * (max_lr - min_lr) * (1 + "
                "math.cos(math.pi * progress))": "(max_lr - min_lr) * (1 - progress)"
            },
        ),
        Mistake(
            "no_warmup",
            "There is no warm-up: the early steps already have the full learning rate.",
            {"max_lr * (step + 1) / warmup": "max_lr"},
        ),
        Mistake(
            "from_min",
            "Your warm-up starts from `min_lr`. It is a straight line from 0.",
            {"max_lr * (step + 1) / warmup": "min_lr + (max_lr - min_lr) * (step + 1) / warmup"},
        ),
        Mistake(
            "full_wave",
            "A whole cosine comes back up. Half of one, 0 to pi, ends at the bottom.",
            {"math.pi * progress": "2 * math.pi * progress"},
        ),
        Mistake(
            "no_half",
            "The factor 0.5 is missing: 1 + cos goes from 2 to 0.",
            {"0.5 * (max_lr": "(max_lr"},
        ),
        Mistake(
            "no_pi",
            "The cosine gets `progress` alone, from 0 to 1. Its argument goes from 0 to pi.",
            {"math.pi * progress": "progress"},
        ),
        Mistake(
            "warmup_plus_one",
            "The warm-up does not reach `max_lr`: divide by `warmup`.",
            {"(step + 1) / warmup": "(step + 1) / (warmup + 1)"},
        ),
        Mistake(
            "never_one",
            "Progress never reaches 1, so at `total` the rate jumps down to min_lr. Between the "
            "end of the warm-up and `total` there are total - warmup steps: divide by that.",
            {"(step - warmup) / (total - warmup)": "(step - warmup) / total"},
            {"(step - warmup) / (total - warmup)": "(step - warmup) / (total + warmup)"},
        ),
        Mistake(
            "progress_off_by_one",
            "Progress is one step off: it is exactly 0 at step `warmup` and exactly 1 at step "
            "`total`.",
            {"(step - warmup) / (total - warmup)": "(step + 1 - warmup) / (total - warmup)"},
            {"(step - warmup) / (total - warmup)": "(step - warmup) / (total - 1 - warmup)"},
            {"(step - warmup) / (total - warmup)": "(step - warmup) / (total + 1 - warmup)"},
            {"(step - warmup) / (total - warmup)": "(step + 1 - warmup) / (total + 1 - warmup)"},
        ),
        Mistake(
            "warmup_too_long",
            "The warm-up lasts one step too long and rises above `max_lr`: with steps counted from "
            "0 it is over at step `warmup`.",
            {"step < warmup": "step <= warmup"},
            lambda step, warmup, *rest: (
                rest[1] * (step + 1) / warmup
                if step == warmup != 0
                else my_lr_at(step, warmup, *rest)
            ),
        ),
        Mistake(
            "exponential",
            "You let it fall by a constant factor per step. Here it is half a cosine.",
            {
                "min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))": (
                    "max_lr * (min_lr / max_lr) ** progress"
                ),
            },
        ),
        Mistake(
            "degrees",
            "`math.cos` takes its argument in radians: half a turn is pi, and not 180.",
            {"math.pi * progress": "180 * progress"},
        ),
        Mistake(
            "warmup_by_total",
            "The warm-up is divided by the wrong number of steps. It reaches `max_lr` after "
            "`warmup` of them.",
            {"(step + 1) / warmup": "(step + 1) / total"},
            {"(step + 1) / warmup": "(step + 1) / (total - warmup)"},
        ),
        Mistake(
            "min_at_least",
            "In the warm-up you do not let the rate fall below `min_lr`. The line starts near 0.",
            {"max_lr * (step + 1) / warmup": "max(min_lr, max_lr * (step + 1) / warmup)"},
        ),
        Mistake(
            "swapped_ends",
            "`max_lr` and `min_lr` have changed places.",
            lambda step, warmup, total, max_lr, min_lr: my_lr_at(
                step, warmup, total, min_lr, max_lr
            ),
        ),
    ],
)
def my_lr_at(step, warmup, total, max_lr, min_lr):
    """Learning rate of a step counted from 0: linear warm-up, half a cosine, then min_lr."""
    if step < warmup:
        return max_lr * (step + 1) / warmup  #| linear warm-up, never 0
    if step >= total:
        return min_lr
    progress = (step - warmup) / (total - warmup)  #| 0 after the warm-up, 1 at total
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))  #| the cosine


_LONG = """Gradients that are short enough come out right, and those that are too long do not. All
of them are multiplied by one factor, max_norm divided by their joint norm."""
_SHORT = "It goes wrong only where the gradients are short enough. Then they stay as they are."


@define(
    level=2,
    minutes=5,
    gradient=False,
    task="""Clip a list of gradients: if their joint norm (all numbers of all tensors as one long
    vector) exceeds `max_norm`, scale all of them by one factor so that it becomes `max_norm`.
    Return a new list; small gradients stay as they are.""",
    hints=[
        "Imagine all gradients glued together into one long vector. What is its length?",
        "The root of the sum of all squares. Then scale = max_norm / total, but never above 1.",
    ],
    insight="Clipping keeps the direction and limits the length of a step: a seat belt, not a "
    "brake.",
    probes=lambda: [
        edge("long", _LONG, [wave(2, 3, scale=3), wave(4, phase=1, scale=2)], 1.0),
        edge("long", _LONG, [wave(3, scale=30), wave(2, 2, phase=1, scale=20)], 2.0),
        edge("short", _SHORT, [wave(2, phase=2, scale=0.1), wave(2, 2, scale=0.1)], 1.0),
        edge("short", _SHORT, [wave(3, phase=2), wave(2, 2, phase=3)], 9.0),
        edge("short", _SHORT, [wave(3, phase=2, scale=4), wave(2, 2, phase=3, scale=3)], 9.0),
        edge("long", _LONG, [wave(3, phase=4, scale=5), wave(2, phase=5, scale=0.5), wave(1)], 2.0),
    ],
    mistakes=[
        Mistake(
            "per_tensor",
            "You clip every tensor on its own, which changes the *direction* of the step. One norm "
            "over all of them gives one factor.",
            {"[g * scale for g in grads]": "[g * min(1.0, max_norm / g.norm()) for g in grads]"},
        ),
        Mistake(
            "by_value",
            "You clip single numbers, which changes the direction. Scale everything by one factor.",
            {"[g * scale for g in grads]": "[g.clamp(-max_norm, max_norm) for g in grads]"},
        ),
        Mistake(
            "sum_of_norms",
            "Norms do not add. Add the *squares* and take one root at the end.",
            {"torch.sqrt(sum(g.pow(2).sum() for g in grads))": "sum(g.norm() for g in grads)"},
        ),
        Mistake(
            "always",
            "Gradients that are small enough must stay as they are; you blow them up.",
            {"min(1.0, max_norm / total)": "max_norm / total"},
        ),
        Mistake(
            "no_root",
            "This is the *squared* norm: take the root.",
            {
                "torch.sqrt(sum(g.pow(2).sum() for g in "
                "grads))": "sum(g.pow(2).sum() for g in grads)"
            },
        ),
        Mistake(
            "largest",
            "You take the largest norm of a single tensor. All of them count together.",
            {"torch.sqrt(sum(g.pow(2).sum() for g in grads))": "max(g.norm() for g in grads)"},
        ),
        Mistake(
            "unit",
            "Too long gradients get length 1 and not `max_norm`.",
            {"max_norm / total": "1.0 / total"},
        ),
        Mistake(
            "upside_down",
            "The factor is upside down: max_norm / total.",
            {"max_norm / total": "total / max_norm"},
        ),
        Mistake(
            "unchanged",
            "Nothing is clipped.",
            {"g * scale": "g * 1.0"},
        ),
        Mistake(
            "max",
            "Take the smaller of 1 and max_norm / total, and you take the larger.",
            {"min(1.0,": "max(1.0,"},
        ),
        Mistake(
            "absolute_values",
            "You add up absolute values. The norm is the root of the sum of *squares*.",
            {"torch.sqrt(sum(g.pow(2).sum() for g in grads))": "sum(g.abs().sum() for g in grads)"},
        ),
        Mistake(
            "largest_number",
            "You take the largest single number. The norm counts all of them.",
            {"torch.sqrt(sum(g.pow(2).sum() for g in grads))": "max(g.abs().max() for g in grads)"},
        ),
        Mistake(
            "mean_square",
            "You take the root of the *mean* square. The length of a vector is the root of the "
            "sum.",
            {
                "torch.sqrt(sum(g.pow(2).sum() for g in grads))": (
                    "(sum(g.pow(2).sum() for g in grads) / sum(g.numel() for g in grads)).sqrt()"
                ),
            },
        ),
        Mistake(
            "mean_of_norms",
            "You take the mean of the single norms. One norm counts all numbers of all tensors.",
            {
                "torch.sqrt(sum(g.pow(2).sum() for g in grads))": (
                    "sum(g.norm() for g in grads) / len(grads)"
                ),
            },
        ),
        Mistake(
            "only_the_long",
            "You scale only the tensors that are too long themselves. One factor scales all of "
            "them.",
            {
                "[g * scale for g in grads]": "[g * scale if g.norm() > max_norm else g for g in "
                "grads]"
            },
        ),
        Mistake(
            "root_of_factor",
            "You scale by the root of the factor. The length goes with the factor itself.",
            {"min(1.0, max_norm / total)": "min(1.0, max_norm / total) ** 0.5"},
            {"min(1.0, max_norm / total)": "min(1.0, max_norm / total) ** 2"},
        ),
        Mistake(
            "zeroed",
            "Gradients that are too long become 0. They are shortened, and keep their direction.",
            {"min(1.0, max_norm / total)": "float(total <= max_norm)"},
        ),
    ],
)
def my_clip_gradients(grads, max_norm):
    """Scale a list of tensors together so that their joint norm is at most max_norm."""
    total = torch.sqrt(sum(g.pow(2).sum() for g in grads))  #| norm of all gradients together
    scale = min(1.0, max_norm / total)  #| 1 where they are small enough
    return [g * scale for g in grads]


@define(
    level=2,
    minutes=5,
    gradient=False,
    task="""Get the gradient of one big batch from equally large micro-batches: `g` is the
    gradient of the *mean* squared error on one of them. Combine them so that the result is the
    gradient of the mean over all examples.""",
    hints=[
        "The mean of all examples is the mean of the means of equally large groups.",
        "How many groups are there? `len(xs)`.",
    ],
    insight="A batch of 512 on a small GPU: the same gradient to the last digits, more time, no "
    "more memory.",
    probes=lambda: [
        (
            wave(2, 1),
            [wave(4, 2, phase=i) for i in range(3)],
            [wave(4, 1, phase=i + 5) for i in range(3)],
        ),
        (
            wave(3, 1, phase=1),
            [wave(2, 3, phase=i) for i in range(4)],
            [wave(2, 1, phase=i + 7) for i in range(4)],
        ),
    ],
    mistakes=[
        Mistake(
            "sum",
            "You add the gradients up. Divide by their number, or the step grows with it.",
            {"total + g / len(xs)": "total + g"},
        ),
        Mistake(
            "last_only",
            "Only the last micro-batch is left: add to `total` and do not replace it.",
            {"total + g / len(xs)": "g / len(xs)"},
            {"total + g / len(xs)": "g"},
        ),
        Mistake(
            "moving_target",
            "You change w inside the loop. All micro-batches must be measured at the *same* "
            "weights.",
            {"total = total + g / len(xs)": "total = total + g / len(xs)\n        w = w - 0.1 * g"},
        ),
        Mistake(
            "wrong_count",
            "You divide by the number of examples in a micro-batch, which the mean inside g has "
            "done already. Divide by the number of micro-batches.",
            {"len(xs)": "len(x)"},
        ),
        Mistake(
            "both_counts",
            "You divide by the number of all examples. The mean inside g has divided by the size "
            "of a micro-batch already.",
            {"len(xs)": "(len(xs) * len(x))"},
        ),
        Mistake(
            "running_average",
            "A running average weights the last micro-batch most. All count alike.",
            {"total + g / len(xs)": "(total + g) / 2"},
        ),
        Mistake(
            "first_only",
            "Only the first micro-batch is used.",
            {"        total = total + g / len(xs)": "        total = total + g\n        break"},
            {
                "        total = total + g / len(xs)": (
                    "        total = total + g / len(xs)\n        break"
                ),
            },
        ),
        Mistake(
            "divided_each_time",
            "You divide the total in every round, so the first micro-batches fade. Divide each "
            "gradient once, or the total at the end.",
            {
                "        total = total + g / len(xs)": (
                    "        total = total + g\n        total = total / len(xs)"
                ),
            },
        ),
        Mistake(
            "no_inner_mean",
            "`g` must be the gradient of the *mean* over its micro-batch: its division by the "
            "number of rows is missing.",
            {
                "    total = torch.zeros_like(w)": (
                    "    rows = len(xs[0])\n    total = torch.zeros_like(w)"
                ),
                "total + g / len(xs)": "total + g * rows / len(xs)",
            },
        ),
        Mistake(
            "two_missing",
            "The derivative of a square has a factor 2. It is missing or too much.",
            lambda w, xs, ys: accumulated_gradient(w, xs, ys) / 2,
            lambda w, xs, ys: accumulated_gradient(w, xs, ys) * 2,
        ),
        Mistake(
            "subtracted",
            "You subtract the gradients from `total`. Add them; walking downhill comes later.",
            lambda w, xs, ys: -accumulated_gradient(w, xs, ys),
        ),
        Mistake(
            "weights",
            "These are new weights. The gradient is asked for, and the optimiser takes the step.",
            lambda w, xs, ys: w - accumulated_gradient(w, xs, ys),
        ),
        Mistake(
            "one_too_few",
            "One micro-batch is missing.",
            lambda w, xs, ys: accumulated_gradient(w, xs[1:], ys[1:]),
            lambda w, xs, ys: accumulated_gradient(w, xs[:-1], ys[:-1]),
            lambda w, xs, ys: accumulated_gradient(w, xs[1:], ys[1:]) * (len(xs) - 1) / len(xs),
            lambda w, xs, ys: accumulated_gradient(w, xs[:-1], ys[:-1]) * (len(xs) - 1) / len(xs),
        ),
    ],
)
def accumulated_gradient(w, xs, ys):
    """Gradient of the mean squared error over all micro-batches: w (d, 1) -> (d, 1)."""
    total = torch.zeros_like(w)
    for x, y in zip(xs, ys):
        g = 2 * x.T @ (x @ w - y) / len(x)  # of the mean over this micro-batch
        total = total + g / len(xs)  #| in the end: as from one big batch
    return total


@define(
    level=1,
    minutes=5,
    meta=False,
    task="""GPT-2 starts its matrices with standard deviation 0.02, and those that write to the
    residual stream with less. Each of `n_layer` blocks writes twice. Return the standard
    deviation that keeps the size of the stream independent of depth.""",
    hints=[
        "n independent terms of variance s^2 add up to a variance of n s^2.",
        "How many writers are there, and what must each one's *standard deviation* be divided by?",
    ],
    insight="The stream has the same size at layer 1 and at layer 48, so the same learning rate "
    "works.",
    probes=lambda: [(1,), (12,), (48,), (3,)],
    mistakes=[
        Mistake(
            "one_per_block",
            "Each block writes *twice*, attention and MLP: there are 2 * n_layer terms.",
            {"2 * n_layer": "n_layer"},
        ),
        Mistake(
            "no_root",
            "Variances add, standard deviations do not: divide by the *root* of the number of "
            "terms.",
            {"math.sqrt(2 * n_layer)": "(2 * n_layer)"},
        ),
        Mistake(
            "multiplied",
            "The weights grow with depth. They must shrink.",
            {"0.02 / math": "0.02 * math"},
        ),
        Mistake(
            "constant",
            "With 0.02 at every depth the stream grows with the root of the depth.",
            {" / math.sqrt(2 * n_layer)": ""},
        ),
        Mistake(
            "two_outside",
            "You divide by twice the root of n_layer. The 2 belongs under the root, with n_layer: "
            "a block has two writers (and not four).",
            {"math.sqrt(2 * n_layer)": "(2 * math.sqrt(n_layer))"},
        ),
        Mistake(
            "root_of_all",
            "You take the root of the whole fraction. Only the number of writers stands under it: "
            "0.02 is a standard deviation already.",
            {"0.02 / math.sqrt(2 * n_layer)": "math.sqrt(0.02 / (2 * n_layer))"},
            {"0.02 / math.sqrt(2 * n_layer)": "math.sqrt(0.02 / n_layer)"},
        ),
        Mistake(
            "variance",
            "This is the variance. Its root is the standard deviation.",
            {"0.02 / math.sqrt(2 * n_layer)": "0.02**2 / (2 * n_layer)"},
        ),
        Mistake(
            "no_base",
            "The 0.02 that GPT-2 starts from is missing.",
            {"0.02 /": "1 /"},
        ),
        Mistake(
            "added",
            "Each of n_layer blocks writes twice: multiply by 2, do not add it.",
            {"2 * n_layer": "(2 + n_layer)"},
        ),
        Mistake(
            "layers_outside",
            "The root covers the 2 alone. `n_layer` stands under it, too: sqrt(2 * n_layer). And "
            "what comes behind a division needs brackets to be part of it.",
            {"0.02 / math.sqrt(2 * n_layer)": "0.02 / math.sqrt(2) * n_layer"},
            {"0.02 / math.sqrt(2 * n_layer)": "0.02 / math.sqrt(2) / n_layer"},
        ),
        Mistake(
            "whole_root",
            "You cut the root to a whole number. Standard deviations are no integers: `math.sqrt`.",
            {"math.sqrt(": "math.isqrt("},
        ),
        Mistake(
            "squared",
            "You divide by the square of the number of writers. It is the root that is needed.",
            {"math.sqrt(2 * n_layer)": "(2 * n_layer) ** 2"},
        ),
        Mistake(
            "off_by_one",
            "You count one writer too many or too few. n_layer blocks write 2 * n_layer times.",
            {"2 * n_layer": "2 * n_layer + 1"},
            {"2 * n_layer": "2 * n_layer - 1"},
        ),
    ],
)
def residual_init_std(n_layer):
    """Standard deviation at the start for matrices that write to the residual stream."""
    return 0.02 / math.sqrt(2 * n_layer)  #| less, the more writers there are


@prediction(
    "A single weight has gradient 0.001 in the first step of Adam (lr = 0.01, eps = 1e-8, no "
    "weight decay). By how much does it move?",
    why="m_hat is the gradient, and the root of v_hat is its absolute value: their ratio is 1 "
    "whatever the gradient. The first step of Adam moves every weight by the learning rate.",
    tolerance=0.02,
)
def first_step_of_adam():
    p, zero = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    p, _, _ = adamw_step(p, torch.full_like(p, 0.001), zero, zero, 1, 0.01, 0.9, 0.999, 1e-8, 0.0)
    return round(abs(p.item()), 5)


@prediction(
    "The learning rate warms up for 100 steps to 0.001 and falls by half a cosine to 0.0001 at "
    "step 1,100. What is it at step 600?",
    why="Step 600 is halfway, where the cosine is 0: the mean of both ends. Before the middle it "
    "is above the straight line, behind it below.",
    tolerance=0.03,
)
def halfway_down_the_cosine():
    return round(my_lr_at(600, 100, 1100, 1e-3, 1e-4), 6)


question(
    "training.zero_grad",
    "You forget `optimizer.zero_grad()` in the training loop. What happens?",
    ("Nothing: `backward` overwrites the old gradients.", False,
     "`backward` *adds* to `.grad`. That is what makes gradient accumulation possible."),
    ("An error in the second step.", False,
     "No error, and that is the trouble."),
    ("Each step uses the sum of all gradients so far.", True,
     "Gradients pile up in `.grad`, so every step is dominated by where the weights were long ago. "
     "The loss falls at first, which hides the bug."),
    ("The model does not learn at all.", False,
     "It learns, badly: the first steps are nearly right."),
)  # fmt: skip

question(
    "training.resume",
    "You resume a run from a checkpoint that holds the weights only. What differs from the run "
    "that was never interrupted?",
    ("Adam's means start again at zero, the schedule and the order of the data, too.", True,
     "A run's state is the weights, the optimiser's m, v and t, the position in the schedule "
     "and in the data, and the random state. With all of them the resumed run is the same to "
     "the last bit."),
    ("Nothing: the weights are the model.", False,
     "The *model* is the same, but training continues from other things, too."),
    ("Only the order of the batches.", False,
     "That, too, but Adam without its means takes very different steps at first."),
    ("The loss starts again at ln V.", False,
     "The weights were saved, so the loss continues about where it was."),
)  # fmt: skip

question(
    "training.batch_of_pieces",
    "Eight micro-batches of 16 rows, with `loss = mean over the rows` in each and `backward` on "
    "each. By what must each loss be divided for the gradient of the batch of 128?",
    ("128", False, "The mean over 16 rows has divided by 16 already."),
    ("16", False, "That division is in the mean. What is missing is the number of micro-batches."),
    ("1", False, "Then the gradient is eight times too large."),
    ("8", True, "The mean of eight means of equal size is the mean over all 128 rows."),
    truth=lambda: 128 // 16,
)  # fmt: skip

parsons(
    "training.step",
    "These lines are the body of a training loop. Put them in order.",
    lines=[
        "x, y = next(batches)",
        "logits = model(x)",
        "loss = lm_loss(logits, y)",
        "optimizer.zero_grad()",
        "loss.backward()",
        "clip_gradients(model.parameters(), max_norm=1.0)",
        "optimizer.step()",
    ],
    rules=[
        (lambda at: at[0] < at[1], "The model needs `x` before it can compute `logits`."),
        (lambda at: at[1] < at[2], "The loss is computed from the logits, so they come first."),
        (lambda at: at[2] < at[4], "`loss.backward()` needs a loss."),
        (lambda at: at[4] < at[6],
         "The step uses the gradients, which `backward` makes. Before it there are none, or old "
         "ones."),
        (lambda at: at[3] < at[4] or at[3] > at[6],
         "Between `backward` and `step`, `zero_grad` throws away the gradients that were just "
         "made."),
        (lambda at: at[4] < at[5] < at[6],
         "Clipping changes gradients: they must exist, and the step must not have used them yet."),
    ],
    shuffled=(4, 1, 6, 0, 3, 5, 2),
)  # fmt: skip
