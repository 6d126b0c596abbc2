"""Exercises of chapter 6: from logits to a choice, and the cache of keys and values."""

import math

import torch

from course_lib.grading import Mistake, define, prediction, question, wave, whole

_LOGITS = [2.0, -0.5, 0.25, 3.0, -2.5]


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
        (torch.tensor(_LOGITS), 0.5),
        (torch.tensor([_LOGITS, _LOGITS[::-1]]), 2.0),
        (wave(2, 3, 4, scale=3), 0.1),
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
    ],
)
def with_temperature(logits, temperature):
    """Probabilities at a temperature: (..., V) -> (..., V)."""
    return torch.softmax(logits / temperature, dim=-1)  #| probabilities


@define(
    level=1,
    minutes=5,
    task="""Keep the `k` largest logits of each row and set all others to -inf, so that they can
    never be drawn. The last axis is the vocabulary; no two logits are equal here.""",
    hints=[
        "What is the smallest logit that stays? `torch.topk(logits, k).values` is sorted.",
        "Keep the axis when you pick it, `[..., -1:]`, so that it compares with every row.",
    ],
    insight='top-k uses the same k after "The capital of France is" and after "My name is". '
    "That is its weakness, and why top-p exists.",
    probes=lambda: [
        (torch.tensor(_LOGITS), 2),
        (torch.tensor([_LOGITS, _LOGITS[::-1]]), 3),
        (wave(2, 6, phase=1, scale=2), 1),
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
    ],
)
def my_top_k(logits, k):
    """Everything but the k largest logits of each row becomes -inf: (..., V) -> (..., V)."""
    kth = torch.topk(logits, k).values[..., -1:]  #| the smallest logit that stays, (..., 1)
    return logits.masked_fill(logits < kth, float("-inf"))  #| forbid the others


@define(
    level=3,
    minutes=15,
    task="""Nucleus sampling: keep the smallest set of most likely tokens whose probabilities
    together reach `p`, set all others to 0, and let the rest sum to 1 again, in the order of the
    vocabulary. `probs` is one distribution, (V,).""",
    hints=[
        "Sort, add up, cut, put back in place, divide by the sum.",
        "Keep a token if the sum *before* it has not reached p yet.",
        "`torch.zeros_like(probs).scatter(0, order, kept)` undoes the sorting.",
    ],
    insight="When the model is sure, top-p keeps a single token; when it hesitates, hundreds.",
    probes=lambda: [
        (torch.tensor([0.1, 0.5, 0.05, 0.35]), 0.8),
        (torch.tensor([0.05, 0.15, 0.2, 0.6]), 0.55),
        (torch.tensor([0.3, 0.05, 0.4, 0.25]), 0.9),
        (torch.tensor([0.25, 0.1, 0.45, 0.2]), 1.0),
        (torch.tensor([0.02, 0.9, 0.08]), 0.3),
        (torch.tensor([0.26, 0.32, 0.14, 0.28]), 0.5),
        (torch.tensor([0.1875, 0.3125, 0.5]), 0.5),
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
    ],
)
def nucleus(probs, p):
    """The smallest likely set that reaches p, renormalised: (V,) -> (V,)."""
    sorted_p, order = torch.sort(probs, descending=True)
    cumulative = torch.cumsum(sorted_p, dim=0)
    kept = sorted_p * (cumulative - sorted_p < p)  #| 0 for everything outside the set
    return torch.zeros_like(probs).scatter(0, order, kept / kept.sum())  #| in place, sum 1


