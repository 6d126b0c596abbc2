"""Exercises of chapter 6: from logits to a choice, and the cache of keys and values."""

import math

import torch

from course_lib.grading import Mistake, define, edge, mixed, prediction, question, wave, whole

_LOGITS = [2.0, -0.5, 0.25, 3.0, -2.5]


_HEAT = """At temperature 1 it is right, and at others it is not. The temperature divides the logits
before the softmax, and is used nowhere else."""


@define(
    level=1,
    minutes=5,
    task="""Turn logits into probabilities at a temperature: below 1 sharper, above 1 flatter. The
    last axis is the vocabulary.""",
    hints=[
        "What should a temperature near 0 give, and what a very large one?",
        "Divide the logits; then the softmax.",
    ],
    insight="Temperature is a knob between a parrot (near 0: always the favourite) and dice (very "
    "large: all alike).",
    probes=lambda: [
        edge("temperature", _HEAT, torch.tensor(_LOGITS), 0.5),
        edge("temperature", _HEAT, torch.tensor([_LOGITS, _LOGITS[::-1]]), 2.0),
        edge("temperature", _HEAT, wave(2, 3, 4, scale=3), 0.1),
        (torch.tensor(_LOGITS), 1.0),
        (wave(2, 3, phase=2, scale=3), 1.0),
    ],
    beyond=lambda: [
        edge(
            "overflow",
            "where logits / temperature is above 88, the exponential overflows and the result is "
            "NaN. Subtract the largest of each row first, which changes nothing else; "
            "`torch.softmax` does that.",
            torch.tensor([120.0, 90.0, -30.0]),
            0.5,
        ),
    ],
    mistakes=[
        Mistake(
            "multiplied",
            "You multiply the logits by the temperature. Divide: below 1 it must get sharper.",
            {"logits / temperature": "logits * temperature"},
        ),
        Mistake(
            "after_softmax",
            "You divide the probabilities, and then they no longer sum to 1. The temperature "
            "acts on the logits, before the softmax.",
            {
                "torch.softmax(logits / "
                "temperature, dim=-1)": "torch.softmax(logits, dim=-1) / temperature"
            },
        ),
        Mistake(
            "ignored",
            "The temperature has no effect: unused, subtracted, or cancelled by the division by "
            "the sum.",
            {"logits / temperature": "logits"},
        ),
        Mistake(
            "softmax_twice",
            "Your numbers went through a softmax twice. Divide the logits, and take one softmax.",
            {"logits / temperature": "torch.softmax(logits, dim=-1) / temperature"},
            {"logits / temperature": "torch.softmax(logits / temperature, dim=-1)"},
        ),
        Mistake(
            "still_logits",
            "These are still logits. Apply the softmax after dividing.",
            {"torch.softmax(logits / temperature, dim=-1)": "logits / temperature"},
        ),
        Mistake(
            "log_probs",
            "These are log-probabilities, and probabilities are asked for.",
            {"torch.softmax": "torch.log_softmax"},
        ),
        Mistake(
            "wrong_axis",
            "The softmax runs along the first axis. The vocabulary is the last one.",
            {"dim=-1": "dim=0"},
        ),
        Mistake(
            "power",
            "You raise the probabilities to a power and leave them like that. It is the right idea "
            "(with 1 / temperature), but they must sum to 1 again.",
            {
                "torch.softmax(logits / "
                "temperature, dim=-1)": "torch.softmax(logits, dim=-1) ** (1 / temperature)"
            },
        ),
        Mistake(
            "sign",
            "The logits have the wrong sign: the least likely token comes first.",
            {"logits / temperature": "-logits / temperature"},
        ),
        Mistake(
            "not_normalised",
            "You took the exponential only. Probabilities sum to 1: divide by the sum, or use "
            "softmax.",
            {"torch.softmax(logits / temperature, dim=-1)": "torch.exp(logits / temperature)"},
        ),
        Mistake(
            "sum_of_all",
            "You divide by the sum over all rows together. Every row is a distribution of its own: "
            "add up along the last axis, and keep it.",
            lambda logits, temperature: (e := torch.exp(logits / temperature)) / e.sum(),
        ),
        Mistake(
            "largest_is_one",
            "You divide by the largest number of a row. Divide by the *sum* of the row.",
            lambda logits, temperature: (
                (p := with_temperature(logits, temperature)) / p.amax(dim=-1, keepdim=True)
            ),
        ),
        Mistake(
            "squared_temperature",
            "The temperature works twice or with a power. Divide the logits by it once.",
            {"logits / temperature": "logits / temperature**2"},
            {"logits / temperature": "logits / temperature**0.5"},
        ),
        Mistake(
            "shifted",
            "You divide by the temperature plus or minus 1. Divide by the temperature itself.",
            {"logits / temperature": "logits / (1 + temperature)"},
        ),
        Mistake(
            "raw_logits_normalised",
            "You divide the logits by their sum. Logits may be negative: first the exponential, "
            "then the sum.",
            lambda logits, temperature: (z := logits / temperature) / z.sum(dim=-1, keepdim=True),
            lambda logits, temperature: logits / logits.sum(dim=-1, keepdim=True) / temperature,
        ),
        Mistake(
            "favourite",
            "All probability goes to the favourite, whatever the temperature.",
            lambda logits, temperature: (logits == logits.amax(dim=-1, keepdim=True)).float(),
        ),
    ],
)
def with_temperature(logits, temperature):
    """Probabilities at a temperature: (..., V) -> (..., V)."""
    return torch.softmax(logits / temperature, dim=-1)  #| probabilities


_EACH_ROW = """For one distribution it is right, and for several rows it is not. Every row has its
own k largest logits: work along the last axis, and keep it."""


