"""Answers to the exercises of chapter 1."""

import math

import torch
from torch.nn import functional as F

from answers import Answers

answers = Answers("next_token")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG


@right("bigram_counts")
def _(ids, V):
    table = torch.zeros(V, V)
    for a, b in zip(ids.tolist(), ids.tolist()[1:]):
        table[a, b] += 1
    return table


@right("bigram_counts")
def _(tokens, vocab_size):
    flat = tokens[:-1] * vocab_size + tokens[1:]
    return torch.bincount(flat, minlength=vocab_size**2).view(vocab_size, vocab_size)


@right("bigram_counts")
def _(tokens, vocab_size):
    before = F.one_hot(tokens[:-1], vocab_size)
    after = F.one_hot(tokens[1:], vocab_size)
    return (before.T @ after).float()


@wrong("bigram_counts", "transposed")
def _(ids, V):
    table = torch.zeros(V, V)
    for i in range(1, len(ids)):
        table[ids[i], ids[i - 1]] += 1
    return table


@wrong("bigram_counts", "no_accumulate")
def _(ids, V):
    table = torch.zeros(V, V)
    table[ids[:-1], ids[1:]] += 1
    return table


@wrong("bigram_counts", "wraps")
def _(ids, V):
    table = torch.zeros(V, V)
    for i in range(len(ids)):
        table[ids[i - 1], ids[i]] += 1
    return table


@wrong("bigram_counts", "misses_one")
def _(ids, V):
    table = torch.zeros(V, V)
    for i in range(len(ids) - 2):
        table[ids[i], ids[i + 1]] += 1
    return table


@right("bigram_probs")
def _(counts, alpha):
    rows = [(row + alpha) / (row + alpha).sum() for row in counts]
    return torch.stack(rows)


@right("bigram_probs")
def _(c, a):
    V = c.shape[1]
    return ((c + a).T / (c.sum(1) + a * V)).T


@wrong("bigram_probs", "columns")
def _(c, a):
    c = c + a
    return c / c.sum(0)


@wrong("bigram_probs", "no_keepdim")
def _(c, a):
    return torch.div(c + a, torch.sum(c + a, -1))


@wrong("bigram_probs", "no_smoothing")
def _(c, a):
    return F.normalize(c, p=1, dim=1, eps=0)


@wrong("bigram_probs", "alpha_once")
def _(c, a):
    return torch.stack([(row + a) / (row.sum() + a) for row in c])


@wrong("bigram_probs", "columns", "no_smoothing")
def _(c, a):
    return c / c.sum(dim=0, keepdim=True)


@right("nll")
def _(p, y):
    total = 0.0
    for i in range(len(y)):
        total -= math.log(p[i, y[i]])
    return total / len(y)


@right("nll")
def _(p, y):
    return F.nll_loss(p.log(), y)


@right("nll")
def _(p, y):
    return -(p.gather(1, y[:, None]).squeeze(1)).log().mean()


@wrong("nll", "log2")
def _(p, y):
    return sum(-math.log2(row[t]) for row, t in zip(p, y)) / len(y)


@wrong("nll", "sum")
def _(p, y):
    return F.nll_loss(p.log(), y, reduction="sum")


@wrong("nll", "log_of_mean")
def _(p, y):
    return -math.log(p.gather(1, y.view(-1, 1)).mean())


@wrong("nll", "favourite")
def _(p, y):
    best = p.max(dim=-1).values
    return (-best.log()).mean()


@wrong("nll", "sign", "log2")
def _(p, y):
    return torch.log2(p[range(len(y)), y]).mean()


@right("entropy")
def _(p):
    return sum(-x * math.log(x) for x in p.tolist() if x > 0)


@right("entropy")
def _(p):
    some = p[p != 0]
    return (some * (1 / some).log()).sum()


@right("entropy")
def _(p):
    return torch.special.entr(p).sum()


@wrong("entropy", "nan")
def _(p):
    return -(p * p.log()).sum()


@wrong("entropy", "log2")
def _(p):
    return sum(-x * math.log2(x) for x in p.tolist() if x > 0)


@wrong("entropy", "sign")
def _(p):
    return sum(x * math.log(x) for x in p.tolist() if x > 0)


@wrong("entropy", "nan", "log2")
def _(p):
    return torch.dot(p, -torch.log2(p))


@right("next_token_batch")
def _(text, where, n):
    rows = torch.tensor(where)[:, None] + torch.arange(n)
    return text[rows], text[rows + 1]


@right("next_token_batch")
def _(text, where, n):
    windows = [text[s : s + n + 1] for s in where]
    both = torch.stack(windows)
    return both[:, :-1], both[:, 1:]


@wrong("next_token_batch", "no_shift")
def _(text, where, n):
    x = torch.stack([text[s : s + n] for s in where])
    return x, x.clone()


@wrong("next_token_batch", "one_target")
def _(text, where, n):
    rows = torch.tensor(where)[:, None] + torch.arange(n)
    return text[rows], text[torch.tensor(where) + n]


@wrong("next_token_batch", "too_short")
def _(text, where, n):
    both = torch.stack([text[s : s + n] for s in where])
    return both[:, :-1], both[:, 1:]


@wrong("next_token_batch", "shift_two")
def _(text, where, n):
    rows = torch.tensor(where)[:, None] + torch.arange(n)
    return text[rows], text[rows + 2]
