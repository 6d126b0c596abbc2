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


@wrong("average_of_the_past", "not_self")
def _(T):
    w = torch.zeros(T, T)
    for t in range(T):
        for s in range(t):
            w[t, s] = 1 / t
    w[0, 0] = 1.0
    return w


@wrong("average_of_the_past", "off_by_one")
def _(T):
    w = torch.tril(torch.ones(T, T))
    return w / torch.arange(T).clamp(min=1).unsqueeze(1)


@right("average_of_the_past")
def _(T):
    return torch.tensor([[1 / (t + 1) if s <= t else 0.0 for s in range(T)] for t in range(T)])


@wrong("average_of_the_past", "softmax_of_ones")
def _(T):
    return F.softmax(torch.tril(torch.ones(T, T)), dim=1)


@wrong("average_of_the_past", "not_self")
def _(T):
    w = torch.tril(torch.ones(T, T), -1)
    return w / w.sum(1, keepdim=True).clamp(min=1)


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


@wrong("attention_scores", "scale_T")
def _(q, k):
    return torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(k.shape[-2])


@wrong("attention_scores", "scale_d")
def _(q, k):
    s = q.size(-1) ** -0.5
    return (q * s) @ (k * s).transpose(-1, -2)


@right("attention_scores")
def _(q, k):
    c = q.size(-1) ** -0.25
    return torch.einsum("...id,...jd->...ij", c * q, c * k)


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


@wrong("causal_attention", "mask_with_zero")
def _(q, k, v):
    n, d = q.shape[-2:]
    sc = torch.einsum("...id,...jd->...ij", q, k) / math.sqrt(d)
    sc = sc * torch.tril(torch.ones(n, n))
    return sc.softmax(-1) @ v


@wrong("causal_attention", "mask_after_softmax")
def _(q, k, v):
    n, d = q.shape[-2:]
    att = F.softmax(q @ k.mT / d**0.5, dim=-1)
    return att.tril() @ v


@right("causal_attention")
def _(q, k, v):
    rows = []
    for t in range(q.size(-2)):
        s = (q[..., t : t + 1, :] * k[..., : t + 1, :]).sum(-1) / math.sqrt(q.size(-1))
        w = torch.exp(s - torch.logsumexp(s, -1, keepdim=True))
        rows.append((w.unsqueeze(-1) * v[..., : t + 1, :]).sum(-2))
    return torch.stack(rows, dim=-2)


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


@wrong("split_heads", "view_only")
def _(x, n_head):
    B, T, C = x.shape
    return x.reshape(B, n_head, T, C // n_head)


@wrong("split_heads", "interleaved")
def _(x, n_head):
    heads = [x[:, :, h::n_head] for h in range(n_head)]
    return torch.stack(heads, dim=1)


@right("split_heads")
def _(x, n_head):
    return torch.stack(torch.tensor_split(x, n_head, dim=-1), dim=1)


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


@wrong("merge_heads", "no_transpose")
def _(y):
    B, H, T, d = y.shape
    return torch.reshape(y, (B, T, -1))


@wrong("merge_heads", "interleaved")
def _(y):
    return torch.einsum("bhtd->btdh", y).flatten(2)


@right("merge_heads")
def _(y):
    return torch.cat(list(y.unbind(1)), dim=-1)


@wrong("merge_heads", "along_time")
def _(y):
    return torch.cat([y[:, h] for h in range(y.shape[1])], dim=1)


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


@wrong("multi_head_attention", "scale_C")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    q, k, v = (
        z.unflatten(-1, (n_head, C // n_head)).transpose(1, 2) for z in (x @ Wqkv.T).split(C, -1)
    )
    att = q @ k.transpose(2, 3) / math.sqrt(C)
    att = att + torch.full((T, T), float("-inf")).triu(1)
    y = att.softmax(-1) @ v
    return y.transpose(1, 2).flatten(2) @ Wo.T


@wrong("multi_head_attention", "no_output_projection")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    q, k, v = torch.einsum("btc,oc->bto", x, Wqkv).chunk(3, -1)
    outs = []
    d = C // n_head
    for h in range(n_head):
        sl = slice(h * d, (h + 1) * d)
        outs.append(
            F.scaled_dot_product_attention(q[..., sl], k[..., sl], v[..., sl], is_causal=True)
        )
    return torch.cat(outs, -1)


@right("multi_head_attention")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    d = C // n_head
    w = Wqkv.view(3, n_head, d, C)
    q, k, v = torch.einsum("btc,nhdc->nbhtd", x, w)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return torch.einsum("bhtd,ohd->bto", y, Wo.view(C, n_head, d))


@wrong("multi_head_attention", "not_merged_back", "view_only")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    q, k, v = [z.reshape(B, n_head, T, C // n_head) for z in F.linear(x, Wqkv).chunk(3, -1)]
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(y.reshape(B, T, C), Wo)


@right("average_of_the_past")
def _(T):
    return torch.ones(T, T, dtype=torch.float64).tril() / torch.arange(1, T + 1)[:, None]


@wrong("attention_scores", "cosine")
def _(q, k):
    return F.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)


@wrong("attention_scores", "size_from_front")
def _(q, k):
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[1])


@right("causal_attention")
def _(q, k, v):
    n = q.size(-2)
    s = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    s = s + torch.triu(torch.ones(n, n, device=q.device), 1) * -1e9
    return s.softmax(-1) @ v


@right("causal_attention")
def _(q, k, v):
    n = q.size(-2)
    s = q @ k.mT / q.size(-1) ** 0.5 + torch.full((n, n), -math.inf).triu(1)  # on the CPU
    return s.softmax(-1) @ v


@wrong("causal_attention", "zero_scores")
def _(q, k, v):
    n = q.size(-2)
    s = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    s = s * torch.ones(n, n).tril()
    s = s.masked_fill(s == 0, -math.inf)
    return s.softmax(-1) @ v


@wrong("merge_heads", "flattened_too_far")
def _(y):
    return y.transpose(1, 2).flatten(1)


@right("multi_head_attention")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    d = C // n_head
    mask = torch.full((T, T), -math.inf).triu(1)  # on the CPU, which a remark says
    out = torch.zeros(B, T, C)
    for h in range(n_head):
        rows = slice(h * d, (h + 1) * d)
        q, k, v = (x @ W[rows].T for W in Wqkv.chunk(3))
        w = torch.softmax(q @ k.mT / d**0.5 + mask, -1)
        out = out + (w @ v) @ Wo[:, rows].T
    return out


@wrong("multi_head_attention", "packed_by_head")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    d = C // n_head
    q, k, v = (x @ Wqkv.T).view(B, T, n_head, 3 * d).transpose(1, 2).chunk(3, dim=-1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(B, T, C) @ Wo.T


@wrong("multi_head_attention", "among_heads")
def _(x, Wqkv, Wo, n_head):
    B, T, C = x.shape
    d = C // n_head
    q, k, v = (p.view(B, T, n_head, d) for p in (x @ Wqkv.T).chunk(3, dim=-1))
    y = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(d), dim=-1) @ v
    return y.reshape(B, T, C) @ Wo.T


@wrong("causal_attention", "input")
def _(q, k, v):
    return v + F.scaled_dot_product_attention(q, k, v, is_causal=True)