@define(
    level=1,
    minutes=5,
    task="""Keep the `k` largest logits of each row and set all others to -inf, so that they can
    never be drawn. The last axis is the vocabulary; no two logits of a row are equal, and `k`
    is at most their number.""",
    hints=[
        "What is the smallest logit that stays? `torch.topk(logits, k).values` is sorted.",
        "Keep the axis when you pick it, `[..., -1:]`, so that it compares with every row.",
    ],
    insight='top-k uses the same k after "The capital of France is" and after "My name is". '
    "That is its weakness, and why top-p exists.",
    probes=lambda: [
        (torch.tensor(_LOGITS), 2),
        edge("rows", _EACH_ROW, torch.tensor([_LOGITS, _LOGITS[::-1]]), 3),
        edge("rows", _EACH_ROW, wave(2, 6, phase=1, scale=2), 1),
        edge("rows", _EACH_ROW, wave(2, 2, 5, phase=1, scale=2), 2),
        (wave(6, phase=1, scale=2), 3),
        (torch.tensor(_LOGITS), 5),
    ],
    mistakes=[
        Mistake(
            "zero",
            "Rejected logits are set to 0. The exponential of 0 is 1, so they can still be drawn.",
            {'float("-inf")': "0.0"},
        ),
        Mistake(
            "one_too_few",
            "The k-th token itself must stay: reject with `<`, or keep with `>=`.",
            {"logits < kth": "logits <= kth"},
        ),
        Mistake(
            "smallest",
            "You keep the k *smallest* logits.",
            {
                "torch.topk(logits, k)": "torch.topk(logits, k, largest=False)",
                "logits < kth": "logits > kth",
            },
        ),
        Mistake(
            "inverted",
            "You reject the best ones and keep the rest.",
            {"logits < kth": "logits >= kth"},
        ),
        Mistake(
            "one_for_all",
            "One threshold serves all rows. Each row has its own k-th logit.",
            {
                "torch.topk(logits, k).values[..., "
                "-1:]": "torch.topk(logits, k).values[..., -1].min()"
            },
            {
                "torch.topk(logits, k).values[..., "
                "-1:]": "torch.topk(logits, k).values[..., -1].max()"
            },
            {
                "torch.topk(logits, k).values[..., -1:]": (
                    "torch.topk(logits.flatten(), k).values[-1]"
                )
            },
        ),
        Mistake(
            "best_only",
            "Only the best token is left: compare with the k-th value and not with the first.",
            {"values[..., -1:]": "values[..., :1]"},
        ),
        Mistake(
            "values_only",
            "You return the k largest values alone. Each logit must keep its place in the "
            "vocabulary.",
            {'logits.masked_fill(logits < kth, float("-inf"))': "torch.topk(logits, k).values"},
        ),
        Mistake(
            "one_too_many",
            "One token too many stays.",
            {"torch.topk(logits, k)": "torch.topk(logits, min(k + 1, logits.size(-1)))"},
        ),
        Mistake(
            "probabilities",
            "You took the softmax, too. Logits are asked for.",
            {
                'logits.masked_fill(logits < kth, float("-inf"))': (
                    'torch.softmax(logits.masked_fill(logits < kth, float("-inf")), dim=-1)'
                ),
            },
        ),
        Mistake(
            "sorted",
            "Your logits are sorted. Each must keep its place in the vocabulary.",
            {
                'logits.masked_fill(logits < kth, float("-inf"))': (
                    'logits.masked_fill(logits < kth, float("-inf")).sort(dim=-1, '
                    "descending=True).values"
                ),
            },
        ),
        Mistake(
            "indices",
            "You return the places of the k largest logits. The logits themselves are asked for, "
            "all V of them, with -inf where one is rejected.",
            lambda logits, k: torch.topk(logits, k).indices,
        ),
        Mistake(
            "mask",
            "You return which tokens stay, as True and False or 1 and 0. Put the logits there, and "
            "-inf at the others.",
            lambda logits, k: logits >= torch.topk(logits, k).values[..., -1:],
            lambda logits, k: (logits >= torch.topk(logits, k).values[..., -1:]).float(),
            lambda logits, k: logits < torch.topk(logits, k).values[..., -1:],
        ),
        Mistake(
            "first_k",
            "You keep the first k of the vocabulary. Keep the k *largest* logits.",
            lambda logits, k: logits.masked_fill(torch.arange(logits.size(-1)) >= k, -math.inf),
        ),
        Mistake(
            "plus_infinity",
            "Rejected logits become +inf, which makes them certain. It is -inf whose exponential "
            "is 0.",
            {'float("-inf")': 'float("inf")'},
        ),
        Mistake(
            "k_as_threshold",
            "You compare the logits with the number k. Compare them with the k-th largest logit.",
            lambda logits, k: logits.masked_fill(logits < k, -math.inf),
        ),
        Mistake(
            "zeroed_by_product",
            "You multiply by a mask, so what is rejected becomes 0 or NaN. Use `masked_fill` or "
            "`torch.where` with -inf.",
            lambda logits, k: (
                logits
                * torch.where(logits < torch.topk(logits, k).values[..., -1:], -math.inf, 1.0)
            ),
        ),
    ],
)
def my_top_k(logits, k):
    """Everything but the k largest logits of each row becomes -inf: (..., V) -> (..., V)."""
    kth = torch.topk(logits, k).values[..., -1:]  #| the smallest logit that stays, (..., 1)
    return logits.masked_fill(logits < kth, float("-inf"))  #| forbid the others


_REACHED = """It goes wrong only where some tokens reach p *exactly*. Then the set is complete, and
the next token does not belong to it: a token stays if the sum before it is smaller than p."""


def _kept_sum(probs, p):
    return probs[nucleus(probs, p) > 0].sum()


