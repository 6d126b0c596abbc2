"""Exercises of chapter 1: counting, surprise, entropy, windows of text."""

import math

import torch

from course_lib.grading import Mistake, define, edge, prediction, question, whole

_TABLE = [[4.0, 0.0, 1.0], [2.0, 2.0, 2.0], [0.0, 5.0, 3.0]]
_PROBS = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25], [0.05, 0.15, 0.8]]


@define(
    level=1,
    minutes=5,
    meta=False,
    task="""Count the bigrams of a text: `counts[a, b]` says how often token b comes right after
    token a. `tokens` is a tensor of token ids; the result is a table (vocab_size,
    vocab_size).""",
    hints=[
        "How many pairs of neighbours are there in nine tokens?",
        "`tokens[:-1]` are the previous tokens and `tokens[1:]` the ones that follow them.",
        "A loop over `zip(...)` with `counts[a, b] += 1` is right. `index_put_` with "
        "`accumulate=True` does the same at once.",
    ],
    insight="This table *is* a language model. No gradient, no network, and it beats guessing by "
    "far.",
    probes=lambda: [
        (torch.tensor([0, 1, 0, 1, 2, 0, 1, 1, 2]), 3),
        (torch.tensor([3, 3, 3, 0, 2, 3, 3, 1]), 5),
        (torch.tensor([1, 0]), 2),
        (whole(20, below=4), 4),
    ],
    mistakes=[
        Mistake(
            "transposed",
            "Your table is [next, previous]. The row is the previous token and the column the one "
            "that follows: `counts[previous, following]`.",
            {"(previous, following), ones": "(following, previous), ones"},
        ),
        Mistake(
            "no_accumulate",
            "Pairs that occur several times are counted once. `counts[a, b] += 1` with whole "
            "tensors of indices reads, adds and writes each place only once: use a loop, or "
            "`index_put_` with `accumulate=True`.",
            {"accumulate=True": "accumulate=False"},
        ),
        Mistake(
            "wraps",
            "You also count the pair (last token, first token). A text does not bite its own "
            "tail: n tokens have n - 1 pairs.",
            {"tokens[:-1], tokens[1:]": "tokens, tokens.roll(-1)"},
        ),
        Mistake(
            "skips",
            "You pair every token with the one two places later. The next token is one place on.",
            {"tokens[:-1], tokens[1:]": "tokens[:-2], tokens[2:]"},
        ),
        Mistake(
            "not_overlapping",
            "You walk in steps of two, so every second pair is missed. Each token but the last "
            "is the first half of a pair.",
            {"tokens[:-1], tokens[1:]": "tokens[:-1:2], tokens[1::2]"},
        ),
        Mistake(
            "misses_one",
            "One pair is missing, at the end or at the beginning of the text.",
            {"tokens[:-1], tokens[1:]": "tokens[:-2], tokens[1:-1]"},
            {"tokens[:-1], tokens[1:]": "tokens[1:-1], tokens[2:]"},
        ),
        Mistake(
            "same_token",
            "Both halves of your pair are the same token: every count stands on the diagonal.",
            {"tokens[:-1], tokens[1:]": "tokens[:-1], tokens[:-1]"},
            {"tokens[:-1], tokens[1:]": "tokens, tokens"},
        ),
        Mistake(
            "both_orders",
            "You count every pair in both orders, so the table equals its own mirror image. a "
            "before b is one thing, b before a another.",
            {"    return counts": "    counts = counts + counts.T\n    return counts"},
        ),
        Mistake(
            "all_later",
            "You count every later token. Only the one *right after* makes a bigram.",
            {
                "    return counts": (
                    "    counts = torch.zeros(vocab_size, vocab_size)\n"
                    "    for i in range(len(tokens)):\n"
                    "        for after in tokens[i + 1 :]:\n"
                    "            counts[tokens[i], after] += 1\n"
                    "    return counts"
                ),
            },
        ),
        Mistake(
            "normalised",
            "These are probabilities. Here the plain counts are asked for.",
            {
                "    return counts": (
                    "    counts = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)\n"
                    "    return counts"
                ),
            },
            {
                "    return counts": (
                    "    counts = counts / counts.sum(dim=1, keepdim=True)\n    return counts"
                ),
            },
        ),
        Mistake(
            "starts_at_one",
            "Every count is one too large: begin with zeros. Smoothing comes later.",
            {"    return counts": "    counts = counts + 1\n    return counts"},
        ),
    ],
)
def bigram_counts(tokens, vocab_size):
    """How often each token follows each other one: tokens (n,) -> (vocab_size, vocab_size)."""
    counts = torch.zeros(vocab_size, vocab_size)
    previous, following = tokens[:-1], tokens[1:]  #| two of length n - 1
    ones = torch.ones(len(previous))
    counts.index_put_((previous, following), ones, accumulate=True)  #| add 1 for every pair
    return counts


