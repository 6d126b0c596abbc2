"""Chapter 6: sampling. From logits to a choice, and from choices to text.

A trained GPT gives logits; this module turns them into tokens. It reshapes the distribution
(temperature, top-k, top-p, min-p, repetition penalty), draws from it, feeds the choice back, and
stops. It also keeps the keys and values of old tokens, so that each new token costs one step
instead of a whole pass, and searches for likely continuations with beams.
"""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.tokenizer import Tokenizer
from course_lib.transformer import GPT, GPTConfig

__all__ = [
    "KVCache",
    "LayerCache",
    "PLAIN",
    "Sampling",
    "apply_temperature",
    "beam_search",
    "check_prompt",
    "choose",
    "draw",
    "generate",
    "inference",
    "left_pad",
    "min_p",
    "new_tokens",
    "next_logits",
    "repetition_penalty",
    "reshape",
    "seen_tokens",
    "stream",
    "top_k",
    "top_p",
]


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide the logits by the temperature: below 1 sharper, above 1 flatter."""
    return logits / temperature


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest logits of each row (..., V); the others become -inf.

    Logits equal to the k-th are all kept.
    """
    kth = logits.topk(min(k, logits.size(-1)), dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < kth, float("-inf"))


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likely tokens whose probabilities reach p; the others become -inf.

    The token that crosses p is kept, so at least one always is. Logits are (..., V).
    Source: nucleus sampling, Holtzman et al. 2019, arXiv 1904.09751.
    """
    ranked, order = logits.sort(dim=-1, descending=True)
    probs = F.softmax(ranked, dim=-1)
    before = probs.cumsum(dim=-1) - probs  # what the likelier tokens have together
    ranked = ranked.masked_fill(before >= p, float("-inf"))
    return torch.empty_like(logits).scatter(-1, order, ranked)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens at least p times as probable as the likeliest one; the others become -inf."""
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < p * probs.amax(dim=-1, keepdim=True), float("-inf"))


def repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make the tokens marked in `seen` (bool, like the logits) less likely if penalty > 1.

    A positive logit is divided and a negative one multiplied: both move down.
    """
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


@dataclass(frozen=True)
class Sampling:
    """How to choose a token. Temperature 0 takes the likeliest; None switches a filter off."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}: use 0 for greedy, or above 0.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}: keep at least 1 token.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: it is a share, above 0 and at most 1.")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is {self.min_p}: it is a share, from 0 to 1.")
        if self.repetition_penalty <= 0:
            raise ValueError(
                f"repetition_penalty is {self.repetition_penalty}: 1 does nothing, above 1 "
                "discourages repetition, and it must be above 0."
            )


PLAIN = Sampling()  # the model's own distribution


def reshape(logits: Tensor, how: Sampling, seen: Tensor | None = None) -> Tensor:
    """Apply everything that `how` asks for, in the usual order, to logits (B, V)."""
    if how.repetition_penalty != 1 and seen is not None:
        logits = repetition_penalty(logits, seen, how.repetition_penalty)
    if how.temperature not in (0, 1):
        logits = apply_temperature(logits, how.temperature)
    if how.top_k is not None:
        logits = top_k(logits, how.top_k)
    if how.top_p is not None:
        logits = top_p(logits, how.top_p)
    if how.min_p is not None:
        logits = min_p(logits, how.min_p)
    return logits


def draw(probs: Tensor, u: Tensor) -> Tensor:
    """The token whose piece of [0, 1) holds u: probs (B, V) and u (B,) -> ids (B,).

    Lay the probabilities end to end and see where u falls. Given u, every machine and version
    draws the same token, which `torch.multinomial` does not promise.
    """
    ends = probs.double().cumsum(dim=-1)  # (B, V): where each token's piece ends
    u = u.to(ends)[:, None] * ends[:, -1:]  # the pieces may end just beside 1
    ids = torch.searchsorted(ends, u, right=True)[:, 0]
    return ids.clamp(max=probs.size(-1) - 1)


