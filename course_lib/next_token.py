"""Chapter 1, the next token: what a language model is, before any Transformer.

The chapter adds the objective that the whole course trains on (cross-entropy, in nats per token),
the units it is read in (perplexity, bits per byte), the least that any model can reach (entropy),
and three kinds of model that reach for it: counting (`NGram`), the same counts found by gradient
(`NeuralBigram`) and a network that sees a window of the last tokens (`WindowMLP`).
"""

import math
import re

import torch
from torch import Tensor, nn

__all__ = [
    "split_words",
    "WordVocabulary",
    "entropy",
    "surprise",
    "cross_entropy",
    "perplexity",
    "bits_per_byte",
    "mean_by_kind",
    "START",
    "count_followers",
    "witten_bell",
    "known_followers",
    "NGram",
    "NeuralBigram",
    "windows",
    "WindowMLP",
    "fit_by_gradient",
]


def split_words(text: str) -> list[str]:
    """Cut a text into words (each with the space before it), punctuation marks and white space.

    Nothing is lost: the pieces joined are the text again.
    """
    return re.findall(r" ?\w+| ?[^\w\s]|\s", text)


class WordVocabulary:
    """Every piece that occurs in the texts, numbered in alphabetical order."""

    def __init__(self, texts: list[str]):
        self.pieces = sorted({piece for text in texts for piece in split_words(text)})
        self.ids = {piece: number for number, piece in enumerate(self.pieces)}

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Text to ids. A piece that the texts did not hold raises a ValueError."""
        try:
            return [self.ids[piece] for piece in split_words(text)]
        except KeyError as missing:
            raise ValueError(
                f"The vocabulary has no piece {missing}: build it from texts that hold the piece, "
                "or use the tokenizer of chapter 2, which can spell anything."
            ) from None

    def decode(self, ids: list[int]) -> str:
        """Ids back to text."""
        return "".join(self.pieces[number] for number in ids)


def entropy(p: Tensor) -> Tensor:
    """Expected surprise in nats of a draw from p: (..., V) -> (...). Impossible outcomes add 0."""
    return -torch.xlogy(p, p).sum(-1)


def surprise(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of every target in nats, with p = softmax(logits): (..., V) and (...) -> (...).

    The logarithm is taken without computing p: log softmax(z)[k] = z[k] - log(sum of exp(z)).
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"Every target needs a row of logits: logits {tuple(logits.shape)} and targets "
            f"{tuple(targets.shape)} are not of the shapes (..., V) and (...)."
        )
    vocab_size = logits.shape[-1]
    if targets.numel() and not (0 <= targets.min() and targets.max() < vocab_size):
        raise ValueError(f"Targets are ids from 0 to {vocab_size - 1}, the number of logits - 1.")
    z = logits - logits.max(dim=-1, keepdim=True).values  # same softmax, and exp cannot overflow
    log_total = z.exp().sum(-1).log()  # (...)
    picked = z.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (...)
    return log_total - picked


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss: mean surprise at the targets in nats. logits (..., V), targets (...) -> ()."""
    return surprise(logits, targets).mean()


def perplexity(nats: float) -> float:
    """exp(mean nats per token): as unsure as a fair die with this many faces."""
    return math.exp(nats)


def bits_per_byte(total_nats: float, n_bytes: int) -> float:
    """Total surprise in bits over the UTF-8 bytes of the text: one unit for every tokenizer."""
    if n_bytes < 1:
        raise ValueError("Bits per byte of an empty text are not defined: score one byte or more.")
    return total_nats / math.log(2) / n_bytes


def mean_by_kind(nats: list[float], kinds: list[str]) -> dict[str, float]:
    """Mean nats of the tokens of each kind, kinds in alphabetical order."""
    groups: dict[str, list[float]] = {kind: [] for kind in sorted(set(kinds))}
    for value, kind in zip(nats, kinds, strict=True):
        groups[kind].append(value)
    return {kind: sum(values) / len(values) for kind, values in groups.items()}


START = -1  # stands before the first token of a sequence; it is never predicted


def count_followers(sequences: list[list[int]], order: int) -> dict[tuple, dict[int, int]]:
    """For every context of 0 to order - 1 tokens: how often each token came next.

    Sequences are independent. Each is preceded by as many START as the longest context needs.
    """
    followers: dict[tuple, dict[int, int]] = {}
    for sequence in sequences:
        tokens = [START] * (order - 1) + list(sequence)
        for t in range(order - 1, len(tokens)):
            for n in range(order):
                after = followers.setdefault(tuple(tokens[t - n : t]), {})
                after[tokens[t]] = after.get(tokens[t], 0) + 1
    return followers