@define(
    level=1,
    minutes=5,
    task="""Turn counts into probabilities: row a of the result is the distribution of the token
    that follows a. Add `alpha` to every count first, so that nothing is impossible.""",
    hints=[
        "What must every row sum to?",
        "`.sum(dim=1, keepdim=True)` keeps the sums as a column, so that they divide the rows.",
    ],
    insight="A missing `keepdim` never crashes on a square table. Print `.sum(dim=1)` every time "
    "you normalise.",
    probes=lambda: [
        (torch.tensor(_TABLE), 1.0),
        (torch.tensor(_TABLE), 0.1),
        edge(
            "unseen_row",
            "It goes wrong only where a token was never followed by anything, a row of zeros. With "
            "alpha added, all its entries are alike, so the row becomes uniform.",
            torch.tensor([[0.0, 7.0], [0.0, 0.0]]),
            0.5,
        ),
        (torch.tensor([[3.0, 1.0], [0.0, 0.0]]), 2.0),
        (torch.tensor([[1.0, 4.0, 2.0], [3.0, 1.0, 6.0], [2.0, 2.0, 5.0]]), 3.0),
    ],
    mistakes=[
        Mistake(
            "columns",
            "You normalised the columns: with `dim=0` each *column* sums to 1. A row is the "
            "distribution of what comes next, so sum along the row, `dim=1`.",
            {"dim=1": "dim=0"},
        ),
        Mistake(
            "no_keepdim",
            "`keepdim=True` is missing. The sums then have shape (V,) and divide the columns: no "
            "error, because the table is square, and a wrong answer.",
            {"dim=1, keepdim=True": "dim=1"},
        ),
        Mistake(
            "no_smoothing",
            "`alpha` is never added. A pair that was never seen gets probability 0, and one such "
            "pair makes the loss infinite.",
            {"counts + alpha": "counts"},
        ),
        Mistake(
            "alpha_not_in_total",
            "You add alpha to the counts and divide by the old total, so the rows sum to more "
            "than 1.",
            {"smoothed.sum(": "counts.sum("},
        ),
        Mistake(
            "alpha_once",
            "The total grows by alpha once per row. Every one of the V entries got an alpha, so "
            "it grows by V * alpha.",
            {"smoothed.sum(dim=1, keepdim=True)": "(counts.sum(dim=1, keepdim=True) + alpha)"},
        ),
        Mistake(
            "whole_table",
            "You divide by the sum of the whole table. That gives the probability of the *pair*; "
            "each row must be a distribution of its own.",
            {"sum(dim=1, keepdim=True)": "sum()"},
        ),
        Mistake(
            "softmax",
            "You took a softmax. Counts are not logits: divide them by their sum.",
            {"smoothed / smoothed.sum(dim=1, keepdim=True)": "torch.softmax(smoothed, dim=1)"},
            {"smoothed / smoothed.sum(dim=1, keepdim=True)": "torch.softmax(counts, dim=1)"},
        ),
        Mistake(
            "alpha_after",
            "You add alpha to the probabilities. Add it to the *counts*, before you normalise.",
            {
                "smoothed = counts + alpha": "smoothed = counts",
                "smoothed.sum(dim=1, keepdim=True)": "smoothed.sum(dim=1, keepdim=True) + alpha",
            },
            {
                "smoothed = counts + alpha": "smoothed = counts",
                "smoothed.sum(dim=1, keepdim=True)": (
                    "smoothed.sum(dim=1, keepdim=True).clamp(min=1) + alpha"
                ),
            },
            {
                "smoothed = counts + alpha": (
                    "smoothed = counts / counts.sum(dim=1, keepdim=True).clamp(min=1) + alpha"
                ),
            },
        ),
        Mistake(
            "fixed_one",
            "You add 1 to every count. Add `alpha`, which may be another number.",
            {"counts + alpha": "counts + 1"},
        ),
        Mistake(
            "largest",
            "You divide by the largest number of the row. Divide by the *sum* of the row.",
            {"smoothed.sum(dim=1, keepdim=True)": "smoothed.amax(dim=1, keepdim=True)"},
        ),
        Mistake(
            "log_probs",
            "These are log-probabilities, and probabilities are asked for.",
            {
                "smoothed / smoothed.sum(dim=1, keepdim=True)": (
                    "torch.log(smoothed / smoothed.sum(dim=1, keepdim=True))"
                ),
            },
        ),
        Mistake(
            "alpha_for_zeros",
            "You put alpha in the place of the zeros only. Every count gets it on top, or a pair "
            "seen once could end up rarer than one that was never seen.",
            {"counts + alpha": "torch.where(counts == 0, alpha, counts)"},
        ),
        Mistake(
            "alpha_in_total_only",
            "The total has grown by alpha for each entry, and the counts above the fraction stroke "
            "are the old ones: the rows sum to less than 1.",
            {"smoothed / smoothed": "counts / smoothed"},
        ),
        Mistake(
            "alpha_shared",
            "You share one alpha out among the entries of a row. Every single count gets a whole "
            "alpha.",
            {"counts + alpha": "counts + alpha / len(counts)"},
        ),
    ],
)
def bigram_probs(counts, alpha):
    """Add-alpha smoothing: counts (V, V) -> probabilities (V, V) whose rows sum to 1."""
    smoothed = counts + alpha  #| nothing is impossible
    return smoothed / smoothed.sum(dim=1, keepdim=True)  #| rows that sum to 1