@define(
    level=3,
    minutes=15,
    task="""Nucleus sampling: keep the smallest set of most likely tokens whose probabilities
    together reach `p`, set all others to 0, and let the rest sum to 1 again, in the order of the
    vocabulary. `probs` is one distribution, (V,), without equal numbers, and 0 < p <= 1.""",
    hints=[
        "Sort, add up, cut, put back in place, divide by the sum.",
        "Keep a token if the sum *before* it has not reached p yet.",
        "`torch.zeros_like(probs).scatter(0, order, kept)` undoes the sorting.",
    ],
    insight="When the model is sure, top-p keeps a single token; when it hesitates, hundreds.",
    probes=lambda: [
        (torch.tensor([0.1, 0.5, 0.05, 0.35]), 0.8),
        (torch.tensor([0.06, 0.11, 0.2, 0.24, 0.39]), 0.75),
        (torch.tensor([0.05, 0.15, 0.2, 0.6]), 0.55),
        (torch.tensor([0.3, 0.05, 0.4, 0.25]), 0.9),
        (torch.tensor([0.25, 0.1, 0.45, 0.2]), 1.0),
        (torch.tensor([0.02, 0.9, 0.08]), 0.3),
        (torch.tensor([0.26, 0.32, 0.14, 0.28]), 0.5),
        edge("reached_exactly", _REACHED, torch.tensor([0.1875, 0.3125, 0.5]), 0.5),
        edge("reached_exactly", _REACHED, torch.tensor([0.125, 0.25, 0.0625, 0.5625]), 0.8125),
        (torch.tensor([0.15, 0.3, 0.2, 0.35]), 0.4),
    ],
    mistakes=[
        Mistake(
            "drops_crossing",
            "The token that takes the sum past p is dropped. It belongs to the set: without it, "
            "p is not reached. Look at the sum *before* a token.",
            {"cumulative - sorted_p < p": "cumulative <= p"},
            {"cumulative - sorted_p < p": "cumulative < p"},
        ),
        Mistake(
            "not_normalised",
            "What is left does not sum to 1: divide by its sum.",
            {"kept / kept.sum()": "kept"},
        ),
        Mistake(
            "not_put_back",
            "The result is still sorted, so the probabilities belong to the wrong tokens. Put them "
            "back with the order from the sort.",
            {"torch.zeros_like(probs).scatter(0, order, kept / kept.sum())": "kept / kept.sum()"},
        ),
        Mistake(
            "gather",
            "You put back with the order itself (an index or a gather). That sorts once more; to "
            "*undo* it, write to those places: `scatter`.",
            {
                "torch.zeros_like(probs).scatter(0, order, kept / "
                "kept.sum())": "(kept / kept.sum())[order]"
            },
        ),
        Mistake(
            "ascending",
            "You sort from small to large. The nucleus is made of the *most* likely tokens.",
            {"descending=True": "descending=False"},
        ),
        Mistake(
            "threshold",
            "You compare single probabilities with a threshold. What reaches p is their sum, from "
            "the most likely one down.",
            {"cumulative - sorted_p < p": "sorted_p > 1 - p"},
            {"cumulative - sorted_p < p": "sorted_p >= p"},
            {"cumulative - sorted_p < p": "sorted_p >= 1 - p"},
            {"cumulative - sorted_p < p": "sorted_p >= p * sorted_p[0]"},
        ),
        Mistake(
            "one_more",
            "You keep one token more than it takes.",
            {
                "cumulative - "
                "sorted_p < p": "torch.cat([torch.zeros(2), cumulative])[: len(probs)] < p"
            },
        ),
        Mistake(
            "not_sorted",
            "You add up in the order of the vocabulary. Sort first: the *most likely* tokens "
            "are kept.",
            {
                "    sorted_p, order = torch.sort(probs, descending=True)": (
                    "    sorted_p = probs\n    order = torch.arange(len(probs))"
                ),
            },
        ),
        Mistake(
            "best_only",
            "Only the most likely token is kept.",
            {
                "    kept = sorted_p * (cumulative - sorted_p < p)": (
                    "    kept = sorted_p.clone()\n    kept[1:] = 0"
                ),
            },
        ),
        Mistake(
            "two_orders",
            "Your mask is in sorted order, and the probabilities are not.",
            {
                "    kept = sorted_p *": "    mixed = probs\n    kept = mixed *",
                "torch.zeros_like(probs).scatter(0, order, kept / kept.sum())": "kept / kept.sum()",
            },
        ),
        Mistake(
            "softmax",
            "You took a softmax of probabilities. It flattens them and gives the zeros a chance "
            "again: divide by the sum.",
            lambda probs, p: torch.softmax(nucleus(probs, p), dim=0),
            lambda probs, p: torch.softmax(nucleus(probs, p) * _kept_sum(probs, p), dim=0),
        ),
        Mistake(
            "divided_by_p",
            "You divide by p. The set nearly always holds a little more than p: divide by its own "
            "sum.",
            lambda probs, p: nucleus(probs, p) * _kept_sum(probs, p) / p,
        ),
        Mistake(
            "minus_infinity",
            "Where a token is rejected you put -inf. These are probabilities: impossible is 0.",
            lambda probs, p: (n := nucleus(probs, p)).masked_fill(n == 0, -math.inf),
        ),
        Mistake(
            "mask",
            "You return which tokens stay. Their probabilities are asked for, divided by their "
            "sum.",
            lambda probs, p: nucleus(probs, p) > 0,
        ),
        Mistake(
            "uniform",
            "All that is left is equally likely. The tokens keep their proportions.",
            lambda probs, p: (m := nucleus(probs, p) > 0) / m.sum(),
        ),
        Mistake(
            "the_others",
            "You keep what should go: the unlikely rest.",
            lambda probs, p: (rest := probs * (nucleus(probs, p) == 0)) / rest.sum(),
            {"cumulative - sorted_p < p": "cumulative > p"},
        ),
        Mistake(
            "one_minus_p",
            "Your set reaches 1 - p. It is the tokens kept, and not those left out, that reach p.",
            {"    kept = sorted_p": "    p = 1 - p\n    kept = sorted_p"},
        ),
    ],
)
def nucleus(probs, p):
    """The smallest likely set that reaches p, renormalised: (V,) -> (V,)."""
    sorted_p, order = torch.sort(probs, descending=True)
    cumulative = torch.cumsum(sorted_p, dim=0)
    kept = sorted_p * (cumulative - sorted_p < p)  #| 0 for everything outside the set
    return torch.zeros_like(probs).scatter(0, order, kept / kept.sum())  #| in place, sum 1


_BORDER = """It goes wrong only where u lies exactly between two pieces. A piece contains its left
end and not its right one, or u = 0 could draw a token of probability 0."""
_BORDERS = [([0.0, 0.5, 0.5], 0.0), ([0.5, 0.25, 0.25], 0.5), ([0.25, 0.5, 0.25], 0.75)]


