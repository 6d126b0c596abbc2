"""Answers to the exercises of chapter 4."""

import math

import torch
from torch.nn import functional as F

from answers import Answers

answers = Answers("transformer")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG


@right("layer_norm")
def _(x, g, b, eps):
    return F.layer_norm(x, x.shape[-1:], g, b, eps)


@right("layer_norm")
def _(x, g, b, eps):
    n = x.shape[-1]
    mu = (x.sum(-1) / n)[..., None]
    centred = x - mu
    power = (centred * centred).sum(-1, keepdim=True) / n
    return centred * (power + eps).rsqrt() * g + b


@wrong("layer_norm", "unbiased")
def _(x, g, b, eps):
    z = x - x.mean(-1, keepdim=True)
    return g * z / (x.var(-1, keepdim=True) + eps) ** 0.5 + b


@wrong("layer_norm", "eps_outside")
def _(x, g, b, eps):
    z = x - x.mean(-1, keepdim=True)
    return g * z / (z.pow(2).mean(-1, keepdim=True).sqrt() + eps) + b


@wrong("layer_norm", "not_centred")
def _(x, g, b, eps):
    mean = x.mean(-1, True)
    spread = ((x - mean) ** 2).mean(-1, True)
    return x * torch.rsqrt(spread + eps) * g + b


@wrong("layer_norm", "no_gain_and_bias")
def _(x, g, b, eps):
    return F.layer_norm(x, x.shape[-1:], eps=eps)


@wrong("layer_norm", "unbiased")
def _(x, gain, bias, eps):
    v, m = torch.var_mean(x, dim=-1, keepdim=True)
    return gain * (x - m) * torch.rsqrt(v + eps) + bias


@wrong("layer_norm", "eps_outside")
def _(x, gain, bias, eps):
    m = x.mean(-1, keepdim=True)
    s = ((x - m) ** 2).mean(-1, keepdim=True).sqrt()
    return (x - m) / (s + eps) * gain + bias


@right("layer_norm")
def _(x, gain, bias, eps):
    c = x - torch.einsum("...c->...", x).unsqueeze(-1) / x.shape[-1]
    var = torch.einsum("...c,...c->...", c, c).unsqueeze(-1) / x.shape[-1]
    return torch.addcmul(bias.expand_as(x), c * (var + eps).pow(-0.5), gain)


@right("gelu")
def _(x):
    return F.gelu(x, approximate="tanh")


@right("gelu")
def _(x):
    c = (2 / math.pi) ** 0.5
    z = torch.tanh(c * x + c * 0.044715 * x.pow(3))
    return x * 0.5 + x * 0.5 * z


@right("gelu")
def _(x):
    inner = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return x * torch.sigmoid(inner)


@wrong("gelu", "exact")
def _(x):
    return F.gelu(x)


@wrong("gelu", "relu")
def _(x):
    return x.clamp(min=0)


@wrong("gelu", "no_half")
def _(x):
    c = (2 / math.pi) ** 0.5
    return x + x * torch.tanh(c * (x + 0.044715 * x.pow(3)))


@wrong("gelu", "square")
def _(x):
    c = (2 / math.pi) ** 0.5
    return 0.5 * x * (1 + torch.tanh(c * (x + 0.044715 * x * x)))


@wrong("gelu", "root")
def _(x):
    return 0.5 * x * (1 + torch.tanh(2 / math.pi * (x + 0.044715 * x**3)))


@wrong("gelu", "exact")
def _(x):
    return F.gelu(x)


@right("gelu")
def _(x):
    z = math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x)
    return x * torch.sigmoid(2 * z)


@right("block")
def _(stream, n1, talk, n2, think):
    middle = stream + talk(n1(stream))
    return middle + think(n2(middle))


@right("block")
def _(x, *parts):
    for norm, part in (parts[:2], parts[2:]):
        x = torch.add(part(norm(x)), x)
    return x


@wrong("block", "post_norm")
def _(x, n1, talk, n2, think):
    a = n1(x + talk(x))
    return n2(a + think(a))


@wrong("block", "parallel")
def _(x, n1, talk, n2, think):
    return x + talk(n1(x)) + think(n2(x))


@wrong("block", "no_residual")
def _(x, n1, talk, n2, think):
    return think(n2(talk(n1(x))))


@wrong("block", "residual_from_normed")
def _(x, n1, talk, n2, think):
    x = n1(x)
    x = x + talk(x)
    x = n2(x)
    return x + think(x)


@wrong("block", "post_norm")
def _(x, ln_1, attn, ln_2, mlp):
    x = ln_1(x + attn(x))
    x = ln_2(x + mlp(x))
    return x


@wrong("block", "parallel")
def _(x, ln_1, attn, ln_2, mlp):
    return x + attn(ln_1(x)) + mlp(ln_2(x))


@right("block")
def _(x, ln_1, attn, ln_2, mlp):
    delta = attn(ln_1(x))
    return torch.stack([x, delta, mlp(ln_2(delta + x))]).sum(0)


@right("embed")
def _(ids, tokens, places):
    where = torch.arange(ids.shape[1], device=ids.device)
    return F.embedding(ids, tokens) + F.embedding(where, places)


@right("embed")
def _(ids, tokens, places):
    rows = [tokens[ids[:, t]] + places[t] for t in range(ids.shape[1])]
    return torch.stack(rows, dim=1)