_SEVERAL = """For a single position it is right, and for several it is not. Every row has its own
target, each surprise counts alike, and the result is their mean."""


@define(
    level=1,
    minutes=5,
    task="""Score a model: row i of `probs` is its distribution for position i, and `targets[i]`
    is the token that really came. Return the mean surprise -log p in nats.""",
    hints=[
        "First pick one probability per row: the one that the true token was given.",
        "`probs[torch.arange(len(targets)), targets]` pairs row i with column targets[i].",
    ],
    insight="exp of this number is the perplexity: as unsure as a fair die with that many faces.",
    probes=lambda: [
        edge("several", _SEVERAL, torch.tensor(_PROBS), torch.tensor([0, 2, 1, 0])),
        edge("several", _SEVERAL, torch.tensor(_PROBS[:3]), torch.tensor([2, 0, 0])),
        (torch.tensor(_PROBS[1:2]), torch.tensor([1])),
        edge("several", _SEVERAL, torch.tensor(_PROBS[::-1]), torch.tensor([2, 2, 0, 1])),
    ],
    mistakes=[
        Mistake(
            "log2",
            "You used the logarithm to another base: 2 gives bits. This course counts in nats, "
            "with the natural logarithm.",
            {"torch.log(": "torch.log2("},
            {"torch.log(": "torch.log10("},
        ),
        Mistake(
            "sum",
            "You added the surprises up. Take their mean, or the loss grows with the length of "
            "the text.",
            {".mean()": ".sum()"},
        ),
        Mistake(
            "sign",
            "The minus sign is missing. Logs of probabilities are negative, surprise is positive.",
            {"return -": "return "},
        ),
        Mistake(
            "log_of_mean",
            "You took the log of the mean probability. Average the logs: a single token that was "
            "thought impossible must be able to ruin the score.",
            {"torch.log(picked).mean()": "torch.log(picked.mean())"},
        ),
        Mistake(
            "no_log",
            "The log is missing: this is the mean probability of the true tokens.",
            {"-torch.log(picked).mean()": "picked.mean()"},
            {"-torch.log(picked).mean()": "-picked.mean()"},
            {"-torch.log(picked).mean()": "1 - picked.mean()"},
        ),
        Mistake(
            "favourite",
            "You scored the model's favourite token and not the one that came.",
            {"probs[torch.arange(len(targets)), targets]": "probs.amax(dim=1)"},
        ),
        Mistake(
            "all_pairs",
            "`probs[:, targets]` pairs every row with every target and picks n * n numbers. Row i "
            "belongs to target i alone.",
            {"torch.arange(len(targets)), targets": ":, targets"},
        ),
        Mistake(
            "perplexity",
            "You return the perplexity. Surprise in nats is its logarithm.",
            {"-torch.log(picked).mean()": "torch.exp(-torch.log(picked).mean())"},
        ),
        Mistake(
            "softmax_twice",
            "`cross_entropy` takes raw logits and does a softmax itself, so your probabilities "
            "went through a softmax. They need a log only.",
            {"-torch.log(picked).mean()": "torch.nn.functional.cross_entropy(probs, targets)"},
        ),
        Mistake(
            "all_entries",
            "You average over the whole table. Only the probability that each true token was "
            "given counts, one per row.",
            {"torch.log(picked)": "torch.log(probs)"},
        ),
        Mistake(
            "not_averaged",
            "You return one surprise per position. Take their mean.",
            {"torch.log(picked).mean()": "torch.log(picked)"},
        ),
        Mistake(
            "own_guess",
            "You weight with the model's own probabilities: that is the entropy of its guess, "
            "whatever came. Score the token that really came.",
            {"-torch.log(picked).mean()": "-(probs * torch.log(probs)).sum(dim=1).mean()"},
        ),
        Mistake(
            "divided_by_table",
            "You divide by the number of entries of the table. Of each row only one entry counts, "
            "so there are as many surprises as rows.",
            {"torch.log(picked).mean()": "torch.log(picked).mean() / probs.size(1)"},
        ),
        Mistake(
            "typical_probability",
            "This is exp of the mean log, a probability. Surprise is minus that mean log itself.",
            {"-torch.log(picked).mean()": "torch.exp(torch.log(picked).mean())"},
        ),
        Mistake(
            "log_of_one_minus",
            "You take the log of 1 - p. Surprise is -log p: nothing for a certain token, very much "
            "for an unlikely one.",
            {"torch.log(picked)": "torch.log(1 - picked)"},
        ),
        Mistake(
            "largest",
            "You return the worst surprise of all. Their mean is asked for.",
            {"-torch.log(picked).mean()": "(-torch.log(picked)).max()"},
        ),
    ],
)
def nll(probs, targets):
    """Mean surprise in nats: probs (n, V), targets (n,) -> ()."""
    picked = probs[torch.arange(len(targets)), targets]  #| what each true token was given, (n,)
    return -torch.log(picked).mean()  #| mean surprise, in nats