@define(
    level=1,
    minutes=5,
    meta=False,
    task="""Draw a token with a given random number `u` from [0, 1): lay the probabilities end to
    end on a ruler of length 1 and return the index of the piece that contains u. A piece contains
    its left end and not its right one.""",
    hints=[
        "The pieces end at `torch.cumsum(probs, dim=0)`.",
        "How many pieces end at or before u? That number is the index.",
    ],
    insight="All that is creative in a language model is one random number per token.",
    probes=lambda: (
        [(torch.tensor([0.5, 0.3, 0.2]), u) for u in (0.1, 0.45, 0.55, 0.79, 0.81, 0.95)]
        + [edge("border", _BORDER, torch.tensor(probs), u) for probs, u in _BORDERS]
        + [(torch.tensor([0.1, 0.0, 0.2, 0.7]), u) for u in (0.05, 0.15, 0.25, 0.35, 0.99)]
    ),
    mistakes=[
        Mistake(
            "favourite",
            "That is greedy decoding: the same token every time, whatever u is.",
            {"(torch.cumsum(probs, dim=0) <= u).sum()": "probs.argmax()"},
        ),
        Mistake(
            "uniform",
            "You ignore the probabilities: every token is equally likely.",
            {"(torch.cumsum(probs, dim=0) <= u).sum()": "u * len(probs)"},
        ),
        Mistake(
            "no_cumsum",
            "You compare u with single probabilities. The pieces lie end to end, so their ends are "
            "the *cumulative* sums.",
            {"torch.cumsum(probs, dim=0)": "probs"},
            {"(torch.cumsum(probs, dim=0) <= u).sum()": "(probs > u).float().argmax()"},
            {"(torch.cumsum(probs, dim=0) <= u).sum()": "(probs >= u).float().argmax()"},
        ),
        Mistake(
            "one_too_far",
            "You are one piece too far.",
            {
                "(torch.cumsum(probs, dim=0) <= "
                "u).sum()": "((torch.cumsum(probs, dim=0) <= u).sum() + 1)"
            },
        ),
        Mistake(
            "one_too_early",
            "You are one piece too early: the piece that contains u is the first that ends "
            "*behind* u.",
            {
                "(torch.cumsum(probs, dim=0) <= "
                "u).sum()": "((torch.cumsum(probs, dim=0) <= u).sum() - 1)"
            },
        ),
        Mistake(
            "from_the_right",
            "You count the pieces that end behind u. Count those that end at or before it.",
            {"<= u": "> u"},
        ),
        Mistake(
            "sorted",
            "You sorted the probabilities, and the ruler is laid out in the order of the "
            "vocabulary: piece i belongs to token i.",
            lambda probs, u: int(
                (order := probs.argsort(descending=True))[sample(probs[order], u)]
            ),
            lambda probs, u: int((order := probs.argsort())[sample(probs[order], u)]),
            {
                "torch.cumsum(probs, "
                "dim=0)": "torch.cumsum(probs.sort(descending=True).values, dim=0)"
            },
        ),
        Mistake(
            "nearest",
            "You look for what is *nearest* to u, a probability or the end of a piece. u is a "
            "place on the ruler: ask which piece it lies in.",
            {"(torch.cumsum(probs, dim=0) <= u).sum()": "(probs - u).abs().argmin()"},
            {"<= u).sum()": "- u).abs().argmin()"},
        ),
        Mistake(
            "mirrored",
            "You measure from the right end of the ruler. u is measured from 0.",
            {"<= u": "<= 1 - u"},
        ),
        Mistake(
            "first_large_enough",
            "You take the first token that is likely enough by itself. The pieces lie end to end, "
            "so it is the sum up to a token that must go past u.",
            lambda probs, u: next((i for i, p in enumerate(probs.tolist()) if p >= 1 - u), 0),
            lambda probs, u: next(
                (i for i, p in enumerate(probs.tolist()) if u < p), len(probs) - 1
            ),
        ),
        Mistake(
            "never_last",
            "The last token can never be drawn.",
            lambda probs, u: min(sample(probs, u), len(probs) - 2),
        ),
        Mistake(
            "probability",
            "You return a probability or a place on the ruler. The *index* of the token is asked "
            "for.",
            lambda probs, u: probs[sample(probs, u)],
            lambda probs, u: probs.cumsum(0)[sample(probs, u)],
        ),
        Mistake(
            "least_likely",
            "You take the least likely token, whatever u is.",
            lambda probs, u: int(probs.argmin()),
        ),
    ],
)
def sample(probs, u):
    """Index of the token whose piece of [0, 1) contains u: probs (V,) -> int."""
    return int((torch.cumsum(probs, dim=0) <= u).sum())  #| how many pieces end at or before u?


def _next_is_sum(idx):
    """A stand-in for a model: it wants the sum of the first and last token, modulo 7."""
    wanted = (idx.cumsum(dim=1) + 2 * idx[:, :1] + idx.size(1)) % 7
    return -(torch.arange(7) - wanted[..., None]).abs().float()


def _copies_first(idx):
    """A stand-in that looks at the first token that it can see, so cropping shows."""
    wanted = (idx[:, :1] + torch.arange(idx.size(1))) % 5
    return -(torch.arange(5) - wanted[..., None]).abs().float()


def _one_for_all(choose, model, idx, n_new, context_length):
    for _ in range(n_new):
        best = choose(model(idx[:, -context_length:])[:, -1])
        idx = torch.cat([idx, best.expand(len(idx), 1)], dim=1)
    return idx


@define(
    level=2,
    minutes=10,
    meta=False,
    task="""Write greedy decoding: `n_new` times, feed the model at most the *last*
    `context_length` tokens, take the most likely next token of each row, and append it.
    `model(idx)` gives logits (B, T, V).""",
    hints=[
        "Predict, pick, append, repeat.",
        "Which position's logits predict the token that is not there yet?",
        "`argmax(dim=-1, keepdim=True)` gives (B, 1), which can be joined to (B, T).",
    ],
    insight="The model's output becomes its input. Every chatbot is this loop.",
    probes=lambda: [
        (_next_is_sum, whole(2, 3, below=7), 4, 5),
        (_copies_first, whole(1, 2, below=5, phase=1), 5, 3),
        (_copies_first, whole(3, 6, below=5, phase=2), 2, 4),
        (_next_is_sum, whole(2, 2, below=7, phase=5), 2, 9),
        (_copies_first, whole(1, 3, below=5, phase=4), 1, 3),
        edge(
            "nothing_new",
            "It goes wrong only where no new token is asked for: then the text comes back as it "
            "is.",
            _next_is_sum,
            whole(2, 1, below=7, phase=3),
            0,
            4,
        ),
    ],
    mistakes=[
        Mistake(
            "no_crop",
            "The context grows past `context_length`. Feed the last `context_length` tokens only.",
            {"idx[:, -context_length:]": "idx"},
        ),
        Mistake(
            "crops_the_end",
            "You feed the *first* tokens, so the model never sees what it has just written.",
            {"-context_length:": ":context_length"},
        ),
        Mistake(
            "first_logits",
            "You read the logits of the first position. The next token is predicted by the *last*.",
            {"logits[:, -1]": "logits[:, 0]"},
        ),
        Mistake(
            "not_appended",
            "The new token replaces what was there, or is lost. Append it to what there is.",
            {"idx = torch.cat([idx, following], dim=1)": "following = idx"},
            {"torch.cat([idx, following], dim=1)": "following"},
        ),
        Mistake(
            "prepended",
            "The new token comes in front. Text goes on at the end.",
            {"[idx, following]": "[following, idx]"},
        ),
        Mistake(
            "crops_the_result",
            "You crop the text itself, so its beginning is lost. Crop only what the model gets.",
            {
                "logits = "
                "model(idx[:, "
                "-context_length:])": "idx = idx[:, -context_length:]\n        logits = model(idx)"
            },
        ),
        Mistake(
            "least_likely",
            "You take the least likely token.",
            {"argmax": "argmin"},
        ),
        Mistake(
            "one_step",
            "You add one token. Repeat it `n_new` times.",
            {"range(n_new)": "range(min(n_new, 1))"},
        ),
        Mistake(
            "asked_once",
            "You ask the model once, before the loop, and append the same token again and again. "
            "Every new token changes the input: ask anew in each round.",
            {
                "    for _ in range(n_new):\n        logits": "    logits",
                "        following": "    for _ in range(n_new):\n        following",
            },
        ),
        Mistake(
            "only_new",
            "You return the new tokens alone. The prompt belongs to the result.",
            {"return idx": "return idx[:, idx.size(1) - n_new :]"},
        ),
        Mistake(
            "one_too_many",
            "You add one token too many.",
            {"range(n_new)": "range(n_new + 1)"},
        ),
        Mistake(
            "last_only",
            "You feed the last token alone. The model may see the last `context_length` tokens.",
            {"-context_length:": "-1:"},
        ),
        Mistake(
            "crop_short",
            "You feed one token less than the context holds.",
            {"-context_length:": "1 - context_length :"},
        ),
        Mistake(
            "several_at_once",
            "You take n_new candidates for *one* place. The second new token depends on the first: "
            "take one, append it, and ask the model anew.",
            lambda model, idx, n_new, context_length: torch.cat(
                [idx, model(idx[:, -context_length:])[:, -1].topk(n_new, dim=-1).indices], dim=1
            ),
        ),
        Mistake(
            "one_for_all",
            "All rows get the same token. Every row has its own most likely one: `argmax(dim=-1)`.",
            lambda *arguments: _one_for_all(lambda last: last.argmax() % last.size(-1), *arguments),
            lambda *arguments: _one_for_all(lambda last: last[0].argmax(), *arguments),
            lambda *arguments: _one_for_all(lambda last: last.sum(0).argmax(), *arguments),
        ),
        Mistake(
            "all_positions",
            "You append a prediction for every position. Only the last one is new.",
            lambda model, idx, n_new, context_length: torch.cat(
                [idx, model(idx[:, -context_length:]).argmax(dim=-1)[:, -n_new:]], dim=1
            ),
            {"logits[:, -1].argmax(dim=-1, keepdim=True)": "logits.argmax(dim=-1)"},
        ),
        Mistake(
            "second_to_last",
            "You read the logits of the last position but one. They predict a token that is there "
            "already.",
            {"logits[:, -1]": "logits[:, -2 if logits.size(1) > 1 else -1]"},
        ),
        Mistake(
            "one_too_few",
            "One new token is missing.",
            {"range(n_new)": "range(n_new - 1)"},
            {"range(n_new)": "range(1, n_new)"},
        ),
    ],
)
def greedy(model, idx, n_new, context_length):
    """Append the n_new most likely tokens one after the other: (B, T) -> (B, T + n_new)."""
    for _ in range(n_new):
        logits = model(idx[:, -context_length:])  #| what the model may see
        following = logits[:, -1].argmax(dim=-1, keepdim=True)  #| the most likely token, (B, 1)
        idx = torch.cat([idx, following], dim=1)  #| append it
    return idx


