"""Answers to the exercises of chapter 7."""

import re

import torch
from torch.nn import functional as F

from answers import Answers

answers = Answers("pretrained")
right, wrong, RIGHT, WRONG = answers.right, answers.wrong, answers.RIGHT, answers.WRONG

_LINEAR = re.compile(r"c_(attn|proj|fc)\.weight$")


@right("to_linear")
def _(weights):
    out = dict(weights)
    for name in weights:
        if _LINEAR.search(name):
            out[name] = weights[name].transpose(0, 1).contiguous()
    return out


@right("to_linear")
def _(weights):
    return {n: w.mT if ".c_" in n and w.ndim == 2 else w for n, w in weights.items()}


@wrong("to_linear", "all")
def _(weights):
    return {n: w.mT if w.ndim == 2 else w for n, w in weights.items()}


@wrong("to_linear", "not_square")
def _(weights):
    out = {}
    for n, w in weights.items():
        linear = _LINEAR.search(n) and w.shape[0] != w.shape[-1]
        out[n] = w.permute(1, 0) if linear else w
    return out


@wrong("to_linear", "reshaped")
def _(weights):
    return {
        n: w.reshape(w.shape[1], w.shape[0]) if _LINEAR.search(n) else w for n, w in weights.items()
    }


@wrong("to_linear", "all")
def _(state):
    new = {}
    for n, w in state.items():
        new[n] = w.t() if w.dim() == 2 else w
    return new


@wrong("to_linear", "dropped")
def _(state):
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {n: w.T for n, w in state.items() if n.endswith(conv)}


@right("to_linear")
def _(state):
    out = dict(state)
    for n in state:
        if n.split(".")[-2:] in (["c_attn", "weight"], ["c_proj", "weight"], ["c_fc", "weight"]):
            out[n] = torch.einsum("io->oi", state[n])
    return out


@right("split_qkv")
def _(W, b):
    c = len(b) // 3
    return [(W[i : i + c], b[i : i + c]) for i in (0, c, 2 * c)]


@right("split_qkv")
def _(W, b):
    weights, biases = W.view(3, -1, W.shape[1]), b.view(3, -1)
    return tuple((weights[i], biases[i]) for i in range(3))


@wrong("split_qkv", "order")
def _(W, b):
    c = len(b) // 3
    return [(W[i : i + c], b[i : i + c]) for i in (c, 0, 2 * c)]


@wrong("split_qkv", "interleaved")
def _(W, b):
    return [(W[i::3], b[i::3]) for i in range(3)]


@wrong("split_qkv", "whole_bias")
def _(W, b):
    c = len(b) // 3
    return [(W[i : i + c], b) for i in (0, c, 2 * c)]


@wrong("split_qkv", "interleaved")
def _(W, b):
    return [(W[i::3], b[i::3]) for i in range(3)]


@wrong("split_qkv", "order")
def _(W, b):
    C = W.shape[1]
    parts = [(W[i * C : (i + 1) * C], b[i * C : (i + 1) * C]) for i in range(3)]
    return [parts[1], parts[0], parts[2]]


@right("split_qkv")
def _(W, b):
    return [(w_, b_) for w_, b_ in zip(W.view(3, -1, W.size(1)), b.view(3, -1))]


@wrong("split_qkv", "wrong_axis")
def _(W, b):
    return list(zip(W.tensor_split(3, dim=1), b.tensor_split(3)))


@right("rename")
def _(name):
    if re.search(r"\.attn\.(masked_)?bias$", name):
        return None
    name = re.sub(r"^h\.", "blocks.", name)
    parts = {"c_attn": "qkv", "c_fc": "fc", "c_proj": "proj"}
    return ".".join(parts.get(part, part) for part in name.split("."))


@right("rename")
def _(name):
    parts = name.split(".")
    if parts[-2:] in (["attn", "bias"], ["attn", "masked_bias"]):
        return None
    if parts[0] == "h":
        parts[0] = "blocks"
    if parts[-2].startswith("c_"):
        parts[-2] = "qkv" if parts[-2] == "c_attn" else parts[-2][2:]
    return ".".join(parts)


@wrong("rename", "keeps_masks")
def _(name):
    parts = {"h": "blocks", "c_attn": "qkv", "c_fc": "fc", "c_proj": "proj"}
    return ".".join(parts.get(part, part) for part in name.split("."))


@wrong("rename", "drops_biases")
def _(name):
    if name.endswith("bias"):
        return None
    parts = {"h": "blocks", "c_attn": "qkv", "c_fc": "fc", "c_proj": "proj"}
    return ".".join(parts.get(part, part) for part in name.split("."))


@wrong("rename", "attn")
def _(name):
    if re.search(r"\.attn\.(masked_)?bias$", name):
        return None
    return re.sub(r"^h\.", "blocks.", name).replace(".c_", ".")


@wrong("rename", "drops_biases")
def _(name):
    if ".attn." in name and name.endswith("bias"):
        return None
    for o, n in {
        "h.": "blocks.",
        ".c_attn.": ".qkv.",
        ".c_fc.": ".fc.",
        ".c_proj.": ".proj.",
    }.items():
        name = name.replace(o, n)
    return name


@wrong("rename", "one_rule")
def _(name):
    if name.endswith("attn.bias") and "c_attn" not in name or name.endswith("masked_bias"):
        return None
    table = [("h.", "blocks."), (".c_attn.", ".qkv."), (".c_fc.", ".fc."), (".c_proj.", ".proj.")]
    for a_, b_ in table:
        if a_ in name:
            return name.replace(a_, b_)
    return name