@define(
    level=1,
    minutes=5,
    task="""Compute the entropy of a distribution `p` (V,), in nats: the surprise -log p of each
    outcome, weighted by how often it comes. Outcomes of probability 0 add nothing.""",
    hints=[
        "The surprise of an outcome is -log p, and it comes with probability p.",
        "0 * log(0) is NaN on a computer although its limit is 0. `torch.xlogy(p, p)` knows.",
    ],
    insight="The entropy of the data is the floor that no model goes below. Cross-entropy minus "
    "entropy is what is left to learn.",
    probes=lambda: [
        (torch.tensor([0.5, 0.25, 0.25]),),
        (torch.tensor([0.1, 0.2, 0.3, 0.4]),),
        (torch.tensor([1.0, 0.0]),),
        (torch.tensor([0.7, 0.3]),),
        edge(
            "zero_outcomes",
            "It goes wrong only where an outcome has probability 0. Such an outcome never comes "
            "and adds nothing: leave it out, or use `torch.xlogy(p, p)`, which knows that.",
            torch.tensor([0.0, 0.6, 0.4, 0.0]),
        ),
    ],
    mistakes=[
        Mistake(
            "nan",
            "For an outcome of probability 0 you compute 0 * log(0), which is NaN. Its limit is "
            "0: use `torch.xlogy(p, p)`, or leave those outcomes out.",
            {"torch.xlogy(p, p)": "p * torch.log(p)"},
        ),
        Mistake(
            "log2",
            "You used the logarithm to another base: with 2 it is the entropy in bits. Here we "
            "count in nats.",
            {"    return": "    terms = terms / math.log(2)\n    return"},
            {"    return": "    terms = terms / math.log(10)\n    return"},
        ),
        Mistake(
            "sign",
            "An entropy is never negative: the minus sign is missing.",
            {"-terms": "terms"},
        ),
        Mistake(
            "mean",
            "You divide by the number of outcomes. The weights p do the averaging already: sum.",
            {".sum()": ".mean()"},
        ),
        Mistake(
            "unweighted",
            "The surprises are not weighted: an outcome that comes rarely must count rarely.",
            {"torch.xlogy(p, p)": "torch.log(p)"},
            {"torch.xlogy(p, p)": "torch.log(p[p > 0])"},
        ),
        Mistake(
            "max_only",
            "You take the largest term only. Every outcome adds its share.",
            {"-terms.sum()": "(-terms).max()"},
        ),
        Mistake(
            "shifted_log",
            "You add a small number inside the log to avoid log 0, and that changes the result: a "
            "certain outcome gets a surprise below 0. Use `torch.xlogy(p, p)`, or leave outcomes "
            "of probability 0 out.",
            *({"torch.xlogy(p, p)": f"p * torch.log(p + 1e-{n})"} for n in (3, 2, 4, 5, 6, 7)),
        ),
        Mistake(
            "perplexity",
            "You return the perplexity. The entropy is its logarithm.",
            {"-terms.sum()": "torch.exp(-terms.sum())"},
        ),
        Mistake(
            "not_summed",
            "You return the shares of the outcomes. Their sum is the entropy.",
            {"-terms.sum()": "-terms"},
        ),
        Mistake(
            "log_of_p_plus_one",
            "log(p + 1) is not log p: the 1 makes it finite at p = 0 and wrong everywhere else. "
            "Leave outcomes of probability 0 out, or use `torch.xlogy(p, p)`.",
            {"torch.xlogy(p, p)": "p * torch.log(p + 1)"},
            {"torch.xlogy(p, p)": "-p * torch.log(p + 1)"},
        ),
        Mistake(
            "no_log",
            "This measures spread without a log, by p (1 - p). The surprise of an outcome is -log "
            "p.",
            {"torch.xlogy(p, p)": "-p * (1 - p)"},
        ),
        Mistake(
            "with_complement",
            "You also add the surprise of each outcome *not* coming. One outcome comes per draw, "
            "so each contributes -p log p alone.",
            {"torch.xlogy(p, p)": "torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)"},
        ),
        Mistake(
            "relative",
            "You divide by the largest entropy possible, log V. The entropy itself is asked for, "
            "in nats.",
            {"-terms.sum()": "-terms.sum() / math.log(len(p))"},
        ),
        Mistake(
            "weighted_twice",
            "Every surprise is weighted with p twice.",
            {"torch.xlogy(p, p)": "p * torch.xlogy(p, p)"},
        ),
    ],
)
def my_entropy(p):
    """Expected surprise of a draw from p, in nats: (V,) -> ()."""
    terms = torch.xlogy(p, p)  #| p log p, where 0 log 0 = 0
    return -terms.sum()  #| expected surprise


