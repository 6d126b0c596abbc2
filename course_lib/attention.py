"""Chapter 3: attention, the step in which tokens read from one another.

Every token asks a question (its query), and every token offers a label (its key) and something to
read (its value). `attend` answers all questions at once: score, scale, mask, softmax, mix.
`CausalSelfAttention` is the module that every later chapter uses: it makes queries, keys and values
from the same sequence, lets several heads ask different questions side by side, and never lets a
token look at what comes after it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "CausalSelfAttention",
    "attend",
    "attention_flops",
    "attention_weights",
    "causal_mask",
    "check_mask",
    "merge_heads",
    "split_heads",
]


def causal_mask(n_query: int, n_key: int, device: torch.device | str | None = None) -> Tensor:
    """Who may look at whom: a bool tensor (n_query, n_key), True where a query may look at a key.

    The two are aligned at the end: the last query sees every key, the one before it all but the
    last, and so on. With as many queries as keys this is the lower triangle. With a single query,
    as when text is written one token at a time, it is a row of True.
    """
    if not 0 < n_query <= n_key:
        raise ValueError(
            f"There are {n_query} queries and {n_key} keys: every query needs its own key, "
            "so pass 1 <= n_query <= n_key."
        )
    everything = torch.ones(n_query, n_key, dtype=torch.bool, device=device)
    return everything.tril(diagonal=n_key - n_query)


def check_mask(mask: Tensor, shape: torch.Size) -> None:
    """Raise a ValueError unless `mask` is bool and can be broadcast to `shape` (..., Tq, Tk)."""
    if mask.dtype != torch.bool:
        raise ValueError(f"The mask is {mask.dtype}: pass bool, True where a query may look.")
    sizes = zip(reversed(mask.shape), reversed(shape), strict=False)
    if mask.dim() > len(shape) or any(m not in (1, n) for m, n in sizes):
        raise ValueError(
            f"A mask of shape {tuple(mask.shape)} does not fit scores of shape {tuple(shape)}: "
            "give it a row per query and a column per key."
        )


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much each query reads from each key: score, scale, mask, softmax.

    q is (..., Tq, d), k is (..., Tk, d), and the result is (..., Tq, Tk) with rows that sum to 1.
    `mask` is bool, True = may look, and is broadcast to the result; a key that may not be looked at
    gets exactly 0. (A row that may look at nothing gets equal weights: never NaN.)
    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1.
    """
    if q.size(-1) != k.size(-1):
        raise ValueError(
            f"A query has {q.size(-1)} numbers and a key {k.size(-1)}: they are compared by a dot "
            "product, so give them the same last dimension."
        )
    q = q / math.sqrt(q.size(-1))  # scales every score, and there are fewer numbers in q
    scores = q @ k.transpose(-2, -1)  # (..., Tq, Tk)
    if mask is not None:
        check_mask(mask, scores.shape)
        # A huge negative number rather than -inf: exp() of it is 0 all the same, but a row of
        # nothing but -inf has the softmax 0/0 = NaN, and NaN spreads through the gradients.
        # Half of the lowest number there is, so that a score added to it does not make it -inf.
        forbidden = torch.finfo(scores.dtype).min / 2
        scores += torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, forbidden)
    return F.softmax(scores, dim=-1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Read from the values: q (..., Tq, d), k (..., Tk, d), v (..., Tk, dv) -> (..., Tq, dv).

    `mask` is bool, True = may look; None lets every query look at every key. A query that may look
    at nothing (a padding token) reads zeros. `dropout` is the share of weights dropped at random: 0
    except in training.
    """
    if k.size(-2) != v.size(-2):
        raise ValueError(
            f"There are {k.size(-2)} keys and {v.size(-2)} values: each key labels one value, "
            "so give as many of one as of the other."
        )
    weights = attention_weights(q, k, mask)  # (..., Tq, Tk)
    if dropout > 0:
        weights = F.dropout(weights, dropout)
    y = weights @ v
    if mask is not None:
        y = y.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    return y


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """(B, T, C) -> (B, H, T, C/H): head h gets features h*C/H to (h+1)*C/H of every token."""
    B, T, C = x.shape
    if n_head < 1 or C % n_head:
        raise ValueError(
            f"{C} features cannot be shared equally by {n_head} heads: choose n_head so that it "
            "divides n_embd."
        )
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def merge_heads(y: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, H*d): put each token's features side by side again."""
    B, H, T, d = y.shape
    return y.transpose(1, 2).reshape(B, T, H * d)


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which no token looks at a later one.

    n_embd (C): features of a token. n_head (H): heads, each working on C/H of the features.
    dropout: share of the weights, and of the outputs, that is dropped in training.
    """

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0, bias: bool = True):
        super().__init__()
        if n_head < 1 or n_embd < 1 or n_embd % n_head:
            raise ValueError(
                f"n_embd={n_embd} features cannot be shared equally by n_head={n_head} heads: "
                "choose n_head so that it divides n_embd."
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout={dropout} is not a share: choose 0 <= dropout < 1.")
        self.n_head = n_head
        self.dropout = dropout
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)  # one product makes all three
        self.proj = nn.Linear(n_embd, n_embd, bias=bias)  # lets the heads' findings mix

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        """x (B, T, C) -> (B, T, C).

        `mask` is bool, True = may look, broadcast to (B, H, Tq, Tk); it replaces the causal mask.
        `cache` keeps keys and values of earlier tokens (chapter 6); its `append(k, v)` returns all.
        """
        if x.dim() != 3 or x.size(-1) != self.proj.in_features:
            raise ValueError(
                f"The input has shape {tuple(x.shape)}: pass (batch, tokens, features) with "
                f"n_embd={self.proj.in_features} features."
            )
        q, k, v = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.append(k, v)  # (B, H, T of all tokens so far, d)
        if mask is None and q.size(-2) > 1:  # a single query may look at every key so far
            mask = causal_mask(q.size(-2), k.size(-2), device=x.device)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, mask, dropout)  # (B, H, T, d)
        return F.dropout(self.proj(merge_heads(y)), dropout)


def attention_flops(n_tokens: int, n_embd: int) -> dict[str, int]:
    """Floating-point operations of one forward pass of `CausalSelfAttention` over one sequence.

    A product of an (m, n) and an (n, p) matrix takes 2*m*n*p: one multiplication and one addition
    for every triple. The number of heads does not appear: H heads of C/H features cost what one
    head of C features does.
    """
    return {
        "qkv": 2 * n_tokens * n_embd * 3 * n_embd,
        "scores": 2 * n_tokens * n_tokens * n_embd,
        "mix": 2 * n_tokens * n_tokens * n_embd,
        "proj": 2 * n_tokens * n_embd * n_embd,
    }
