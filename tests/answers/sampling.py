"""Answers to the exercises of chapter 6."""

import bisect
import itertools
import math

import torch
from torch.nn import functional as F

from answers import Answers

answers = Answers("sampling")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG


@right("with_temperature")
def _(z, heat):
    e = ((z - z.amax(-1, keepdim=True)) / heat).exp()
    return e / e.sum(-1, keepdim=True)


@right("with_temperature")
def _(z, heat):
    p = z.softmax(-1) ** (1 / heat)
    return p / p.sum(dim=-1, keepdim=True)


@wrong("with_temperature", "multiplied")
def _(z, heat):
    return F.softmax(z * heat, dim=-1)


@wrong("with_temperature", "after_softmax")
def _(z, heat):
    return z.softmax(-1) / heat


@wrong("with_temperature", "power")
def _(z, heat):
    return z.softmax(-1).pow(1 / heat)


@wrong("with_temperature", "ignored")
def _(logits, temperature):
    p = F.softmax(logits, dim=-1) / temperature
    return p / p.sum(-1, keepdim=True)


@wrong("with_temperature", "multiplied")
def _(logits, temperature):
    p = torch.softmax(logits, -1).pow(temperature)
    return p / p.sum(-1, keepdim=True)


@right("with_temperature")
def _(logits, temperature):
    lp = torch.log_softmax(logits, -1) * (1.0 / temperature)
    return torch.exp(lp - lp.logsumexp(-1, keepdim=True))


@wrong("with_temperature", "softmax_twice")
def _(logits, temperature):
    return torch.softmax(torch.softmax(logits, -1) / temperature, -1)


@right("top_k")
def _(z, k):
    best = z.topk(k)
    return torch.full_like(z, -math.inf).scatter(-1, best.indices, best.values)


@right("top_k")
def _(z, k):
    limit = z.sort(dim=-1, descending=True).values[..., k - 1, None]
    return torch.where(z >= limit, z, -torch.inf)


@wrong("top_k", "zero")
def _(z, k):
    best = z.topk(k)
    return torch.zeros_like(z).scatter(-1, best.indices, best.values)


@wrong("top_k", "one_too_few")
def _(z, k):
    limit = z.sort(dim=-1, descending=True).values[..., k - 1, None]
    return torch.where(z > limit, z, -torch.inf)


@wrong("top_k", "smallest")
def _(z, k):
    limit = z.sort(dim=-1).values[..., k - 1, None]
    return torch.where(z <= limit, z, -torch.inf)


@wrong("top_k", "values_only")
def _(z, k):
    return z.sort(dim=-1, descending=True).values[..., :k]


@wrong("top_k", "one_too_few")
def _(logits, k):
    srt = logits.sort(dim=-1).values
    thr = srt[..., -k].unsqueeze(-1)
    return torch.where(logits > thr, logits, torch.full_like(logits, -math.inf))


@wrong("top_k", "zero")
def _(logits, k):
    val, where = logits.topk(k, dim=-1)
    return torch.zeros_like(logits).scatter(-1, where, val)


@right("top_k")
def _(logits, k):
    rank = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
    return logits.where(rank < k, logits.new_tensor(-math.inf))


@wrong("top_k", "one_for_all")
def _(logits, k):
    kth = logits.flatten().topk(k).values[-1]
    return torch.where(logits >= kth, logits, -math.inf)


@right("nucleus")
def _(probs, p):
    out, total = torch.zeros_like(probs), 0.0
    for i in probs.argsort(descending=True).tolist():
        if total >= p:
            break
        out[i] = probs[i]
        total += float(probs[i])
    return out / out.sum()


@right("nucleus")
def _(probs, p):
    values, where = probs.sort(descending=True)
    before = values.cumsum(0) - values
    out = torch.zeros_like(probs)
    out[where] = torch.where(before < p, values, torch.zeros_like(values))
    return out / out.sum()


@wrong("nucleus", "drops_crossing")
def _(probs, p):
    values, where = probs.sort(descending=True)
    keep = values.cumsum(0) <= p
    out = torch.zeros_like(probs)
    out[where] = values * keep
    return out / out.sum()


@wrong("nucleus", "not_normalised")
def _(probs, p):
    out, total = torch.zeros_like(probs), 0.0
    for i in probs.argsort(descending=True).tolist():
        if total >= p:
            break
        out[i] = probs[i]
        total += float(probs[i])
    return out


