"""Chapter 4: the Transformer, assembled into a GPT.

Attention lets positions read from one another. This module adds all that stands around it: the
embeddings that turn ids and positions into vectors, the layer norm and the MLP, the block that
joins them to the residual stream, and `GPT`, which stacks the blocks and ends in logits. The layout
is that of GPT-2 (Radford et al. 2019): pre-norm blocks, learned positions, an output head that may
share its matrix with the token embedding, and no encoder.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.attention import CausalSelfAttention, causal_mask

__all__ = [
    "GPT",
    "MLP",
    "Block",
    "GPTConfig",
    "LayerNorm",
    "check_config",
    "check_input",
    "count_parameters",
    "gelu",
    "init_copy",
    "init_gpt2",
    "init_small",
    "layer_norm",
    "padding_mask",
    "positions",
]


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. A shape that cannot work raises a ValueError that says why.

    `bias` gives every linear layer and layer norm a bias (the output head never has one);
    `tied` lets the output head use the token embedding's matrix; `init`, the start of the weights,
    is "gpt2", "small" or "copy".
    """

    vocab_size: int
    context_length: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    bias: bool = True
    tied: bool = True
    init: str = "gpt2"

    def __post_init__(self) -> None:
        check_config(self)

    @classmethod
    def gpt2(cls, size: str = "small") -> "GPTConfig":
        """Return the shape of a published GPT-2: "small", "medium", "large" or "xl"."""
        shapes = {"small": (12, 12, 768), "medium": (24, 16, 1024), "large": (36, 20, 1280),
                  "xl": (48, 25, 1600)}
        if size not in shapes:
            raise ValueError(f"There is no GPT-2 called {size!r}: choose one of {list(shapes)}.")
        n_layer, n_head, n_embd = shapes[size]
        return cls(50257, 1024, n_layer, n_head, n_embd)


def check_config(config: GPTConfig) -> None:
    """Raise a ValueError that names the first entry of `config` that cannot work."""
    for name in ("vocab_size", "context_length", "n_layer", "n_head", "n_embd"):
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}: it must be a whole number, at least 1.")
    if config.n_embd % config.n_head:
        raise ValueError(
            f"n_embd = {config.n_embd} is not divisible by n_head = {config.n_head}: every head "
            "takes an equal share of the features, so choose a multiple."
        )
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout is {config.dropout!r}: it must be at least 0 and below 1.")
    if config.init not in ("gpt2", "small", "copy"):
        raise ValueError(f"init is {config.init!r}: choose 'gpt2', 'small' or 'copy'.")
    if config.init == "copy" and not config.tied:
        raise ValueError("init='copy' copies into the token embedding's space: set tied=True.")
    if config.init == "small" and config.tied:
        raise ValueError(
            "init='small' makes token embeddings too large to serve as the output head as well: "
            "set tied=False, or use init='gpt2'."
        )


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise each token over its features, (..., C) -> (..., C): Ba et al. 2016, 1607.06450."""
    mean = x.mean(dim=-1, keepdim=True)  # (..., 1)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)  # (..., 1)
    y = (x - mean) / torch.sqrt(variance + eps) * weight
    return y if bias is None else y + bias


class LayerNorm(nn.Module):
    """`layer_norm` with a learned gain and shift, computed by torch in one pass over memory."""

    def __init__(self, n_embd: int, bias: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def gelu(x: Tensor) -> Tensor:
    """GPT-2's gate, x times a smooth step: the tanh form of Hendrycks and Gimpel, 1606.08415."""
    bent = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + torch.tanh(bent))