@define(
    level=2,
    minutes=5,
    meta=False,
    task="""Cut windows out of one long text. `starts` is a tensor of positions: row i of `x`
    holds `length` tokens from `starts[i]` on, and `y` holds the same windows one token later.
    Return both, each (batch, length).""",
    hints=[
        "Write x and y down for the tokens h e l l o, one start at 0, and length 3.",
        "`tokens[s : s + length]` has `length` tokens. Where does the window of targets start?",
        "`torch.stack([... for s in starts])` makes rows of them.",
    ],
    insight="One window of length T holds T training examples at once: contexts of 1, 2, ... T "
    "tokens, each with its next token.",
    probes=lambda: [
        (torch.arange(60) * 3 % 17, torch.tensor([0, 5, 11]), 4),
        (torch.arange(9) + 10, torch.tensor([1]), 3),
        (torch.arange(12) * 5 % 7, torch.tensor([2, 0]), 1),
    ],
    mistakes=[
        Mistake(
            "no_shift",
            "The targets equal the inputs: the model would learn to copy. The target of a "
            "position is the token *after* it.",
            {"tokens[s + 1 : s + 1 + length]": "tokens[s : s + length]"},
        ),
        Mistake(
            "shift_two",
            "The targets are two tokens ahead, and the next token is one ahead.",
            {"tokens[s + 1 : s + 1 + length]": "tokens[s + 2 : s + 2 + length]"},
        ),
        Mistake(
            "next_window",
            "Your targets are the whole *next* window. Every token has a target of its own, the "
            "token right after it: the same window, one later.",
            {"tokens[s + 1 : s + 1 + length]": "tokens[s + length : s + 2 * length]"},
        ),
        Mistake(
            "swapped",
            "x and y have changed places: from every token you ask for the one *before* it.",
            {"return x, y": "return y, x"},
        ),
        Mistake(
            "too_short",
            "Your windows are one token too short. `tokens[s : s + length]` has `length` tokens: "
            "the end of a slice is not part of it.",
            {
                "tokens[s : s + length]": "tokens[s : s + length - 1]",
                "tokens[s + 1 : s + 1 + length]": "tokens[s + 1 : s + length]",
            },
        ),
        Mistake(
            "one_target",
            "You give one target per window, the token after it. A GPT learns from all positions "
            "of a window at once, and that is why it learns so fast.",
            {"tokens[s + 1 : s + 1 + length]": "tokens[s + length]"},
        ),
        Mistake(
            "window_numbers",
            "You take `starts[i]` for the number of a window. It is a position in the text: the "
            "window begins at that token.",
            {
                "tokens[s : s + length]": "tokens[s * length : (s + 1) * length]",
                "tokens[s + 1 : s + 1 + length]": "tokens[s * length + 1 : (s + 1) * length + 1]",
            },
        ),
        Mistake(
            "ignores_starts",
            "All your windows start at the beginning of the text, or side by side from there. Row "
            "i starts at `starts[i]`.",
            {
                "tokens[s : s + length]": "tokens[:length]",
                "tokens[s + 1 : s + 1 + length]": "tokens[1 : length + 1]",
            },
            {
                "x = torch.stack([tokens[s : s + length] for s in starts])": (
                    "x = tokens[: len(starts) * length].view(-1, length)"
                ),
                "y = torch.stack([tokens[s + 1 : s + 1 + length] for s in starts])": (
                    "y = tokens[1 : len(starts) * length + 1].view(-1, length)"
                ),
            },
        ),
        Mistake(
            "long_inputs",
            "Your inputs are one token too long. Only the targets reach one token further.",
            {"tokens[s : s + length]": "tokens[s : s + length + 1]"},
        ),
        Mistake(
            "rolled",
            "You shift inside the window, so the last target is the window's own first token. "
            "It is the token that comes after the window in the text.",
            {"torch.stack([tokens[s + 1 : s + 1 + length] for s in starts])": "x.roll(-1, dims=1)"},
        ),
        Mistake(
            "plus_one",
            "You add 1 to the tokens themselves. Move one *place* on in the text.",
            {"torch.stack([tokens[s + 1 : s + 1 + length] for s in starts])": "x + 1"},
        ),
        Mistake(
            "positions",
            "You return the positions. Look up the tokens that stand there.",
            {
                "torch.stack([tokens[s : s + length] for s in starts])": (
                    "starts[:, None] + torch.arange(length)"
                ),
                "torch.stack([tokens[s + 1 : s + 1 + length] for s in starts])": "x + 1",
            },
        ),
    ],
)
def next_token_batch(tokens, starts, length):
    """Windows and the same windows one token later: x and y, each (batch, length)."""
    x = torch.stack([tokens[s : s + length] for s in starts])  #| inputs (batch, length)
    y = torch.stack([tokens[s + 1 : s + 1 + length] for s in starts])  #| targets, one later
    return x, y


