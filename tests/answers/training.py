"""Answers to the exercises of chapter 5."""

import math

import torch
from torch.nn import functional as F

from answers import Answers

answers = Answers("training")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG


@right("lm_loss")
def _(z, tokens):
    logp = z.log_softmax(-1)[:, :-1]
    return -logp.gather(-1, tokens[:, 1:, None]).mean()


@right("lm_loss")
def _(z, tokens):
    return F.cross_entropy(z[:, :-1].transpose(1, 2), tokens[:, 1:])


@right("lm_loss")
def _(z, tokens):
    B, T, V = z.shape
    total = 0.0
    for b in range(B):
        for t in range(T - 1):
            total = total - torch.log(torch.softmax(z[b, t], 0)[tokens[b, t + 1]])
    return total / (B * (T - 1))


@wrong("lm_loss", "no_shift")
def _(z, tokens):
    return F.cross_entropy(z.flatten(0, 1), tokens.flatten())


@wrong("lm_loss", "last_only")
def _(z, tokens):
    return F.cross_entropy(z[:, -2, :], tokens[:, -1])


@wrong("lm_loss", "sum")
def _(z, tokens):
    logp = z.log_softmax(-1)[:, :-1]
    return -logp.gather(-1, tokens[:, 1:, None]).sum()


@wrong("lm_loss", "bad_flatten")
def _(z, tokens):
    return F.cross_entropy(
        z[:, :-1].permute(0, 2, 1).reshape(-1, z.size(-1)), tokens[:, 1:].ravel()
    )


@wrong("lm_loss", "softmax_first")
def _(z, tokens):
    return F.cross_entropy(z.softmax(-1)[:, :-1].transpose(1, 2), tokens[:, 1:])


@wrong("lm_loss", "no_shift")
def _(logits, idx):
    return F.cross_entropy(logits.flatten(0, 1), idx.flatten())


@wrong("lm_loss", "sum_over_time")
def _(logits, idx):
    lp = logits[:, :-1].log_softmax(-1)
    s = lp.gather(2, idx[:, 1:].unsqueeze(-1)).squeeze(-1)
    return -s.sum(1).mean()


@right("lm_loss")
def _(logits, idx):
    lp = logits - torch.logsumexp(logits, 2, keepdim=True)
    tot = 0.0
    n = 0
    for b in range(idx.shape[0]):
        for t in range(idx.shape[1] - 1):
            tot -= lp[b, t, idx[b, t + 1]].item()
            n += 1
    return tot / n


@right("adamw_step")
def _(w, grad, m, v, step, rate, beta1, beta2, tiny, decay):
    m = torch.lerp(m, grad, 1 - beta1)
    v = torch.lerp(v, grad.square(), 1 - beta2)
    update = m / (1 - beta1**step) / ((v / (1 - beta2**step)).sqrt() + tiny)
    return w - rate * (update + decay * w), m, v


