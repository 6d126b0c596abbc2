"""Answers to the exercises of chapter 3."""

import math

import torch
from torch.nn import functional as F

from answers import Answers

answers = Answers("attention")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG


@right("average_of_the_past")
def _(n):
    w = torch.zeros(n, n)
    for t in range(n):
        w[t, : t + 1] = 1 / (t + 1)
    return w


@right("average_of_the_past")
def _(n):
    scores = torch.full((n, n), -math.inf).triu(1)
    return scores.softmax(-1)


@right("average_of_the_past")
def _(n):
    i = torch.arange(n)
    return (i[None, :] <= i[:, None]) / (i[:, None] + 1)


@wrong("average_of_the_past", "divide_by_T")
def _(n):
    return torch.tensor([[1 / n if s <= t else 0.0 for s in range(n)] for t in range(n)])


@wrong("average_of_the_past", "future")
def _(n):
    w = torch.zeros(n, n)
    for t in range(n):
        w[t, t:] = 1 / (n - t)
    return w


@wrong("average_of_the_past", "unnormalized")
def _(n):
    i = torch.arange(n)
    return (i[None, :] <= i[:, None]).float()


@wrong("average_of_the_past", "no_keepdim")
def _(n):
    w = torch.ones(n, n).tril()
    return w / torch.arange(1, n + 1)


@right("attention_scores")
def _(q, k):
    return torch.einsum("...id,...jd->...ij", q, k) * q.shape[-1] ** -0.5


@right("attention_scores")
def _(q, k):
    return (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) / math.sqrt(k.shape[-1])


@wrong("attention_scores", "transposed")
def _(q, k):
    return torch.einsum("...id,...jd->...ji", q, k) / q.shape[-1] ** 0.5


@wrong("attention_scores", "no_scale")
def _(q, k):
    return (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1)


@wrong("attention_scores", "scale_d")
def _(q, k):
    return (q.unsqueeze(-2) * k.unsqueeze(-3)).mean(-1)


@wrong("attention_scores", "axes_from_front")
def _(q, k):
    return torch.matmul(q, k.permute(0, 2, 1)) / q.shape[-1] ** 0.5


@right("causal_attention")
def _(q, k, v):
    n, d = q.shape[-2:]
    att = torch.einsum("...id,...jd->...ij", q, k) / d**0.5
    allowed = torch.arange(n, device=q.device)[:, None] >= torch.arange(n, device=q.device)
    return torch.where(allowed, att, -1e30).softmax(-1) @ v


