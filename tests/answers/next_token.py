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


@wrong("bigram_counts", "wraps")
def _(tokens, vocab_size):
    counts = torch.zeros(vocab_size, vocab_size)
    nxt = torch.roll(tokens, -1)
    for i in range(len(tokens)):
        counts[tokens[i], nxt[i]] += 1
    return counts


@wrong("bigram_counts", "no_accumulate")
def _(tokens, vocab_size):
    counts = torch.zeros(vocab_size, vocab_size)
    a_, b_ = tokens[:-1].tolist(), tokens[1:].tolist()
    counts[a_, b_] = counts[a_, b_] + 1
    return counts


@right("bigram_counts")
def _(tokens, vocab_size):
    flat = tokens[:-1] * vocab_size + tokens[1:]
    return (
        torch.bincount(flat, minlength=vocab_size * vocab_size).view(vocab_size, vocab_size).float()
    )


@wrong("bigram_counts", "both_orders")
def _(tokens, vocab_size):
    hot = F.one_hot(tokens, vocab_size).float()
    c = hot[:-1].T @ hot[1:]
    return c + c.T


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


@wrong("bigram_probs", "alpha_after")
def _(counts, alpha):
    probs = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return probs + alpha


@wrong("bigram_probs", "alpha_once")
def _(counts, alpha):
    rows = []
    for row in counts:
        rows.append((row + alpha) / (row.sum() + alpha))
    return torch.stack(rows)


@right("bigram_probs")
def _(counts, alpha):
    return F.normalize(counts.double() + alpha, p=1, dim=-1).to(counts.dtype)


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


@wrong("nll", "log_of_mean")
def _(probs, targets):
    picked = torch.gather(probs, 1, targets.unsqueeze(1)).squeeze(1)
    return -torch.log(picked.mean())


@wrong("nll", "softmax_twice")
def _(probs, targets):
    return F.cross_entropy(probs, targets)


@right("nll")
def _(probs, targets):
    total = 0.0
    for row, t in zip(probs.tolist(), targets.tolist()):
        total -= math.log(row[t])
    return total / len(targets)


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


@wrong("entropy", "mean", "unweighted")
def _(p):
    nz = p[p > 0]
    return (-nz.log()).mean()


@wrong("entropy", "shifted_log")
def _(p):
    return -(p * torch.log(p + 1e-3)).sum()


@right("entropy")
def _(p):
    return sum(-x * math.log(x) for x in p.tolist() if x)


@wrong("entropy", "shifted_log")
def _(p):
    return -(p * (p + 1e-6).log()).sum()


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


@wrong("next_token_batch", "next_window")
def _(tokens, starts, length):
    x = torch.stack([tokens[s : s + length] for s in starts])
    y = torch.stack([tokens[s + length : s + 2 * length] for s in starts])
    return x, y


@wrong("next_token_batch", "too_short")
def _(tokens, starts, length):
    chunk = torch.stack([tokens[s : s + length] for s in starts])
    return chunk[:, :-1], chunk[:, 1:]


@right("next_token_batch")
def _(tokens, starts, length):
    views = tokens.unfold(0, length + 1, 1)[starts]
    return views[..., :length], views[..., 1:]


@wrong("next_token_batch", "window_numbers")
def _(tokens, starts, length):
    x = torch.stack([tokens[s * length : (s + 1) * length] for s in starts.tolist()])
    y = torch.stack([tokens[s * length + 1 : (s + 1) * length + 1] for s in starts.tolist()])
    return x, y


@wrong("next_token_batch", "one_target")
def _(tokens, starts, length):
    grid = starts[:, None] + torch.arange(length)
    return tokens[grid], tokens[starts + length]


@wrong("bigram_probs", "alpha_for_zeros")
def _(counts, alpha):
    smoothed = torch.where(counts == 0, torch.full_like(counts, alpha), counts)
    return smoothed / smoothed.sum(dim=1, keepdim=True)


@wrong("nll", "divided_by_table")
def _(probs, targets):
    hot = F.one_hot(targets, probs.size(1))
    return -(hot * probs.log()).mean()


@wrong("entropy", "log_of_p_plus_one")
def _(p):
    terms = p * torch.log(p + 1)
    return -terms.sum()


@wrong("next_token_batch", "part")
def _(tokens, starts, length):
    at = starts + torch.arange(length)[:, None]
    return tokens[at], tokens[at + 1]


@right("next_token_batch")
def _(tokens, starts, length):
    i = torch.arange(length)
    return [tokens[starts[:, None] + i], tokens[starts[:, None] + i + 1]]


@wrong("nll", "several")
def _(probs, targets):
    return -probs[:, targets[0]].log().mean()