@define(
    level=1,
    minutes=5,
    meta=False,
    task="""Draw a token with a given random number `u` from [0, 1): lay the probabilities end to
    end on a ruler of length 1 and return the index of the piece that contains u.""",
    hints=[
        "The pieces end at `torch.cumsum(probs, dim=0)`.",
        "How many pieces end before u? That number is the index.",
    ],
    insight="All that is creative in a language model is one random number per token.",
    probes=lambda: (
        [(torch.tensor([0.5, 0.3, 0.2]), u) for u in (0.1, 0.45, 0.55, 0.79, 0.81, 0.95)]
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
            "You count the pieces that end behind u. Count those that end before it.",
            {"<= u": "> u"},
        ),
        Mistake(
            "sorted",
            "You sorted the probabilities, so the index belongs to another token.",
            {
                "torch.cumsum(probs, "
                "dim=0)": "torch.cumsum(probs.sort(descending=True).values, dim=0)"
            },
        ),
        Mistake(
            "nearest",
            "You take the token whose number is *nearest* to u. u is a place on the ruler: ask "
            "which piece it lies in.",
            {"(torch.cumsum(probs, dim=0) <= u).sum()": "(probs - u).abs().argmin()"},
            {"<= u).sum()": "- u).abs().argmin()"},
        ),
        Mistake(
            "mirrored",
            "You measure from the right end of the ruler. u is measured from 0.",
            {"<= u": "<= 1 - u"},
        ),
    ],
)
def sample(probs, u):
    """Index of the token whose piece of [0, 1) contains u: probs (V,) -> int."""
    return int((torch.cumsum(probs, dim=0) <= u).sum())  #| how many pieces end before u?


def _next_is_sum(idx):
    """A stand-in for a model: it wants the sum of the first and last token, modulo 7."""
    wanted = (idx.cumsum(dim=1) + 2 * idx[:, :1] + idx.size(1)) % 7
    return -(torch.arange(7) - wanted[..., None]).abs().float()


def _copies_first(idx):
    """A stand-in that looks at the first token that it can see, so cropping shows."""
    wanted = (idx[:, :1] + torch.arange(idx.size(1))) % 5
    return -(torch.arange(5) - wanted[..., None]).abs().float()


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
        (_next_is_sum, whole(2, 1, below=7, phase=3), 0, 4),
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
    ],
)
def greedy(model, idx, n_new, context_length):
    """Append the n_new most likely tokens one after the other: (B, T) -> (B, T + n_new)."""
    for _ in range(n_new):
        logits = model(idx[:, -context_length:])  #| what the model may see
        following = logits[:, -1].argmax(dim=-1, keepdim=True)  #| the most likely token, (B, 1)
        idx = torch.cat([idx, following], dim=1)  #| append it
    return idx


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
        (torch.tensor(_LOGITS), [0, 1], 2.0),
        (torch.tensor(_LOGITS), [4, 4, 3, 4], 1.5),
        (torch.tensor(_LOGITS), [], 1.3),
        (torch.tensor(_LOGITS), [2, 1, 2], 3.0),
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
    ],
)
def attend_with_cache(q_new, k_new, v_new, cache):
    """Attention of one new token: new q, k, v (B, H, 1, d) and the past -> output and new cache."""
    k = torch.cat([cache[0], k_new], dim=2)  #| all keys so far, (B, H, T, d)
    v = torch.cat([cache[1], v_new], dim=2)  #| all values so far
    scores = q_new @ k.transpose(-2, -1) / math.sqrt(q_new.size(-1))  #| one row, (B, H, 1, T)
    return torch.softmax(scores, dim=-1) @ v, (k, v)  #| the output, and the cache for next time


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
    probes=lambda: [(12, 12, 64, 1024, 1, 2), (4, 2, 16, 50, 3, 4), (3, 5, 7, 11, 13, 4)],
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
    it.""",
    hints=[
        "Where does the large model want more than the small one delivers?",
        "Negative differences become 0 (`torch.clamp`), and the rest must sum to 1.",
    ],
    insight="Accepted or drawn from here, the tokens follow p *exactly*. Speculative decoding is "
    "faster and not an approximation.",
    probes=lambda: [
        (torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.5, 0.3])),
        (torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([0.4, 0.1, 0.25, 0.25])),
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