@prediction(
    "A text uses 65 different characters. A model that has learned nothing gives each of them the "
    "same probability. What is its loss, in nats per character?",
    why="Every character has probability 1/65, so the surprise is ln 65 at every position, "
    "whatever the text. A training run that does not begin near ln V has a bug before it begins.",
    tolerance=0.03,
)
def loss_of_ignorance():
    probs = torch.full((10, 65), 1 / 65)
    return round(nll(probs, torch.arange(10)).item(), 4)


@prediction(
    "In some language every second character is fully determined by the one before it, and each "
    "of the others is a fair draw from 16. What is the perplexity of the best possible model?",
    why="The mean surprise is half of ln 16, and exp of that is 4. Perplexities average in the "
    "exponent: it is the geometric mean of 1 and 16, not the arithmetic one.",
    tolerance=0.03,
)
def perplexity_of_half_a_die():
    sure, die = torch.tensor([1.0]), torch.full((16,), 1 / 16)
    return round(math.exp((my_entropy(sure) + my_entropy(die)).item() / 2), 4)


question(
    "next_token.never_seen",
    "A counting model without smoothing meets one single pair that it has never seen, in a "
    "million. What is its mean loss on that text?",
    ("A little larger than before.", False,
     "The mean is over a million tokens, but one of the terms has no bound."),
    ("It cannot be computed.", False,
     "It can: -log 0 is infinite, and so is a mean with that in it."),
    ("Infinite.", True,
     "The pair has probability 0, and -log 0 is infinite: one token that was thought impossible "
     "outweighs everything. That is what smoothing is for."),
    ("About 14 nats, the logarithm of a million.", False,
     "That would be the surprise of something that comes once in a million. This came although "
     "the model said never."),
)  # fmt: skip