@wrong("nucleus", "not_put_back")
def _(probs, p):
    values = probs.sort(descending=True).values
    values = torch.where(values.cumsum(0) - values < p, values, 0.0)
    return values / values.sum()


@wrong("nucleus", "ascending")
def _(probs, p):
    out, total = torch.zeros_like(probs), 0.0
    for i in probs.argsort().tolist():
        if total >= p:
            break
        out[i] = probs[i]
        total += float(probs[i])
    return out / out.sum()


@wrong("nucleus", "drops_crossing")
def _(probs, p):
    srt, order = probs.sort(descending=True)
    cum = srt.cumsum(0)
    keep = cum <= p
    out = torch.zeros_like(probs)
    out[order[keep]] = srt[keep]
    return out / out.sum()


@wrong("nucleus", "threshold")
def _(probs, p):
    kept = torch.where(probs >= 1 - p, probs, torch.zeros(()))
    return kept / kept.sum()


@right("nucleus")
def _(probs, p):
    ranked = sorted(range(len(probs)), key=lambda i: -probs[i].item())
    out = torch.zeros_like(probs)
    mass = 0.0
    for i in ranked:
        if mass >= p:
            break
        out[i] = probs[i]
        mass += probs[i].item()
    return out / out.sum()


@right("sample")
def _(probs, u):
    for i, end in enumerate(itertools.accumulate(probs.tolist())):
        if u < end:
            return i


@right("sample")
def _(probs, u):
    return torch.searchsorted(probs.cumsum(-1), u, right=True)


@wrong("sample", "border")
def _(probs, u):
    return torch.searchsorted(probs.cumsum(-1), u)


@right("sample")
def _(probs, u):
    return bisect.bisect(list(itertools.accumulate(probs.tolist())), u)


@wrong("sample", "favourite")
def _(probs, u):
    return int(probs.argmax())


@wrong("sample", "uniform")
def _(probs, u):
    return math.floor(len(probs) * u)


@wrong("sample", "no_cumsum")
def _(probs, u):
    return sum(1 for p in probs.tolist() if p <= u)


@wrong("sample", "one_too_far")
def _(probs, u):
    return int(torch.searchsorted(probs.cumsum(-1), u)) + 1


@wrong("sample", "nearest")
def _(probs, u):
    return int((probs - u).abs().argmin())


@wrong("sample", "one_too_far")
def _(probs, u):
    total = 0.0
    i = 0
    while total <= u:
        total += float(probs[i])
        i += 1
    return i


@right("sample")
def _(probs, u):
    left = u
    for i, q in enumerate(probs.tolist()):
        if left < q:
            return i
        left -= q
    return len(probs) - 1


@wrong("sample", "random")
def _(probs, u):
    return torch.multinomial(probs, 1).item()


@wrong("sample", "random")
def _(probs, u):
    return int(torch.multinomial(probs, 1))


@wrong("sample", "random")
def _(probs, u):
    u = torch.rand(1)
    return int((probs.cumsum(0) <= u).sum())


@right("greedy")
def _(net, tokens, n, limit):
    done = 0
    while done < n:
        seen = tokens[:, max(0, tokens.shape[1] - limit) :]
        best = net(seen)[:, -1, :].max(-1).indices
        tokens = torch.hstack([tokens, best.unsqueeze(1)])
        done += 1
    return tokens


@right("greedy")
def _(net, tokens, n, limit):
    if n == 0:
        return tokens
    z = net(tokens[:, -limit:])[:, -1]
    new = z.topk(1).indices
    rest = torch.cat((tokens, new), dim=-1)
    for _ in range(n - 1):
        rest = torch.cat((rest, net(rest[:, -limit:])[:, -1].topk(1).indices), dim=-1)
    return rest


@wrong("greedy", "no_crop")
def _(net, tokens, n, limit):
    for _ in range(n):
        best = net(tokens)[:, -1, :].max(-1).indices
        tokens = torch.hstack([tokens, best.unsqueeze(1)])
    return tokens


@wrong("greedy", "crops_the_end")
def _(net, tokens, n, limit):
    for _ in range(n):
        best = net(tokens[:, :limit])[:, -1, :].max(-1).indices
        tokens = torch.hstack([tokens, best[:, None]])
    return tokens


@wrong("greedy", "crops_the_result")
def _(net, tokens, n, limit):
    for _ in range(n):
        tokens = tokens[:, -limit:]
        best = net(tokens)[:, -1].argmax(-1)
        tokens = torch.hstack([tokens, best[:, None]])
    return tokens