@wrong("embed", "positions_by_token")
def _(ids, tokens, places):
    return F.embedding(ids, tokens) + F.embedding(ids, places)


@wrong("embed", "from_one")
def _(ids, tokens, places):
    where = torch.arange(1, ids.shape[1] + 1)
    return tokens[ids] + places[where]


@wrong("embed", "no_positions")
def _(ids, tokens, places):
    return F.embedding(ids, tokens)


@wrong("embed", "one_position")
def _(ids, tokens, places):
    out = tokens[ids]
    return out + places[ids.shape[1] - 1]


@wrong("embed", "positions_by_token")
def _(idx, wte, wpe):
    return F.embedding(idx, wte) + F.embedding(idx % len(wpe), wpe)


@wrong("embed", "from_one")
def _(idx, wte, wpe):
    tok = wte[idx]
    pos = wpe[1 : idx.shape[1] + 1]
    return tok + pos


@right("embed")
def _(idx, wte, wpe):
    hot = F.one_hot(idx, wte.shape[0]).to(wte.dtype)
    return torch.einsum("btv,vc->btc", hot, wte) + wpe.narrow(0, 0, idx.shape[1])


@right("count_params")
def _(v, t, n, c):
    return (v + t) * c + n * (12 * c**2 + 13 * c) + 2 * c


@right("count_params")
def _(v, t, n, c):
    linear = lambda a, b: a * b + b  # noqa: E731
    one = linear(c, 3 * c) + linear(c, c) + linear(c, 4 * c) + linear(4 * c, c) + 4 * c
    return v * c + t * c + one * n + 2 * c


@wrong("count_params", "no_biases")
def _(v, t, n, c):
    return (v + t) * c + n * (12 * c**2 + 4 * c) + 2 * c


@wrong("count_params", "untied")
def _(v, t, n, c):
    return (2 * v + t) * c + n * (12 * c * c + 13 * c) + 2 * c


@wrong("count_params", "no_norms", "no_final_norm")
def _(v, t, n, c):
    return (v + t) * c + n * (12 * c**2 + 9 * c)


@wrong("count_params", "no_positions")
def _(v, t, n, c):
    return v * c + n * (12 * c**2 + 13 * c) + 2 * c


@wrong("count_params", "no_output_projection")
def _(V, T, L, C):
    attn = C * 3 * C + 3 * C
    mlp = C * 4 * C + 4 * C + 4 * C * C + C
    return V * C + T * C + L * (attn + mlp + 4 * C) + 2 * C


@wrong("count_params", "scores")
def _(V, T, L, C):
    attn = 4 * C * C + 4 * C + T * T
    mlp = 8 * C * C + 5 * C
    return V * C + T * C + L * (attn + mlp + 4 * C) + 2 * C


@right("count_params")
def _(V, T, L, C):
    shapes = [(V, C), (T, C), (C,), (C,)]
    shapes += L * [
        (3 * C, C),
        (3 * C,),
        (C, C),
        (C,),
        (4 * C, C),
        (4 * C,),
        (C, 4 * C),
        (C,),
        (C,),
        (C,),
        (C,),
        (C,),
    ]
    return sum(math.prod(s) for s in shapes)


@wrong("count_params", "no_biases")
def _(V, T, L, C):
    attn = 4 * (C * C + C)
    mlp = 4 * C * C + 4 * C + C * 4 * C
    return V * C + T * C + L * (attn + mlp + 4 * C) + 2 * C


@wrong("count_params", "no_norms")
def _(V, T, L, C):
    return V * C + T * C + L * (4 * C * C + 8 * C * C + 5 * C + 4 * C) + 2 * C


@wrong("gelu", "constant_cubed")
def _(x):
    return 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + (0.044715 * x) ** 3)))


@wrong("embed", "by_batch")
def _(idx, wte, wpe):
    return wte[idx] + wpe[: len(idx)]


@wrong("embed", "one_position")
def _(idx, wte, wpe):
    return wte[idx] + wpe[idx.size(1)]


@right("embed")
def _(idx, wte, wpe):
    return F.one_hot(idx, len(wte)).to(wte) @ wte + wpe.narrow(0, 0, idx.shape[-1])


@wrong("count_params", "mlp_biases")
def _(V, T, L, C):
    attention = 4 * C * C + 4 * C
    mlp = 8 * C * C + 8 * C
    return V * C + T * C + L * (attention + mlp + 2 * 2 * C) + 2 * C


@wrong("count_params", "mlp_width")
def _(V, T, L, C):
    attention = 4 * C * C + 4 * C
    mlp = 2 * C * C + 2 * C
    return V * C + T * C + L * (attention + mlp + 2 * 2 * C) + 2 * C


@right("count_params")
def _(V, T, L, C):
    return float(V * C + T * C + L * (12 * C**2 + 13 * C) + 2 * C)


@wrong("layer_norm", "gain")
def _(x, gain, bias, eps):
    return F.layer_norm(x, x.shape[-1:], eps=eps) * gain.abs() + bias


@wrong("count_params", "block")
def _(V, T, L, C):
    attention, mlp = 4 * C * C + 4 * C, 4 * C * C + 4 * C + 16 * C * C + C
    return V * C + T * C + L * (attention + mlp + 4 * C) + 2 * C