_POSITIVE = "Only the seen tokens with a positive logit come out wrong. Divide those by `penalty`."
_NEGATIVE = (
    "Only the seen tokens with a negative logit come out wrong. Multiply those by `penalty`."
)


@define(
    level=2,
    minutes=5,
    meta=False,
    task="""Make every token that was seen already less likely, once, however often it was seen:
    its logit is divided by `penalty` (> 1) where it is positive, and multiplied where it is
    negative. `logits` is (V,), `seen` a list of ids.""",
    hints=[
        "Try a logit of -2 with a penalty of 2. Which of -1 and -4 is less likely?",
        "`torch.where(old > 0, old / penalty, old * penalty)`",
    ],
    insight="A sign error that makes text *more* repetitive, and that no test of shapes can see.",
    probes=lambda: [
        mixed(torch.tensor(_LOGITS), [0, 1], 2.0),
        mixed(torch.tensor(_LOGITS), [2, 1, 2, 4], 3.0),
        edge("positive", _POSITIVE, torch.tensor(_LOGITS), [3, 0], 2.5),
        edge("positive", _POSITIVE, torch.tensor([0.5, 3.0, 1.5]), [0, 2], 1.25),
        edge("negative", _NEGATIVE, torch.tensor(_LOGITS), [1, 4], 2.5),
        edge("negative", _NEGATIVE, torch.tensor([-0.5, -3.0, -1.5]), [1], 1.25),
        mixed(torch.tensor(_LOGITS), [4, 4, 4], 1.5),
        mixed(torch.tensor(_LOGITS), [3, 0, 3], 1.5),
        edge(
            "nothing_seen",
            "It goes wrong only where nothing was seen yet. Then the logits stay as they are.",
            torch.tensor(_LOGITS),
            [],
            1.3,
        ),
    ],
    mistakes=[
        Mistake(
            "divides_all",
            "A *negative* logit divided by the penalty gets larger, so you reward the repetition. "
            "Multiply where it is negative.",
            {"torch.where(old > 0, old / penalty, old * penalty)": "old / penalty"},
        ),
        Mistake(
            "multiplies_all",
            "A *positive* logit times the penalty gets larger. Divide where it is positive.",
            {"torch.where(old > 0, old / penalty, old * penalty)": "old * penalty"},
        ),
        Mistake(
            "swapped",
            "The two cases have changed places: you make every seen token *more* likely.",
            {"old / penalty, old * penalty": "old * penalty, old / penalty"},
        ),
        Mistake(
            "every_token",
            "You penalise every token, seen or not. That is little more than a temperature.",
            {
                "out[seen] = "
                "torch.where(old > 0, "
                "old / penalty, old * "
                "penalty)": "out = torch.where(out > 0, out / penalty, out * penalty)"
            },
        ),
        Mistake(
            "per_occurrence",
            "A token that was seen twice is penalised twice. Here it counts once.",
            {
                "    old = out[seen]\n": "",
                "sorted(set(seen))": "list(seen)",
                "    "
                "out[seen] = torch.where(old > 0, old / penalty, old * penalty)": "    for i in "
                "seen:\n        "
                "out[i] = "
                "out[i] / "
                "penalty if "
                "out[i] > 0 "
                "else out[i] * "
                "penalty",
            },
        ),
        Mistake(
            "subtracts",
            "You subtract the penalty. That exists, too (a presence penalty); this one multiplies.",
            {"torch.where(old > 0, old / penalty, old * penalty)": "old - penalty"},
        ),
        Mistake(
            "forbidden",
            "You forbid what was seen. It becomes less likely, and stays possible.",
            {"    return out": "    out[seen] = -math.inf\n    return out"},
        ),
        Mistake(
            "unseen",
            "You penalise the tokens that were *not* seen.",
            {
                "    return out": (
                    "    out = torch.where(logits > 0, logits / penalty, logits * penalty)\n"
                    "    out[seen] = logits[seen]\n"
                    "    return out"
                ),
            },
        ),
        Mistake(
            "threshold",
            "Whether a logit is divided or multiplied is decided at 0, by its sign.",
            {"old > 0": "old > 1"},
            {"old > 0": "old > penalty"},
            {"old > 0": "old > logits.mean()"},
        ),
        Mistake(
            "only_positive",
            "Only the positive logits of seen tokens become smaller. Multiply the negative ones.",
            {
                "torch.where(old > 0, old / penalty, old * penalty)": (
                    "torch.where(old > 0, old / penalty, old)"
                ),
            },
        ),
        Mistake(
            "only_negative",
            "Only the negative logits of seen tokens become smaller. Divide the positive ones.",
            {
                "torch.where(old > 0, old / penalty, old * penalty)": (
                    "torch.where(old > 0, old, old * penalty)"
                ),
            },
        ),
        Mistake(
            "last_seen",
            "You penalise only one of the seen tokens, the first or the last. All of them count.",
            lambda logits, seen, penalty: my_repetition_penalty(logits, seen[-1:], penalty),
            lambda logits, seen, penalty: my_repetition_penalty(logits, seen[:1], penalty),
        ),
        Mistake(
            "repeated_only",
            "You penalise only what was seen twice. Once is enough.",
            lambda logits, seen, penalty: my_repetition_penalty(
                logits, [i for i in seen if seen.count(i) > 1], penalty
            ),
        ),
        Mistake(
            "sign_lost",
            "A negative logit becomes positive. Multiplying keeps its sign.",
            {
                "torch.where(old > 0, old / penalty, old * penalty)": "old.abs() / penalty",
            },
            {
                "torch.where(old > 0, old / penalty, old * penalty)": (
                    "torch.where(old > 0, old / penalty, -old * penalty)"
                ),
            },
        ),
        Mistake(
            "seen_alone",
            "You return the logits of the seen tokens alone. All V of them are asked for.",
            {"    return out": "    seen_alone = out[seen]\n    return seen_alone"},
        ),
        Mistake(
            "minus_log",
            "You subtract the log of the penalty. Divide a positive logit, multiply a negative "
            "one.",
            {"torch.where(old > 0, old / penalty, old * penalty)": "old - math.log(penalty)"},
        ),
    ],
)
def my_repetition_penalty(logits, seen, penalty):
    """Make seen tokens less likely: logits (V,), ids seen, penalty > 1 -> (V,)."""
    out = logits.clone()
    seen = sorted(set(seen))
    old = out[seen]
    out[seen] = torch.where(old > 0, old / penalty, old * penalty)  #| less likely, all of them
    return out