@right("rename")
def _(name):
    bits = name.split(".")
    if bits[-2:] in (["attn", "bias"], ["attn", "masked_bias"]):
        return None
    words = {"h": "blocks", "c_attn": "qkv", "c_fc": "fc", "c_proj": "proj"}
    return ".".join(words.get(b, b) for b in bits)


@right("last_logits")
def _(stream, table):
    return torch.einsum("bc,vc->bv", stream[:, -1, :], table)


@right("last_logits")
def _(stream, table):
    return torch.nn.functional.linear(stream, table)[:, -1]


@wrong("last_logits", "all_positions")
def _(stream, table):
    return torch.nn.functional.linear(stream, table)


@wrong("last_logits", "last_row")
def _(stream, table):
    return torch.nn.functional.linear(stream, table)[-1]


@wrong("last_logits", "probabilities")
def _(stream, table):
    return torch.nn.functional.linear(stream[:, -1], table).softmax(1)


@wrong("last_logits", "first_position")
def _(h, wte):
    return torch.einsum("bc,vc->bv", h[:, 0], wte)


@wrong("last_logits", "all_positions")
def _(h, wte):
    return F.linear(h, wte)


@right("last_logits")
def _(h, wte):
    return torch.stack([torch.mv(wte, h[b, -1]) for b in range(h.shape[0])])


@right("strided_windows")
def _(n, size, step):
    out, done, start = [], 0, 0
    while done < n:
        end = min(n, start + size)
        out.append((start, end, end - done))
        done, start = end, start + step
    return out


@right("strided_windows")
def _(n, size, step):
    starts = [0]
    while starts[-1] + size < n:
        starts.append(starts[-1] + step)
    ends = [min(s + size, n) for s in starts]
    return [[s, e, e - p] for s, e, p in zip(starts, ends, [0, *ends])]


@wrong("strided_windows", "scored_twice")
def _(n, size, step):
    out, start = [], 0
    while True:
        end = min(n, start + size)
        out.append((start, end, end - start))
        if end == n:
            return out
        start += step


@wrong("strided_windows", "never_stops")
def _(n, size, step):
    out, done = [], 0
    for start in range(0, n, step):
        end = min(n, start + size)
        out.append((start, end, end - done))
        done = end
    return out


@wrong("strided_windows", "no_overlap")
def _(n, size, step):
    return [(s, min(s + size, n), min(size, n - s)) for s in range(0, n, size)]


@wrong("strided_windows", "scored_twice")
def _(n_tokens, window, stride):
    res = []
    s = 0
    while True:
        e = min(n_tokens, s + window)
        res.append((s, e, e - s))
        if e == n_tokens:
            return res
        s += stride


@wrong("strided_windows", "stride_scored")
def _(n_tokens, window, stride):
    res = []
    for s in range(0, n_tokens, stride):
        e = min(n_tokens, s + window)
        res.append((s, e, stride))
        if e == n_tokens:
            break
    return res


@right("strided_windows")
def _(n_tokens, window, stride):
    res = []
    begin, done = 0, 0
    while done < n_tokens:
        stop = begin + window if begin + window < n_tokens else n_tokens
        res += [[begin, stop, stop - done]]
        begin, done = begin + stride, stop
    return res


@wrong("split_qkv", "pieces_of_three")
def _(W, b):
    return list(zip(W.split(3), b.split(3)))


@right("split_qkv")
def _(W, b):
    return [[w, c] for w, c in zip(W.tensor_split(3), b.tensor_split(3))]


@wrong("rename", "letter_h")
def _(name):
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    for old, new in [("h", "blocks"), ("c_attn", "qkv"), ("c_fc", "fc"), ("c_proj", "proj")]:
        name = name.replace(old, new)
    return name


@wrong("rename", "last_rule")
def _(name):
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    for old, new in [("h.", "blocks."), (".c_attn.", ".qkv."), (".c_proj.", ".proj.")]:
        found = name.replace(old, new)
    return found


@wrong("last_logits", "places")
def _(h, wte):
    return (h[:, -1] @ wte.T).argmax(-1)


@wrong("last_logits", "softmaxed")
def _(h, wte):
    return torch.log_softmax(h[:, -1] @ wte.T, dim=-1)


@wrong("strided_windows", "stride_after_the_first")
def _(n_tokens, window, stride):
    out = []
    for start in range(0, n_tokens, stride):
        end = min(start + window, n_tokens)
        out.append((start, end, end if start == 0 else stride))
        if end == n_tokens:
            return out


@wrong("strided_windows", "stops_early")
def _(n_tokens, window, stride):
    out, scored = [], 0
    for start in range(0, n_tokens - window + 1, stride):
        end = start + window
        out.append((start, end, end - scored))
        scored = end
        if end == n_tokens:
            break
    return out


@wrong("strided_windows", "first_scores_stride")
def _(n_tokens, window, stride):
    out = []
    for start in range(0, n_tokens, stride):
        end = min(start + window, n_tokens)
        out.append((start, end, min(stride, end - start)))
        if end == n_tokens:
            break
    return out


@wrong("strided_windows", "stride_is_overlap")
def _(n_tokens, window, stride):
    out, scored = [], 0
    for start in range(0, n_tokens, window - stride):
        end = min(start + window, n_tokens)
        out.append((start, end, end - scored))
        scored = end
        if end == n_tokens:
            break
    return out


@wrong("strided_windows", "inclusive_end")
def _(n_tokens, window, stride):
    out, scored = [], 0
    for start in range(0, n_tokens, stride):
        end = min(start + window, n_tokens)
        out.append((start, end - 1, end - scored))
        scored = end
        if end == n_tokens:
            break
    return out


@wrong("rename", "packed")
def _(name):
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    return name.replace("h.", "blocks.").replace("c_attn", "attn_qkv").replace("c_", "")