def choose(
    logits: Tensor,
    how: Sampling,
    seen: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose one token per row: logits (B, V) -> ids (B,). `generator` is one of the CPU's."""
    logits = reshape(logits, how, seen)
    if how.temperature == 0:
        return logits.max(dim=-1).indices  # as argmax does, in a third of its time
    u = torch.rand(len(logits), generator=generator)
    return draw(F.softmax(logits, dim=-1), u.to(logits.device))


class LayerCache:
    """The keys and values that one layer has computed so far, in memory taken once."""

    def __init__(self, keys: Tensor, values: Tensor):
        self.keys, self.values, self.length = keys, values, 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k and v (B, H, T, d) of the new tokens; return those of all tokens so far."""
        end = self.length + k.size(2)
        if end > self.keys.size(2):
            raise ValueError(f"The cache has no room for {end} tokens, only {self.keys.size(2)}.")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """Room for the keys and values of `room` tokens (None: a whole context window), in every layer.

    Old keys and values never change, because no token sees a later one: causality is what makes
    a cache possible.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        room: int | None = None,
    ):
        room = config.context_length if room is None else room
        shape = (batch_size, config.n_head, room, config.n_embd // config.n_head)
        self.layers = []
        for _ in range(config.n_layer):
            keys, values = torch.empty(2, *shape, device=device, dtype=dtype)
            self.layers.append(LayerCache(keys, values))

    @property
    def length(self) -> int:
        """How many tokens the model has already seen."""
        return self.layers[0].length

    @property
    def n_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for c in self.layers for t in (c.keys, c.values))


def next_logits(
    model: GPT, idx: Tensor, cache: KVCache | None = None, n_pad: Tensor | None = None
) -> Tensor:
    """Logits (B, V) of the token after idx (B, T), which is all text so far.

    With a cache only the tokens that it has not seen are computed. Past the context window every
    token moves to another position, so what was stored is of no use: the last `context_length`
    tokens are computed afresh, as without a cache.
    """
    window = model.config.context_length
    gone = max(0, idx.size(1) - window)
    if gone and n_pad is not None:
        n_pad = (n_pad - gone).clamp(min=0)
    if cache is None or gone:
        hidden = model.hidden(idx[:, gone:], None, n_pad)
    else:
        hidden = model.hidden(idx[:, cache.length :], cache, n_pad)
    return model.head(hidden[:, -1])  # only the last position is asked for


def check_prompt(model: GPT, idx: Tensor, n_new: int) -> None:
    """Raise a ValueError in one sentence if generation cannot start from idx (B, T)."""
    if idx.dim() != 2 or idx.size(0) == 0:
        raise ValueError(f"A prompt has shape (batch, time), not {(*idx.shape,)}: use ids[None].")
    if idx.size(1) == 0:
        raise ValueError("The prompt is empty: give at least one token, such as the end token.")
    if n_new < 0:
        raise ValueError(f"n_new is {n_new}: ask for 0 or more tokens.")
    if idx.device.type == "cpu" and not 0 <= int(idx.min()) <= int(idx.max()) < (
        vocab_size := model.config.vocab_size
    ):
        raise ValueError(
            f"The prompt has a token id outside 0 to {vocab_size - 1}: encode it with the "
            "tokenizer that the model was trained with."
        )


def seen_tokens(idx: Tensor, n_pad: Tensor | None, vocab_size: int) -> Tensor:
    """Which tokens of the vocabulary each row holds: idx (B, T) -> bool (B, V)."""
    real = torch.ones_like(idx, dtype=torch.float32)
    if n_pad is not None:
        real = (torch.arange(idx.size(1), device=idx.device) >= n_pad[:, None]).float()
    counts = torch.zeros(len(idx), vocab_size, device=idx.device)
    return counts.scatter_add(1, idx, real) > 0


@contextmanager
def inference(model: GPT) -> Iterator[None]:
    """Inside: no gradients and no dropout. Afterwards the model is as it was."""
    was_training = model.training
    if was_training:
        model.eval()  # it visits every module: too slow to do in vain before every token
    try:
        with torch.inference_mode():  # as no_grad, with even less bookkeeping
            yield
    finally:
        if was_training:
            model.train()