@wrong("greedy", "first_logits")
def _(net, tokens, n, limit):
    for _ in range(n):
        best = net(tokens[:, -limit:])[:, 0].argmax(-1)
        tokens = torch.hstack([tokens, best[:, None]])
    return tokens


@wrong("greedy", "crops_the_end")
def _(model, idx, n_new, context_length):
    for _ in range(n_new):
        out = model(idx[:, :context_length])
        best = out[:, -1].argmax(-1, keepdim=True)
        idx = torch.hstack([idx, best])
    return idx


@wrong("greedy", "crops_the_result")
def _(model, idx, n_new, context_length):
    for _ in range(n_new):
        idx = idx[:, -context_length:]
        logits = model(idx)[:, -1, :]
        idx = torch.cat((idx, logits.topk(1).indices), dim=1)
    return idx


@right("greedy")
def _(model, idx, n_new, context_length):
    rows = idx
    while n_new > 0:
        seen = rows.narrow(
            1, max(0, rows.size(1) - context_length), min(context_length, rows.size(1))
        )
        lp = model(seen).select(1, -1).log_softmax(-1)
        rows = torch.column_stack((rows, lp.max(-1).indices))
        n_new -= 1
    return rows


@wrong("greedy", "asked_once")
def _(model, idx, n_new, context_length):
    best = model(idx[:, -context_length:])[:, -1].argmax(-1, keepdim=True)
    return torch.cat([idx] + [best] * n_new, dim=1)


@right("repetition_penalty")
def _(z, seen, factor):
    z = z.clone()
    for i in set(seen):
        z[i] = z[i] / factor if z[i] > 0 else z[i] * factor
    return z


@right("repetition_penalty")
def _(z, seen, factor):
    mask = torch.zeros(len(z), dtype=torch.bool)
    mask[torch.tensor(seen, dtype=torch.long)] = True
    return torch.where(mask, torch.minimum(z / factor, z * factor), z)


@wrong("repetition_penalty", "divides_all")
def _(z, seen, factor):
    z = z.clone()
    for i in set(seen):
        z[i] /= factor
    return z


@wrong("repetition_penalty", "per_occurrence")
def _(z, seen, factor):
    z = z.clone()
    for i in seen:
        z[i] = z[i] / factor if z[i] > 0 else z[i] * factor
    return z


@wrong("repetition_penalty", "every_token")
def _(z, seen, factor):
    return torch.minimum(z / factor, z * factor)


@wrong("repetition_penalty", "subtracts")
def _(z, seen, factor):
    z = z.clone()
    for i in set(seen):
        z[i] -= factor
    return z


@wrong("repetition_penalty", "divides_all")
def _(logits, seen, penalty):
    scores = logits.clone()
    for tok in set(seen):
        scores[tok] /= penalty
    return scores


@wrong("repetition_penalty", "per_occurrence")
def _(logits, seen, penalty):
    scores = logits.clone()
    for tok in seen:
        scores[tok] = scores[tok] / penalty if scores[tok] > 0 else scores[tok] * penalty
    return scores


@right("repetition_penalty")
def _(logits, seen, penalty):
    hit = torch.zeros(len(logits), dtype=torch.bool)
    for s in seen:
        hit[s] = True
    alt = torch.minimum(logits / penalty, logits * penalty)
    return torch.where(hit, alt, logits)


@wrong("repetition_penalty", "swapped")
def _(logits, seen, penalty):
    out = logits.clone()
    idx = torch.tensor(sorted(set(seen)))
    old = out[idx]
    out[idx] = torch.where(old < 0, old / penalty, old * penalty)
    return out


@right("attend_with_cache")
def _(q, k, v, past):
    keys = torch.cat((past[0], k), -2)
    values = torch.cat((past[1], v), -2)
    return F.scaled_dot_product_attention(q, keys, values), [keys, values]


@right("attend_with_cache")
def _(q, k, v, past):
    K, V = past
    K, V = torch.cat([K, k], dim=2), torch.cat([V, v], dim=2)
    w = torch.einsum("bhqd,bhkd->bhqk", q, K).div(q.shape[-1] ** 0.5).softmax(dim=-1)
    return torch.einsum("bhqk,bhkd->bhqd", w, V), (K, V)