@define(
    level=2,
    minutes=10,
    task="""One step of decoding with a cache: append the new token's key and value to those of
    the past along time (axis 2), let the new query look at all of them, and return the output and
    the new (keys, values). All are (B, H, T, d); the new ones have T = 1.""",
    hints=[
        "What was computed for the old tokens never changes. What must be added for the new one?",
        "`torch.cat([cache[0], k_new], dim=2)`",
        "There is one query and it is the newest, so there is no future to hide.",
    ],
    insight="The keys and values of the past never change because the past cannot see the future. "
    "It is causality that makes caching possible.",
    probes=lambda: [
        (
            wave(1, 2, 1, 3),
            wave(1, 2, 1, 3, phase=1),
            wave(1, 2, 1, 3, phase=2),
            (wave(1, 2, 4, 3, phase=3), wave(1, 2, 4, 3, phase=4)),
        ),
        (
            wave(2, 1, 1, 2, scale=3),
            wave(2, 1, 1, 2, phase=5),
            wave(2, 1, 1, 2, phase=6),
            (wave(2, 1, 1, 2, phase=7), wave(2, 1, 1, 2, phase=8)),
        ),
    ],
    mistakes=[
        Mistake(
            "old_cache",
            "You return the old cache, so the next step will not know this token.",
            {"@ v, (k, v)": "@ v, cache"},
        ),
        Mistake(
            "past_only",
            "The query looks at the past only. A token sees its own key and value, too.",
            {"q_new @ k.transpose": "q_new @ cache[0].transpose", ") @ v,": ") @ cache[1],"},
        ),
        Mistake(
            "new_only",
            "The query looks at the new token only: the cache is not read.",
            {"q_new @ k.transpose": "q_new @ k_new.transpose", ") @ v,": ") @ v_new,"},
        ),
        Mistake(
            "prepended",
            "The new key and value come in front. The order is time: append them.",
            {"[cache[0], k_new]": "[k_new, cache[0]]", "[cache[1], v_new]": "[v_new, cache[1]]"},
        ),
        Mistake(
            "square_mask",
            "A lower triangle for one query is [1, 0, 0, ...]: it leaves the *first* key only. The "
            "newest query may look at everything.",
            {
                " / math.sqrt(q_new.size(-1))": " / math.sqrt(q_new.size(-1))\n    scores = "
                "scores.masked_fill(torch.ones_like(scores).tril() == 0, -math.inf)"
            },
        ),
        Mistake(
            "no_scale",
            "The scores are not divided by the square root of d.",
            {" / math.sqrt(q_new.size(-1))": ""},
        ),
        Mistake(
            "changed_places",
            "Keys and values have changed places in the cache that you return.",
            {"(k, v)": "(v, k)"},
        ),
        Mistake(
            "new_entries_only",
            "The cache that you return holds the new token only.",
            {"(k, v)": "(k_new, v_new)"},
        ),
        Mistake(
            "scale_wrong",
            "You divide, but not by the square root of d, the number of features of the query.",
            {
                "    scores = q_new @": "    d = k.size(-2)\n    scores = q_new @",
                "q_new.size(-1)": "d",
            },
            {
                "    scores = q_new @": "    d = q_new.size(-1) ** 2\n    scores = q_new @",
                "q_new.size(-1)": "d",
            },
        ),
        Mistake(
            "wrong_dim",
            "The softmax runs along the queries, and there is one. It runs along the keys, "
            "`dim=-1`.",
            {
                "    return torch.softmax(scores, dim=-1)": (
                    "    weights = torch.softmax(scores, dim=-2)\n    return weights"
                ),
            },
        ),
        Mistake(
            "mixes_keys",
            "The weights mix the keys. They mix the values.",
            {
                "    return torch.softmax(scores, dim=-1) @ v": (
                    "    weights = torch.softmax(scores, dim=-1)\n    return weights @ k"
                ),
            },
        ),
        Mistake(
            "flat",
            "You return three things in a row. There are two: the output, and the pair (keys, "
            "values).",
            lambda *arguments: (lambda out, cache: (out, *cache))(*attend_with_cache(*arguments)),
        ),
        Mistake(
            "output_only",
            "You return the output alone. The new cache belongs to it, for the next step.",
            lambda *arguments: attend_with_cache(*arguments)[0],
        ),
        Mistake(
            "no_softmax",
            "There is no softmax: the scores themselves mix the values, and they sum to anything.",
            {
                "    return torch.softmax(scores, dim=-1) @ v": (
                    "    weights = scores\n    return weights @ v"
                ),
            },
        ),
        Mistake(
            "wrong_axis",
            "You join along another axis. Time is axis 2: the new token comes after the old ones.",
            {
                "torch.cat([cache[0], k_new], dim=2)": "torch.cat([cache[0], k_new], dim=1)",
                "torch.cat([cache[1], v_new], dim=2)": "torch.cat([cache[1], v_new], dim=1)",
            },
        ),
        Mistake(
            "values_forgotten",
            "Only the keys are appended. Every token has a value, too.",
            {
                "    v = torch.cat([cache[1], v_new], dim=2)": (
                    "    empty = torch.zeros_like(v_new)\n"
                    "    v = torch.cat([cache[1], empty], dim=2)"
                ),
            },
        ),
        Mistake(
            "multiplied",
            "You multiply by the square root of d. Divide.",
            {
                "    return torch.softmax": (
                    "    scores = scores * q_new.size(-1)\n    return torch.softmax"
                ),
            },
        ),
    ],
)
def attend_with_cache(q_new, k_new, v_new, cache):
    """Attention of one new token: new q, k, v (B, H, 1, d) and the past -> output and new cache."""
    k = torch.cat([cache[0], k_new], dim=2)  #| all keys so far, (B, H, T, d)
    v = torch.cat([cache[1], v_new], dim=2)  #| all values so far
    scores = q_new @ k.transpose(-2, -1) / math.sqrt(q_new.size(-1))  #| one row, (B, H, 1, T)
    return torch.softmax(scores, dim=-1) @ v, (k, v)  #| the output, and the cache for next time