question(
    "next_token.below_the_floor",
    "The text comes from a program whose entropy is 1.20 nats per token. Your model reaches 0.95 "
    "on a large validation text. What happened?",
    ("It has seen what it should predict: there is a leak.", True,
     "No model that predicts from the past alone can beat the entropy on average. A loss below "
     "the floor is the surest sign of a leak: a missing mask, targets among the inputs, or "
     "validation text in the training set."),
    ("It is a very good model.", False,
     "The best possible model reaches 1.20 on average, and not less."),
    ("The validation text was easy by chance.", False,
     "On a few tokens, yes. On a large text the deviation from 1.20 is tiny."),
    ("It has overfitted.", False,
     "Overfitting makes the *training* loss small and the validation loss large."),
)  # fmt: skip

question(
    "next_token.nats_to_bits",
    "A model's loss is 1.386 nats per character. How many bits per character is that?",
    ("0.96", False, "You multiplied by ln 2; bits are smaller units, so there are more of them."),
    ("2.00", True, "Divide by ln 2 = 0.693: 1.386 nats are 2 bits, a choice among four."),
    ("1.39", False, "The two units differ by a factor of ln 2."),
    ("4.00", False, "That is the perplexity: exp(1.386) = 2 to the power of 2 bits."),
    truth=lambda: round(1.386 / math.log(2), 2),
)  # fmt: skip