def witten_bell(count: float, total: int, types: int, shorter: float) -> float:
    """Blend a context's own counts with the estimate from the next shorter context.

    The context occurred `total` times, `types` different tokens followed it, the token in question
    `count` times. Each type earns the shorter context one vote (Witten and Bell, 1991).
    """
    return (count + types * shorter) / (total + types)


def known_followers(table: dict, context: list[int], order: int) -> list[dict[int, int]]:
    """What followed the last 0, 1, ... order - 1 tokens of a context, as far as ever seen."""
    padded = (START,) * (order - 1) + tuple(context)
    suffixes = [padded[len(padded) - n :] for n in range(order)]
    return [table[suffix] for suffix in suffixes if suffix in table]


class NGram:
    """Predict the next token from the last order - 1 tokens by counting, smoothed by Witten-Bell.

    A context shorter than order - 1 tokens stands at the start of a sequence.
    """

    def __init__(self, order: int, vocab_size: int):
        if order < 1 or vocab_size < 1:
            raise ValueError(f"order and vocab_size start at 1, not at {order} and {vocab_size}.")
        self.order, self.vocab_size, self.table = order, vocab_size, {}

    def fit(self, sequences: list[list[int]]) -> "NGram":
        self.table = count_followers(sequences, self.order)
        return self

    def probs(self, context: list[int]) -> Tensor:
        """Distribution of the next token, (vocab_size,)."""
        p = torch.full((self.vocab_size,), 1 / self.vocab_size)  # before any count: ignorance
        for after in known_followers(self.table, context, self.order):
            counts = torch.zeros(self.vocab_size)
            counts[list(after)] = torch.tensor(list(after.values())).float()
            p = witten_bell(counts, sum(after.values()), len(after), p)
        return p

    def surprises(self, sequence: list[int]) -> list[float]:
        """Nats of every token of a sequence: -log probs(the tokens before it)[token]."""
        nats = []
        for t, token in enumerate(sequence):
            p = 1 / self.vocab_size
            context = sequence[max(0, t - self.order + 1) : t]
            for after in known_followers(self.table, context, self.order):
                p = witten_bell(after.get(token, 0), sum(after.values()), len(after), p)
            nats.append(-math.log(p))
        return nats

    def nats(self, sequences: list[list[int]]) -> float:
        """Mean nats per token over all the sequences."""
        every = [value for sequence in sequences for value in self.surprises(sequence)]
        return sum(every) / len(every)


class NeuralBigram(nn.Module):
    """One row of logits per previous token, all zero at first: a table to be filled by gradient."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab_size, vocab_size))

    def forward(self, idx: Tensor) -> Tensor:
        """Previous token ids (...) -> logits of the next token (..., vocab_size)."""
        return self.table[idx]


def windows(sequences: list[list[int]], size: int, padding: int) -> tuple[Tensor, Tensor]:
    """Every token as a target, with the `size` tokens before it: x (N, size) and y (N,).

    Where a sequence has not yet `size` tokens, `padding` fills the front.
    """
    x, y = [], []
    for sequence in sequences:
        tokens = torch.tensor([padding] * size + list(sequence))
        x.append(tokens[:-1].unfold(0, size, 1))  # (T, size)
        y.append(tokens[size:])  # (T,)
    return torch.cat(x), torch.cat(y)


class WindowMLP(nn.Module):
    """A network that sees the last `size` tokens (Bengio et al., 2003). Padding: id vocab_size."""

    def __init__(self, vocab_size: int, size: int = 8, n_embd: int = 32, n_hidden: int = 128):
        super().__init__()
        self.size = size
        self.embed = nn.Embedding(vocab_size + 1, n_embd)
        self.hidden = nn.Linear(size * n_embd, n_hidden)
        self.head = nn.Linear(n_hidden, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """Windows of token ids (N, size) -> logits (N, vocab_size)."""
        if idx.shape[-1] != self.size:
            raise ValueError(f"Windows hold {idx.shape[-1]} tokens, the model takes {self.size}.")
        vectors = self.embed(idx)  # (N, size, n_embd)
        side_by_side = vectors.flatten(-2)  # (N, size * n_embd): each place keeps its own weights
        return self.head(torch.relu(self.hidden(side_by_side)))  # (N, vocab_size)


def fit_by_gradient(
    model: nn.Module, x: Tensor, y: Tensor, steps: int, batch_size: int, learning_rate: float
) -> list[float]:
    """Move the parameters downhill on the cross-entropy of random batches; return the losses.

    The step size falls in a straight line to zero. Chapter 5 takes this loop apart.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        rows = torch.randint(len(y), (batch_size,)).to(y.device)
        loss = cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