_SIZES = ("n_layer", "n_head", "head_size", "length", "batch", "bytes_per_value")
_FACTOR = """It goes wrong only where `{}` is more than 1. Everything doubles with it: it is one of
the factors, once."""


@define(
    level=1,
    minutes=5,
    meta=False,
    task="""How many bytes does the cache take? Every layer keeps keys and values for each head,
    feature, token and row of the batch.""",
    hints=[
        "Per layer there are two tensors of shape (batch, heads, time, head_size).",
        "Multiply everything; `bytes_per_value` is 2 for float16 and 4 for float32.",
    ],
    insight="GPT-2 small in float16: 37.7 MB for 1,024 tokens. With long contexts it is the cache, "
    "and not the weights, that fills a GPU.",
    probes=lambda: [
        mixed(12, 12, 64, 1024, 1, 2),
        mixed(4, 2, 16, 50, 3, 4),
        mixed(3, 5, 7, 11, 13, 8),
        mixed(2, 3, 5, 7, 2, 1),
        (1, 1, 1, 1, 1, 1),
        *(
            edge(name, _FACTOR.format(name), *(n if i == place else 1 for i in range(6)))
            for place, name in enumerate(_SIZES)
            for n in (3, 8)
        ),
    ],
    mistakes=[
        Mistake(
            "keys_only",
            "You count one tensor per layer. There are two: keys *and* values.",
            {"2 * n_layer": "n_layer"},
        ),
        Mistake(
            "three",
            "Queries are used once and never kept: two tensors per layer.",
            {"2 * n_layer": "3 * n_layer"},
        ),
        Mistake(
            "no_layers",
            "Every layer has a cache of its own.",
            {"2 * n_layer": "2"},
        ),
        Mistake(
            "no_heads",
            "`head_size` is per head: multiply by the number of heads.",
            {" * n_head": ""},
        ),
        Mistake(
            "bits",
            "`bytes_per_value` is in bytes already.",
            {" * bytes_per_value": " * bytes_per_value * 8"},
        ),
        Mistake(
            "quadratic",
            "The cache grows in a straight line with the text. The T x T scores are not kept.",
            {" * length": " * length**2"},
        ),
        Mistake("no_batch", "Each row of the batch has a cache of its own.", {" * batch": ""}),
        Mistake(
            "no_bytes",
            "You count the numbers. Each takes `bytes_per_value` bytes.",
            {" * bytes_per_value": ""},
        ),
        Mistake(
            "no_length",
            "Every token has keys and values: multiply by the length.",
            {" * length": ""},
        ),
        Mistake(
            "no_head_size",
            "Every head has `head_size` numbers per token.",
            {" * head_size": ""},
        ),
        Mistake(
            "megabytes",
            "Bytes are asked for, and not megabytes.",
            {" * bytes_per_value": " * bytes_per_value / 1e6"},
            {" * bytes_per_value": " * bytes_per_value / 2**20"},
        ),
        Mistake(
            "divided",
            "You divide by `bytes_per_value`. Each number *takes* that many bytes: multiply.",
            {" * bytes_per_value": " / bytes_per_value"},
            {" * bytes_per_value": " // bytes_per_value"},
        ),
        Mistake(
            "four",
            "There are two tensors per layer, keys and values, and you count four.",
            {"2 * n_layer": "4 * n_layer"},
        ),
        Mistake(
            "size_squared",
            "You count `head_size` or `n_head` twice. Per head and token there are head_size "
            "numbers.",
            {" * head_size": " * head_size**2"},
            {" * n_head": " * n_head**2"},
        ),
        Mistake(
            "layers_squared",
            "You count the layers twice.",
            {"2 * n_layer": "2 * n_layer**2"},
        ),
        Mistake(
            "added",
            "You add where the numbers multiply: each layer has all heads, each head all tokens.",
            lambda n_layer, n_head, head_size, length, batch, bytes_per_value: (
                2 * (n_layer + n_head + head_size + length + batch) * bytes_per_value
            ),
        ),
    ],
)
def kv_cache_bytes(n_layer, n_head, head_size, length, batch, bytes_per_value):
    """Bytes of all keys and values of a batch of texts of this length."""
    return 2 * n_layer * n_head * head_size * length * batch * bytes_per_value  #| of all layers