@right("causal_attention")
def _(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@right("causal_attention")
def _(q, k, v):
    rows = []
    for t in range(q.shape[-2]):
        s = (k[..., : t + 1, :] * q[..., t : t + 1, :]).sum(-1) / math.sqrt(q.shape[-1])
        rows.append((s.softmax(-1).unsqueeze(-1) * v[..., : t + 1, :]).sum(-2))
    return torch.stack(rows, dim=-2)


@right("causal_attention")
def _(q, k, v):
    e = (q @ k.mT / math.sqrt(q.shape[-1])).exp().tril()
    return e @ v / e.sum(-1, keepdim=True)


@wrong("causal_attention", "no_mask")
def _(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


@wrong("causal_attention", "mask_after_softmax")
def _(q, k, v):
    att = F.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    return torch.tril(att) @ v


@wrong("causal_attention", "mask_with_zero")
def _(q, k, v):
    att = (q @ k.mT / q.shape[-1] ** 0.5).tril()
    return att.softmax(-1) @ v


@wrong("causal_attention", "off_by_one")
def _(q, k, v):
    rows = []
    for t in range(q.shape[-2]):
        s = (k[..., : t + 2, :] * q[..., t : t + 1, :]).sum(-1) / math.sqrt(q.shape[-1])
        rows.append((s.softmax(-1).unsqueeze(-1) * v[..., : t + 2, :]).sum(-2))
    return torch.stack(rows, dim=-2)


@wrong("causal_attention", "no_scale", "mask_with_zero")
def _(q, k, v):
    att = torch.einsum("...id,...jd->...ij", q, k).tril()
    return torch.einsum("...ij,...jd->...id", att.softmax(dim=-1), v)


@wrong("causal_attention", "wrong_dim")
def _(q, k, v):
    n = q.shape[-2]
    bias = torch.full((n, n), -torch.inf, device=q.device).triu(1)
    return F.softmax(q @ k.mT / q.shape[-1] ** 0.5 + bias, dim=len(q.shape) - 2) @ v


@right("split_heads")
def _(x, h):
    return torch.stack(x.chunk(h, dim=-1), dim=1)


@right("split_heads")
def _(x, h):
    b, t, c = x.size()
    return x.reshape(b, t, h, -1).permute(0, 2, 1, 3)


@wrong("split_heads", "view_only")
def _(x, h):
    b, t, c = x.size()
    return x.reshape(b, h, t, -1)


@wrong("split_heads", "interleaved")
def _(x, h):
    return torch.stack([x[..., i::h] for i in range(h)], dim=1)


@wrong("split_heads", "not_swapped")
def _(x, h):
    return torch.stack(x.chunk(h, dim=-1), dim=2)


@right("merge_heads")
def _(y):
    return torch.cat([y[:, h] for h in range(y.shape[1])], dim=-1)


@right("merge_heads")
def _(y):
    return y.permute(0, 2, 1, 3).flatten(2)


@wrong("merge_heads", "no_transpose")
def _(y):
    b, h, t, d = y.size()
    return torch.reshape(y, (b, t, -1))


@wrong("merge_heads", "summed")
def _(y):
    return sum(y[:, h] for h in range(y.shape[1]))


@wrong("merge_heads", "interleaved")
def _(y):
    return torch.stack(list(y.unbind(1)), dim=-1).flatten(2)


@right("multi_head_attention")
def _(x, W, Wo, h):
    b, t, c = x.shape
    q, k, v = F.linear(x, W).view(b, t, 3, h, c // h).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(y.transpose(1, 2).flatten(2), Wo)


@right("multi_head_attention")
def _(x, W, Wo, h):
    b, t, c = x.shape
    d = c // h
    Wq, Wk, Wv = W[:c], W[c : 2 * c], W[2 * c :]
    out = torch.zeros_like(x)
    for i in range(h):
        part = slice(i * d, (i + 1) * d)
        q, k, v = x @ Wq[part].T, x @ Wk[part].T, x @ Wv[part].T
        att = q @ k.mT / d**0.5
        att = att + torch.full((t, t), -torch.inf, device=x.device).triu(1)
        out = out + att.softmax(-1) @ v @ Wo[:, part].T
    return out


@wrong("multi_head_attention", "scale_C")
def _(x, W, Wo, h):
    b, t, c = x.shape
    q, k, v = F.linear(x, W).view(b, t, 3, h, c // h).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=c**-0.5)
    return F.linear(y.transpose(1, 2).flatten(2), Wo)


@wrong("multi_head_attention", "not_merged_back")
def _(x, W, Wo, h):
    b, t, c = x.shape
    q, k, v = F.linear(x, W).view(b, t, 3, h, c // h).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(y.reshape(b, t, c), Wo)


@wrong("multi_head_attention", "one_head")
def _(x, W, Wo, h):
    q, k, v = F.linear(x, W).chunk(3, dim=-1)
    return F.linear(F.scaled_dot_product_attention(q, k, v, is_causal=True), Wo)


@wrong("multi_head_attention", "no_mask")
def _(x, W, Wo, h):
    b, t, c = x.shape
    q, k, v = F.linear(x, W).view(b, t, 3, h, c // h).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v)
    return F.linear(y.transpose(1, 2).flatten(2), Wo)