@right("adamw_step")
def _(w, grad, m, v, step, rate, beta1, beta2, tiny, decay):
    w, m, v = w.clone(), m.clone(), v.clone()
    w *= 1 - rate * decay
    m.mul_(beta1).add_(grad, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    denominator = v.sqrt() / math.sqrt(1 - beta2**step) + tiny
    w -= rate / (1 - beta1**step) * m / denominator
    return [w, m, v]


@wrong("adamw_step", "l2")
def _(w, grad, m, v, step, rate, beta1, beta2, tiny, decay):
    grad = grad + decay * w
    m = torch.lerp(m, grad, 1 - beta1)
    v = torch.lerp(v, grad.square(), 1 - beta2)
    update = m / (1 - beta1**step) / ((v / (1 - beta2**step)).sqrt() + tiny)
    return w - rate * update, m, v


@wrong("adamw_step", "no_correction")
def _(w, grad, m, v, step, rate, beta1, beta2, tiny, decay):
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    return w * (1 - rate * decay) - rate * m / (v**0.5 + tiny), m, v


@wrong("adamw_step", "eps_inside")
def _(w, grad, m, v, step, rate, beta1, beta2, tiny, decay):
    m = torch.lerp(m, grad, 1 - beta1)
    v = torch.lerp(v, grad.square(), 1 - beta2)
    update = m / (1 - beta1**step) / (v / (1 - beta2**step) + tiny).sqrt()
    return w - rate * (update + decay * w), m, v


@wrong("adamw_step", "decay_without_lr")
def _(w, grad, m, v, step, rate, beta1, beta2, tiny, decay):
    m = torch.lerp(m, grad, 1 - beta1)
    v = torch.lerp(v, grad.square(), 1 - beta2)
    update = m / (1 - beta1**step) / ((v / (1 - beta2**step)).sqrt() + tiny)
    return w - rate * update - decay * w, m, v


@wrong("adamw_step", "l2")
def _(p, g, m, v, t, lr, b1, b2, eps, wd):
    g = g + wd * p
    m = torch.lerp(g, m, b1)
    v = torch.lerp(g.square(), v, b2)
    mh, vh = m / (1 - b1**t), v / (1 - b2**t)
    return p - lr * mh / (vh.sqrt() + eps), m, v


@wrong("adamw_step", "t_from_zero")
def _(p, g, m, v, t, lr, b1, b2, eps, wd):
    m = m * b1 + g * (1 - b1)
    v = v * b2 + g * g * (1 - b2)
    m_hat = m / (1 - b1 ** (t - 1) if t > 1 else 1)
    v_hat = v / (1 - b2 ** (t - 1) if t > 1 else 1)
    p = p * (1 - lr * wd) - lr * m_hat / (torch.sqrt(v_hat) + eps)
    return p, m, v


@right("adamw_step")
def _(p, g, m, v, t, lr, b1, b2, eps, wd):
    m = m + (1 - b1) * (g - m)
    v = torch.addcmul(b2 * v, g, g, value=1 - b2)
    step = lr / (1 - math.pow(b1, t))
    denom = v.sqrt() / math.sqrt(1 - math.pow(b2, t)) + eps
    return torch.addcdiv(p * (1 - lr * wd), m, denom, value=-step), m, v


@right("lr_at")
def _(i, up, end, top, bottom):
    if i < up:
        return top / up * (i + 1)
    share = min(1.0, (i - up) / (end - up))
    return bottom + (top - bottom) * (math.cos(share * math.pi) + 1) / 2


@right("lr_at")
def _(i, up, end, top, bottom):
    if i >= end:
        return bottom
    if i < up:
        return (i + 1) * top / up
    half = math.cos(math.pi * (i - up) / (end - up) / 2) ** 2
    return torch.tensor(half * top + (1 - half) * bottom)


@wrong("lr_at", "zero_first")
def _(i, up, end, top, bottom):
    if i < up:
        return top * (i / up)
    share = min(1.0, (i - up) / (end - up))
    return bottom + (top - bottom) * (math.cos(share * math.pi) + 1) / 2


@wrong("lr_at", "no_end")
def _(i, up, end, top, bottom):
    if i < up:
        return top / up * (i + 1)
    share = (i - up) / (end - up)
    return bottom + (top - bottom) * (math.cos(share * math.pi) + 1) / 2


@wrong("lr_at", "linear")
def _(i, up, end, top, bottom):
    if i < up:
        return top / up * (i + 1)
    share = min(1.0, (i - up) / (end - up))
    return top + share * (bottom - top)


@wrong("lr_at", "min_ignored")
def _(i, up, end, top, bottom):
    if i >= end:
        return bottom
    if i < up:
        return (i + 1) * top / up
    return top * math.cos(math.pi * (i - up) / (end - up) / 2) ** 2


@wrong("lr_at", "zero_first", "no_end")
def _(i, up, end, top, bottom):
    if i < up:
        return i / up * top
    share = (i - up) / (end - up)
    return bottom + (top - bottom) / 2 * (1 + math.cos(share * math.pi))


@wrong("lr_at", "progress_from_zero")
def _(step, warmup, total, max_lr, min_lr):
    if step < warmup:
        return max_lr * (step + 1) / warmup
    if step >= total:
        return min_lr
    frac = step / total
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * frac)) / 2


@wrong("lr_at", "min_ignored")
def _(step, warmup, total, max_lr, min_lr):
    if step < warmup:
        return (step + 1) / warmup * max_lr
    if step >= total:
        return min_lr
    frac = (step - warmup) / (total - warmup)
    return max(min_lr, max_lr * 0.5 * (1 + math.cos(math.pi * frac)))


@right("lr_at")
def _(step, warmup, total, max_lr, min_lr):
    if step < warmup:
        return torch.tensor(max_lr * (1 + step) / warmup, dtype=torch.float64)
    frac = min(1.0, (step - warmup) / max(1, total - warmup))
    return max_lr - (max_lr - min_lr) * math.sin(math.pi * frac / 2) ** 2