@wrong("attend_with_cache", "old_cache")
def _(q, k, v, past):
    keys = torch.cat((past[0], k), -2)
    values = torch.cat((past[1], v), -2)
    return F.scaled_dot_product_attention(q, keys, values), past


@wrong("attend_with_cache", "square_mask")
def _(q, k, v, past):
    keys = torch.cat((past[0], k), -2)
    values = torch.cat((past[1], v), -2)
    return F.scaled_dot_product_attention(q, keys, values, is_causal=True), (keys, values)


@wrong("attend_with_cache", "past_only")
def _(q, k, v, past):
    out = F.scaled_dot_product_attention(q, past[0], past[1])
    return out, (torch.cat((past[0], k), -2), torch.cat((past[1], v), -2))


@wrong("attend_with_cache", "no_scale")
def _(q, k, v, past):
    keys = torch.cat((past[0], k), -2)
    values = torch.cat((past[1], v), -2)
    return F.scaled_dot_product_attention(q, keys, values, scale=1.0), (keys, values)


@wrong("attend_with_cache", "past_only")
def _(q_new, k_new, v_new, cache):
    pk, pv = cache
    att = torch.softmax(q_new @ pk.mT / math.sqrt(q_new.size(-1)), -1)
    y = att @ pv
    return y, (torch.cat([pk, k_new], 2), torch.cat([pv, v_new], 2))


@wrong("attend_with_cache", "old_cache")
def _(q_new, k_new, v_new, cache):
    keys = torch.cat((cache[0], k_new), dim=-2)
    vals = torch.cat((cache[1], v_new), dim=-2)
    y = F.scaled_dot_product_attention(q_new, keys, vals)
    return y, cache


@right("attend_with_cache")
def _(q_new, k_new, v_new, cache):
    old_k, old_v = cache
    keys = torch.cat((old_k, k_new), dim=-2)
    vals = torch.cat((old_v, v_new), dim=-2)
    return F.scaled_dot_product_attention(q_new, keys, vals), [keys, vals]


@right("kv_cache_bytes")
def _(layers, heads, size, n, rows, width):
    one_token = heads * size * width
    return layers * rows * n * (one_token + one_token)


@right("kv_cache_bytes")
def _(layers, heads, size, n, rows, width):
    return math.prod([2, layers, heads, size, n, rows, width])


@wrong("kv_cache_bytes", "keys_only")
def _(layers, heads, size, n, rows, width):
    return math.prod([layers, heads, size, n, rows, width])


@wrong("kv_cache_bytes", "no_layers")
def _(layers, heads, size, n, rows, width):
    return 2 * rows * n * heads * size * width


@wrong("kv_cache_bytes", "quadratic")
def _(layers, heads, size, n, rows, width):
    return 2 * rows * n * n * heads * size * width * layers


@wrong("kv_cache_bytes", "keys_only")
def _(n_layer, n_head, head_size, length, batch, bytes_per_value):
    per_token = n_layer * n_head * head_size
    return per_token * length * batch * bytes_per_value


@wrong("kv_cache_bytes", "quadratic")
def _(n_layer, n_head, head_size, length, batch, bytes_per_value):
    return 2 * n_layer * n_head * head_size * length**2 * batch * bytes_per_value


@right("kv_cache_bytes")
def _(n_layer, n_head, head_size, length, batch, bytes_per_value):
    one = math.prod((batch, n_head, length, head_size))
    return float(sum(one * bytes_per_value for _ in range(n_layer) for _kv in ("k", "v")))


@right("residual_distribution")
def _(target, draft):
    gap = (target - draft).relu()
    return gap / gap.sum(-1, keepdim=True)


@right("residual_distribution")
def _(target, draft):
    gap = [max(0.0, a - b) for a, b in zip(target.tolist(), draft.tolist())]
    return torch.tensor(gap) / sum(gap)


@wrong("residual_distribution", "swapped")
def _(target, draft):
    gap = (draft - target).relu()
    return gap / gap.sum()


@wrong("residual_distribution", "absolute")
def _(target, draft):
    gap = torch.abs(draft - target)
    return gap / gap.sum()


@wrong("residual_distribution", "not_normalised")
def _(target, draft):
    return torch.maximum(target - draft, torch.zeros_like(target))


@wrong("residual_distribution", "absolute")
def _(p, q):
    d = torch.abs(p - q)
    return d / d.sum()


@wrong("residual_distribution", "softmax")
def _(p, q):
    d = torch.relu(p - q)
    return F.softmax(d, dim=0)