class MLP(nn.Module):
    """Two linear layers with a gate between, applied to each position alone: (B, T, C) to same."""

    def __init__(self, n_embd: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.fc = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.proj = nn.Linear(4 * n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.fc(x), approximate="tanh")  # (B, T, 4C); `gelu` in one pass over memory
        return self.dropout(self.proj(h))  # (B, T, C)


class Block(nn.Module):
    """One layer of a GPT: read the stream, let positions talk, read again, let each one think.

    Both halves add to the residual stream and normalise only what they read (pre-norm; Xiong et
    al. 2020, 2002.04745), so a straight path runs from the embeddings to the output. `mask` and
    `cache` are handed on to the attention of chapter 3.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        n_embd, dropout, bias = config.n_embd, config.dropout, config.bias
        self.ln_1 = LayerNorm(n_embd, bias)
        self.attn = CausalSelfAttention(n_embd, config.n_head, dropout, bias)
        self.ln_2 = LayerNorm(n_embd, bias)
        self.mlp = MLP(n_embd, dropout, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, cache)  # (B, T, C)
        return x + self.mlp(self.ln_2(x))  # (B, T, C)


def check_input(idx: Tensor, past: int, config: GPTConfig) -> None:
    """Raise a ValueError in one sentence if `idx` (B, T) cannot follow `past` cached tokens.

    The range of the ids is checked on the CPU only: reading two numbers back from a GPU would make
    it wait at every step, and compiled code cannot branch on them.
    """
    if idx.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"Token ids must be integers (torch.long), but these are {idx.dtype}.")
    if idx.dim() != 2 or idx.numel() == 0:
        raise ValueError(
            f"Token ids must have shape (batch, time) with at least one token, not "
            f"{tuple(idx.shape)}: put a single sequence into a batch with ids[None]."
        )
    total = past + idx.size(1)
    if total > config.context_length:
        raise ValueError(
            f"The sequence has {total} tokens but the model's context is {config.context_length}: "
            "keep only its last tokens, or build a model with a longer context."
        )
    if idx.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(end) for end in idx.aminmax())
        if low < 0 or high >= config.vocab_size:
            raise ValueError(
                f"Token id {low if low < 0 else high} is outside the vocabulary 0 to "
                f"{config.vocab_size - 1}: was the text encoded by this model's tokenizer?"
            )


def positions(n_token: int, past: int, n_pad: Tensor) -> Tensor:
    """Number the tokens of each row from 0 after its `n_pad` (B,) left padding tokens: (B, T)."""
    column = torch.arange(past, past + n_token, device=n_pad.device)  # (T,)
    return (column - n_pad[:, None]).clamp(min=0)


def padding_mask(n_query: int, n_key: int, n_pad: Tensor) -> Tensor:
    """Causal AND not left padding, True = may look: (B, 1, n_query, n_key).

    Every token may see itself, a padding token too: a softmax over nothing would be NaN, and a NaN
    spreads even through a weight of 0. What a padding token computes is read by nobody.
    """
    key = torch.arange(n_key, device=n_pad.device)
    real = key >= n_pad[:, None, None]  # (B, 1, n_key)
    itself = key[n_key - n_query :, None] == key  # (n_query, n_key)
    causal = causal_mask(n_query, n_key, device=n_pad.device)  # (n_query, n_key)
    return ((causal & real) | itself)[:, None]


class GPT(nn.Module):
    """A decoder-only Transformer: token ids (B, T) in, logits (B, T, vocab_size) out.

    `cache` (chapter 6) holds the keys and values of earlier tokens; `n_pad` (B,) says how many left
    padding tokens each row has: they get no attention and do not count as positions.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)  # what the token is
        self.wpe = nn.Embedding(config.context_length, config.n_embd)  # where it stands
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = LayerNorm(config.n_embd, config.bias)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.wte.weight
        {"gpt2": init_gpt2, "small": init_small, "copy": init_copy}[config.init](self)

    def hidden(self, idx: Tensor, cache=None, n_pad: Tensor | None = None) -> Tensor:
        """Return the residual stream after the last layer norm, (B, T, n_embd)."""
        past = 0 if cache is None else cache.length
        check_input(idx, past, self.config)
        n_token, mask = idx.size(1), None  # without padding, attention makes its own causal mask
        if n_pad is None:
            where = self.wpe.weight[past : past + n_token]  # (T, C)
        else:
            where = self.wpe(positions(n_token, past, n_pad))  # (B, T, C)
            mask = padding_mask(n_token, past + n_token, n_pad)
        x = self.drop(self.wte(idx) + where)  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, None if cache is None else cache.layers[i])
        return self.ln_f(x)

    def forward(self, idx: Tensor, cache=None, n_pad: Tensor | None = None) -> Tensor:
        return self.head(self.hidden(idx, cache, n_pad))  # (B, T, vocab_size)


def init_gpt2(model: GPT) -> None:
    """GPT-2's start: normal with std 0.02, less for what writes to the residual stream."""
    for name, parameter in model.named_parameters():
        if name.endswith("proj.weight"):  # 2 writers per layer: keep the sum's size the same
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * model.config.n_layer))
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def init_small(model: GPT) -> None:
    """A start for small widths: embeddings of std 0.5, torch's own linear layers, a quiet head."""
    nn.init.normal_(model.wte.weight, std=0.5)
    nn.init.normal_(model.wpe.weight, std=0.5)
    nn.init.normal_(model.head.weight, std=0.02)  # loss at step 0 close to ln V


def init_copy(model: GPT) -> None:
    """A start that looks things up: every head compares like with like and copies what it reads.

    Keys begin equal to queries, so equal tokens attend to each other; the output projection undoes
    the value projection, so what is read arrives unchanged; positions begin as waves (Vaswani et
    al. 2017, 1706.03762, section 3.5), in which one step back looks the same everywhere; and
    the last gain is small, so that the tied head starts quietly. Training is free to leave it all.
    """
    c, time = model.config.n_embd, model.config.context_length
    nn.init.normal_(model.wte.weight, std=0.5)
    where = torch.arange(time)[:, None] * (2 * time) ** (-torch.arange(0, c, 2) / c)  # (T, C/2)
    waves = torch.stack([where.sin(), where.cos()], dim=-1).flatten(1)[:, :c]  # (T, C)
    with torch.no_grad():
        model.wpe.weight.copy_(0.5 * waves)
        model.ln_f.weight.fill_(0.05)
        for block in model.blocks:
            qkv, turn = block.attn.qkv.weight, nn.init.orthogonal_(torch.empty(c, c))
            qkv[c : 2 * c] = qkv[:c]
            qkv[2 * c :] = 0.3 * qkv[2 * c :] + turn
            block.attn.proj.weight.mul_(0.3).add_(turn.T)


def count_parameters(config: GPTConfig) -> int:
    """Count a GPT's parameters by hand; for GPT-2 small this is 124,439,808."""
    c, bias = config.n_embd, int(config.bias)
    attention = c * 3 * c + c * c + bias * (3 * c + c)  # queries, keys, values; output
    mlp = c * 4 * c + 4 * c * c + bias * (4 * c + c)  # out to four times the width, and back
    norm = c + bias * c
    embeddings = config.vocab_size * c + config.context_length * c
    head = 0 if config.tied else config.vocab_size * c  # tied: the token embedding, used again
    return embeddings + config.n_layer * (attention + mlp + 2 * norm) + norm + head