@right("clip_gradients")
def _(tensors, most):
    length = torch.cat([t.flatten() for t in tensors]).norm()
    factor = (most / (length + 1e-6)).clamp(max=1)
    return [factor * t for t in tensors]


@right("clip_gradients")
def _(tensors, most):
    length = math.sqrt(sum(float((t * t).sum()) for t in tensors))
    if length <= most:
        return [t.clone() for t in tensors]
    return tuple(t * (most / length) for t in tensors)


@wrong("clip_gradients", "per_tensor")
def _(tensors, most):
    out = []
    for t in tensors:
        n = t.norm()
        out.append(t * most / n if n > most else t)
    return out


@wrong("clip_gradients", "by_value")
def _(tensors, most):
    return [torch.clip(t, -most, most) for t in tensors]


@wrong("clip_gradients", "always")
def _(tensors, most):
    length = torch.cat([t.flatten() for t in tensors]).norm()
    return [t / length * most for t in tensors]


@wrong("clip_gradients", "sum_of_norms")
def _(tensors, most):
    length = sum(float(t.norm()) for t in tensors)
    return [t * min(1, most / length) for t in tensors]


@wrong("clip_gradients", "per_tensor")
def _(grads, max_norm):
    out = []
    for g in grads:
        n = g.norm()
        out.append(g * (max_norm / n) if n > max_norm else g)
    return out


@wrong("clip_gradients", "sum_of_norms")
def _(grads, max_norm):
    n = sum(float(g.norm()) for g in grads)
    f = min(1.0, max_norm / n)
    return [f * g for g in grads]


@right("clip_gradients")
def _(grads, max_norm):
    n = math.sqrt(sum(float((g * g).sum()) for g in grads))
    if n <= max_norm:
        return list(grads)
    return [torch.div(g, n / max_norm) for g in grads]


@right("accumulated_gradient")
def _(w, xs, ys):
    x, y = torch.cat(list(xs)), torch.cat(list(ys))
    return 2 * x.T @ (x @ w - y) / len(x)


@right("accumulated_gradient")
def _(w, xs, ys):
    parts = []
    for x, y in zip(xs, ys):
        v = w.detach().clone().requires_grad_()
        parts.append(torch.autograd.grad(((x @ v - y) ** 2).mean(), v)[0])
    return torch.stack(parts).mean(dim=0)


@wrong("accumulated_gradient", "sum")
def _(w, xs, ys):
    return sum(2 / len(x) * x.T @ (x @ w - y) for x, y in zip(xs, ys))


@wrong("accumulated_gradient", "last_only")
def _(w, xs, ys):
    for x, y in zip(xs, ys):
        g = 2 * x.T @ (x @ w - y) / x.shape[0]
    return g


@wrong("accumulated_gradient", "both_counts")
def _(w, xs, ys):
    x, y = torch.cat(xs), torch.cat(ys)
    return 2 * x.T @ (x @ w - y) / len(x) / len(xs[0])


@wrong("accumulated_gradient", "sum")
def _(w, xs, ys):
    acc = torch.zeros_like(w)
    for xb, yb in zip(xs, ys):
        err = torch.matmul(xb, w) - yb
        acc = acc + 2 * torch.einsum("nd,no->do", xb, err) / xb.shape[0]
    return acc


@wrong("accumulated_gradient", "running_average")
def _(w, xs, ys):
    total = torch.zeros_like(w)
    for x, y in zip(xs, ys):
        g = 2 * x.T @ (x @ w - y) / len(x)
        total = (total + g) / 2
    return total


@right("accumulated_gradient")
def _(w, xs, ys):
    X, Y = torch.cat(list(xs)), torch.cat(list(ys))
    w_ = w.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        loss = ((X @ w_ - Y) ** 2).mean()
    return torch.autograd.grad(loss, w_)[0]


@right("residual_init_std")
def _(layers):
    return math.sqrt(0.02**2 / (layers + layers))


@right("residual_init_std")
def _(layers):
    return torch.tensor(2.0 * layers).rsqrt() * 0.02


@wrong("residual_init_std", "one_per_block")
def _(layers):
    return 0.02 * layers**-0.5


@wrong("residual_init_std", "no_root")
def _(layers):
    return 0.01 / layers


@wrong("residual_init_std", "constant")
def _(layers):
    return 2e-2


@wrong("residual_init_std", "no_root")
def _(n_layer):
    writers = n_layer + n_layer
    return 0.02 / writers