@right("residual_distribution")
def _(p, q):
    d = p - torch.minimum(p, q)
    return d / (1 - torch.minimum(p, q).sum())


@right("with_temperature")
def _(logits, temperature):  # overflows early, which a remark says
    e = torch.exp(logits / temperature)
    return e / e.sum(-1, keepdim=True)


@wrong("with_temperature", "sum_of_all")
def _(logits, temperature):
    e = torch.exp(logits / temperature)
    return e / e.sum()


@wrong("top_k", "not_infinite")
def _(logits, k):
    return logits.masked_fill(logits < logits.topk(k).values[..., -1:], -1e9)


@wrong("nucleus", "softmax")
def _(probs, p):
    s, order = torch.sort(probs, descending=True)
    kept = s * (s.cumsum(0) - s < p)
    return torch.softmax(torch.zeros_like(probs).scatter(0, order, kept), dim=0)


@wrong("nucleus", "reached_exactly")
def _(probs, p):
    s, order = torch.sort(probs, descending=True)
    kept = s * (s.cumsum(0) - s <= p)
    out = torch.zeros_like(probs)
    out[order] = kept / kept.sum()
    return out


@wrong("sample", "border")
def _(probs, u):
    return int((torch.cumsum(probs, 0) < u).sum())


@right("sample")
def _(probs, u):
    return (probs.cumsum(0) > u).int().argmax()


@wrong("sample", "sorted")
def _(probs, u):
    s, order = probs.sort(descending=True)
    return int(order[int((s.cumsum(0) <= u).sum())])


@wrong("greedy", "several_at_once")
def _(model, idx, n_new, context_length):
    last = model(idx[:, -context_length:])[:, -1]
    return torch.cat([idx, last.topk(n_new, dim=-1).indices], dim=1)


@wrong("greedy", "one_for_all")
def _(model, idx, n_new, context_length):
    for _ in range(n_new):
        last = model(idx[:, -context_length:])[:, -1]
        best = last.argmax() % last.size(-1)
        idx = torch.cat([idx, best.expand(len(idx), 1)], dim=1)
    return idx


@wrong("repetition_penalty", "threshold")
def _(logits, seen, penalty):
    out = logits.clone()
    for i in set(seen):
        out[i] = out[i] / penalty if out[i] > 1 else out[i] * penalty
    return out


def _cached(q, k, v, cache, axis=2, weights=torch.softmax):
    keys, values = torch.cat([cache[0], k], axis), torch.cat([cache[1], v], axis)
    scores = q @ keys.mT / math.sqrt(q.size(-1))
    return weights(scores, -1) @ values, keys, values


@wrong("attend_with_cache", "flat")
def _(q, k, v, cache):
    return _cached(q, k, v, cache)


@wrong("attend_with_cache", "wrong_axis")
def _(q, k, v, cache):
    out, keys, values = _cached(q, k, v, cache, axis=1)
    return out, (keys, values)


@wrong("attend_with_cache", "no_softmax")
def _(q, k, v, cache):
    out, keys, values = _cached(q, k, v, cache, weights=lambda scores, dim: scores)
    return out, (keys, values)


@right("attend_with_cache")
def _(q, k, v, cache):
    out, keys, values = _cached(q, k, v, cache)
    return [out, [keys, values]]


@wrong("kv_cache_bytes", "divided")
def _(layers, heads, size, length, batch, each):
    return 2 * layers * heads * size * length * batch / each


@wrong("residual_distribution", "count")
def _(p, q):
    more = (p - q).clamp(min=0)
    return more / (more > 0).sum()


@wrong("residual_distribution", "rejected_share")
def _(p, q):
    rest = p * (1 - torch.clamp(p / q, max=1))
    return rest / rest.sum()


@wrong("residual_distribution", "relative")
def _(p, q):
    more = (p / q - 1).clamp(min=0)
    return more / more.sum()


@wrong("with_temperature", "temperature")
def _(logits, temperature):
    return torch.softmax(logits.sign() * logits.abs() ** (1 / temperature), dim=-1)


@wrong("repetition_penalty", "negative")
def _(logits, seen, penalty):
    out = logits.clone()
    for i in set(seen):
        out[i] = out[i] / penalty if out[i] > 0 else out[i] - penalty
    return out


@wrong("kv_cache_bytes", "batch")
def _(layers, heads, size, length, batch, each):
    return 2 * layers * heads * size * length * each * (2 * batch - 1)