def new_tokens(
    model: GPT,
    idx: Tensor,
    n_new: int,
    how: Sampling = PLAIN,
    n_pad: Tensor | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Predict, choose, append, repeat: yield the ids (B,) of each new token."""
    check_prompt(model, idx, n_new)
    dtype, room = model.wte.weight.dtype, min(idx.size(1) + n_new, model.config.context_length)
    cache = KVCache(model.config, len(idx), idx.device, dtype, room) if use_cache else None
    for _ in range(n_new):
        with inference(model):
            logits = next_logits(model, idx, cache, n_pad)
        seen = None
        if how.repetition_penalty != 1:
            seen = seen_tokens(idx, n_pad, model.config.vocab_size)
        token = choose(logits, how, seen, generator)
        yield token
        idx = torch.cat([idx, token[:, None]], dim=1)  # (B, T + 1)


def generate(
    model: GPT,
    idx: Tensor,
    n_new: int,
    how: Sampling = PLAIN,
    stop: int | None = None,
    n_pad: Tensor | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Continue idx (B, T) by up to `n_new` tokens; the result holds the prompt too.

    A row that has written the token `stop` is done and filled up with it; when all are done,
    generation ends early. `n_pad` (B,) counts the left padding of prompts of unequal lengths.
    """
    done = torch.zeros(len(idx), dtype=torch.bool, device=idx.device)
    columns = [idx]
    for token in new_tokens(model, idx, n_new, how, n_pad, generator, use_cache):
        if stop is not None:
            token = token.masked_fill(done, stop)
            done = done | (token == stop)
        columns.append(token[:, None])
        if stop is not None and done.all():
            break
    return torch.cat(columns, dim=1)


def left_pad(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Prompts of unequal lengths as one batch: (idx (B, T), n_pad (B,)), padded on the left.

    On the left, so that every prompt ends in the last column, where the next token is read off.
    """
    if not sequences or min(map(len, sequences)) == 0:
        raise ValueError("Every prompt needs at least one token, such as the end token.")
    longest = max(map(len, sequences))
    rows = [[pad] * (longest - len(ids)) + list(ids) for ids in sequences]
    return torch.tensor(rows), torch.tensor([longest - len(ids) for ids in sequences])


def stream(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    n_new: int,
    how: Sampling = PLAIN,
    stop: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """Yield the continuation of `prompt` piece by piece, as soon as each piece can be shown.

    A token may end in the middle of a character; its bytes wait for the rest.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    idx = torch.tensor([tokenizer.encode(prompt)], dtype=torch.long)
    for token in new_tokens(model, idx.to(model.wte.weight.device), n_new, how, None, generator):
        if int(token) == stop:
            break
        if text := decoder.decode(tokenizer.token_bytes(int(token))):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def beam_search(
    model: GPT, idx: Tensor, n_new: int, width: int, stop: int | None = None
) -> list[tuple[float, list[int]]]:
    """The likeliest continuations that `width` beams find: (log-probability, ids), best first.

    idx is one prompt (1, T). Each step extends every beam by every token and keeps the `width`
    best. A beam that writes `stop` is finished. Log-probabilities are in nats, of the new tokens.
    """
    check_prompt(model, idx, n_new)
    if len(idx) != 1 or width < 1:
        raise ValueError(f"Beam search takes one prompt and width >= 1: {len(idx)}, {width}.")
    beams, scores = idx, torch.zeros(1, device=idx.device)
    finished: list[tuple[float, list[int]]] = []
    for _ in range(n_new):
        with inference(model):
            logp = F.log_softmax(next_logits(model, beams), dim=-1)  # (W, V)
        total = (scores[:, None] + logp).flatten()  # (W * V,)
        scores, best = total.topk(min(width, len(total)))
        token = best % logp.size(-1)
        beams = torch.cat([beams[best // logp.size(-1)], token[:, None]], dim=1)
        if stop is not None:
            over = token == stop
            finished += zip(scores[over].tolist(), beams[over].tolist())
            beams, scores = beams[~over], scores[~over]
            # Scores only fall, so a finished beam that leads by now leads for good.
            if len(scores) == 0 or len([s for s, _ in finished if s >= scores[0]]) >= width:
                break
    finished += zip(scores.tolist(), beams.tolist())
    return sorted(finished, reverse=True)[:width]