@wrong("residual_init_std", "one_per_block")
def _(n_layer):
    return 0.02 * n_layer**-0.5


@right("residual_init_std")
def _(n_layer):
    return torch.tensor(2.0 * n_layer).rsqrt() * 0.02


@wrong("residual_init_std", "root_of_all")
def _(n_layer):
    return math.sqrt(0.02 / (2 * n_layer))


@wrong("lm_loss", "shifted_after_flattening")
def _(logits, idx):
    guesses = logits.reshape(-1, logits.size(-1))[:-1]
    return F.cross_entropy(guesses, idx.reshape(-1)[1:])


@wrong("lm_loss", "divided_by_all")
def _(logits, idx):
    logp = logits[:, :-1].log_softmax(-1).gather(-1, idx[:, 1:, None])
    return -logp.sum() / idx.numel()


@wrong("adamw_step", "other_correction")
def _(p, g, m, v, t, lr, b1, b2, eps, wd):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b1**t)
    return p - lr * m_hat / (v_hat.sqrt() + eps) - lr * wd * p, m, v


@wrong("adamw_step", "betas_swapped")
def _(p, g, m, v, t, lr, b2, b1, eps, wd):
    m, v = m.lerp(g, 1 - b1), v.lerp(g * g, 1 - b2)
    step = m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps)
    return p - lr * step - lr * wd * p, m, v


@wrong("lr_at", "never_one")
def _(step, warmup, total, max_lr, min_lr):
    if step < warmup:
        return max_lr * (step + 1) / warmup
    if step >= total:
        return min_lr
    x = (step - warmup) / total
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * x))


@wrong("lr_at", "progress_off_by_one")
def _(step, warmup, total, max_lr, min_lr):
    if step < warmup:
        return max_lr * (step + 1) / warmup
    if step >= total:
        return min_lr
    x = (step + 1 - warmup) / (total - warmup)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * x))


@wrong("lr_at", "progress_off_by_one")
def _(step, warmup, total, max_lr, min_lr):
    if step < warmup:
        return max_lr * (step + 1) / warmup
    if step >= total:
        return min_lr
    x = (step - warmup) / (total - 1 - warmup)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * x))


@wrong("lr_at", "warmup_too_long")
def _(step, warmup, total, max_lr, min_lr):
    if step <= warmup:
        return max_lr * (step + 1) / warmup
    if step >= total:
        return min_lr
    x = (step - warmup) / (total - warmup)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * x))


@wrong("accumulated_gradient", "no_inner_mean")
def _(w, xs, ys):
    total = torch.zeros_like(w)
    for x, y in zip(xs, ys):
        total += 2 * x.T @ (x @ w - y)
    return total / len(xs)


@wrong("residual_init_std", "layers_outside")
def _(n_layer):
    return 0.02 / math.sqrt(2) * n_layer


@wrong("residual_init_std", "layers_outside")
def _(n):
    return 0.02 / 2**0.5 / n


@wrong("residual_init_std", "whole_root")
def _(n):
    return 0.02 / math.isqrt(2 * n)


@wrong("lm_loss", "rows")
def _(logits, idx):
    return F.cross_entropy(logits[0, :-1], idx[0, 1:])


@wrong("adamw_step", "decay")
def _(p, g, m, v, t, lr, b1, b2, eps, wd):
    m, v = m.lerp(g, 1 - b1), v.lerp(g * g, 1 - b2)
    step = m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps)
    return p - lr * step - lr * wd * p.sign(), m, v


def _schedule(rise, fall):
    def lr_at(step, warmup, total, max_lr, min_lr):
        if step < warmup:
            return max_lr * rise((step + 1) / warmup)
        x = min(1, (step - warmup) / (total - warmup))
        return min_lr + (max_lr - min_lr) * fall(x)

    return lr_at


right("lr_at")(_schedule(lambda x: x, lambda x: math.cos(math.pi / 2 * x) ** 2))
wrong("lr_at", "warmup")(_schedule(lambda x: x * x, lambda x: math.cos(math.pi / 2 * x) ** 2))
wrong("lr_at", "cosine")(_schedule(lambda x: x, lambda x: (1 - x) ** 2))


@wrong("clip_gradients", "short")
def _(grads, max_norm):
    square = sum((g**2).sum() for g in grads)
    return [g * max_norm / square.sqrt() if square > max_norm else g for g in grads]