@define(
    level=3,
    minutes=10,
    task="""Speculative decoding lets a small model (distribution `q`) propose a token, and the
    large one (`p`) accept it with probability min(1, p/q). After a rejection the token is drawn
    from what is *missing*: where p is larger than q, their difference, as a distribution. Compute
    it; p and q are not the same.""",
    hints=[
        "Where does the large model want more than the small one delivers?",
        "Negative differences become 0 (`torch.clamp`), and the rest must sum to 1.",
    ],
    insight="Accepted or drawn from here, the tokens follow p *exactly*. Speculative decoding is "
    "faster and not an approximation.",
    probes=lambda: [
        (torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.5, 0.3])),
        (torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([0.4, 0.1, 0.25, 0.25])),
        (torch.tensor([0.35, 0.05, 0.4, 0.2]), torch.tensor([0.1, 0.15, 0.25, 0.5])),
    ],
    mistakes=[
        Mistake(
            "no_clamp",
            "p - q is negative where the small model proposed too often. Those tokens came too "
            "often already: clamp at 0.",
            {"torch.clamp(p - q, min=0)": "p - q", " / diff.sum()": ""},
        ),
        Mistake(
            "absolute",
            "The absolute value counts the tokens that came too *often*, too. Clamp at 0.",
            {"torch.clamp(p - q, min=0)": "(p - q).abs()"},
        ),
        Mistake(
            "not_normalised",
            "A distribution sums to 1: divide by the sum.",
            {" / diff.sum()": ""},
        ),
        Mistake(
            "swapped",
            "You computed small minus large. What is missing is large minus small, p - q.",
            {"p - q": "q - p"},
        ),
        Mistake(
            "from_p",
            "Drawing from p again makes likely tokens too likely: they were accepted before.",
            {"diff / diff.sum()": "p"},
        ),
        Mistake(
            "softmax",
            "You took a softmax of the difference. Dividing by the sum keeps zeros zero.",
            {"diff / diff.sum()": "torch.softmax(diff, dim=-1)"},
        ),
        Mistake(
            "whole_p",
            "Where p is larger you keep all of p. Only the difference is missing.",
            {"torch.clamp(p - q, min=0)": "torch.where(p > q, p, 0.0)"},
        ),
        Mistake(
            "overlap",
            "This is what both agree on. Missing is the part of p above it.",
            {"torch.clamp(p - q, min=0)": "torch.minimum(p, q)"},
        ),
        Mistake(
            "ratio",
            "This is the probability of accepting. It is needed before; the draw after a "
            "rejection needs the difference.",
            {"torch.clamp(p - q, min=0)": "torch.clamp(p / q, max=1)"},
            {"torch.clamp(p - q, min=0)": "torch.clamp(p / q, max=1)", " / diff.sum()": ""},
        ),
        Mistake(
            "count",
            "You divide by how many tokens there are in the rest. Divide by the *sum* of the "
            "differences.",
            {"diff.sum()": "(diff > 0).sum()"},
            {"diff.sum()": "len(diff)"},
        ),
        Mistake(
            "rejected_share",
            "You take the share of p that a rejection leaves, p (1 - min(1, p/q)), which is 0 "
            "where p is larger. Missing is p - q, exactly where p is larger.",
            {"torch.clamp(p - q, min=0)": "p * (1 - torch.clamp(p / q, max=1))"},
            {"torch.clamp(p - q, min=0)": "1 - torch.clamp(p / q, max=1)"},
            {"torch.clamp(p - q, min=0)": "q * (1 - torch.clamp(p / q, max=1)) * q"},
        ),
        Mistake(
            "relative",
            "You take how much larger p is *in relation* to q. Missing is the difference itself.",
            {"torch.clamp(p - q, min=0)": "torch.clamp(p / q - 1, min=0)"},
            {"torch.clamp(p - q, min=0)": "torch.clamp(torch.log(p / q), min=0)"},
            {"torch.clamp(p - q, min=0)": "torch.clamp((p - q) / p, min=0)"},
            {"torch.clamp(p - q, min=0)": "torch.where(p > q, p / q, 0.0)"},
        ),
        Mistake(
            "squared",
            "You square the differences. Each counts as it is.",
            {"torch.clamp(p - q, min=0)": "torch.clamp(p - q, min=0) ** 2"},
        ),
        Mistake(
            "larger_of_both",
            "You keep the larger of both. Missing is only what p has *more* than q.",
            {"torch.clamp(p - q, min=0)": "torch.maximum(p, q)"},
        ),
        Mistake(
            "from_q",
            "This is the small model's distribution. What the large one misses is asked for.",
            {"diff / diff.sum()": "q"},
        ),
        Mistake(
            "clamped_at_one",
            "You cut off above 1. Cut off below 0: negative differences are not missing.",
            {"min=0": "max=1"},
        ),
    ],
)
def residual_distribution(p, q):
    """What p wants and q does not deliver, as a distribution: (V,) and (V,) -> (V,)."""
    diff = torch.clamp(p - q, min=0)  #| what the large model misses
    return diff / diff.sum()  #| as a distribution


@prediction(
    "Two tokens have logits 2 and 0. At temperature 1 the first is drawn with probability 0.88. "
    "With which probability at temperature 0.5?",
    why="The difference of the logits doubles from 2 to 4, and 1 / (1 + exp(-4)) = 0.98. Halving "
    "the temperature squares the odds.",
    tolerance=0.01,
)
def colder():
    return round(with_temperature(torch.tensor([2.0, 0.0]), 0.5)[0].item(), 4)


@prediction(
    "GPT-2 small (12 layers, 12 heads of 64 features) has read 1,024 tokens in float16. How many "
    "megabytes (millions of bytes) does its cache take?",
    why="2 * 12 * 12 * 64 * 1024 * 2 bytes. The weights take 249 MB in float16: a batch of seven "
    "such texts already needs more memory for the cache than for the model.",
    tolerance=0.05,
)
def cache_of_gpt2():
    return round(kv_cache_bytes(12, 12, 64, 1024, 1, 2) / 1e6, 1)


question(
    "sampling.greedy",
    "Why does greedy decoding not give the most likely *text*?",
    ("Because the model was trained with random numbers.", False,
     "Training has nothing to do with it; the same happens with the true distribution."),
    ("It does give the most likely text.", False,
     "It takes the best token at every step, which can lead to where only unlikely ones follow."),
    ("Because the softmax is not exact.", False,
     "Rounding plays no part here."),
    ("Because a likely first token may be followed by unlikely ones only.", True,
     "The probability of a text is a product. 0.6 times 0.3 is less than 0.4 times 0.9: beam "
     "search keeps several beginnings for that reason."),
)  # fmt: skip

question(
    "sampling.next_token_of_logits",
    "`logits = model(idx)` has shape (1, T, V). An article takes `logits[0][-1]`, calls it \"an "
    "array of the probabilities of the next token\", and says that indexing it *samples*. What "
    "is right?",
    ("It holds scores for the next token: softmax makes them probabilities, and then one is "
     "drawn.", True,
     "The last position's logits are what is wanted, but they are not probabilities yet, and "
     "picking an entry is not drawing one."),
    ("It is as the article says.", False,
     "Logits are any real numbers; they do not sum to 1."),
    ("It should be `logits[0][0]`.", False,
     "The first position predicts the second token, which we have."),
    ("It should be `logits[-1]`.", False,
     "That is the last text of the batch, with all its positions."),
)  # fmt: skip

question(
    "sampling.top_p_of_a_sure_model",
    "The next token has probabilities 0.90, 0.06, 0.03 and 0.01. How many tokens does top-p with "
    "p = 0.95 keep?",
    ("1", False, "0.90 has not reached 0.95 yet."),
    ("2", True, "0.90 is not enough, 0.96 is: the token that crosses p belongs to the set."),
    ("3", False, "Two of them reach 0.96 already."),
    ("4", False, "That would take p above 0.99."),
    truth=lambda: int((nucleus(torch.tensor([0.90, 0.06, 0.03, 0.01]), 0.95) > 0).sum()),
)  # fmt: skip
