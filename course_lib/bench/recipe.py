"""The speedrun's recipe: what to change about the plain GPT so that a small one learns fast.

There is no second model here. Each ingredient is one small function that changes a `GPT` of
chapter 4 in place, or one switch of the training; `Recipe` lists those that are in. "The recipe
without this ingredient" is `recipe.without(name)`: so the table in `speedrun.md` was made.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import CausalSelfAttention, attend, causal_mask, merge_heads, split_heads
from course_lib.bench.measure import bf16_hardware
from course_lib.training import AdamW, lm_loss
from course_lib.transformer import GPT, MLP, GPTConfig

__all__ = [
    "INGREDIENTS",
    "LeanAttention",
    "Muon",
    "Recipe",
    "RotaryAttention",
    "Run",
    "SquaredReLU",
    "TokenShift",
    "TorchAttention",
    "exact_gelu",
    "lean_attention",
    "newton_schulz",
    "plateau",
    "random_windows",
    "rotate",
    "torch_attention",
]

# ---- ingredients that change the model ---------------------------------------------------------


def rotate(x: Tensor, base: float) -> Tensor:
    """Turn pairs of features by an angle that grows with the position: (B, H, T, d) to the same.

    Feature i is paired with feature i + d/2, and turns by t * base^(-2i/d) at position t, so the
    dot product of a query and a key depends on their distance only: Su et al. 2021, 2104.09864.
    """
    half = x.size(-1) // 2
    rates = base ** (-torch.arange(half, device=x.device) / half)  # (d/2,)
    angle = torch.arange(x.size(-2), device=x.device)[:, None] * rates  # (T, d/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class RotaryAttention(CausalSelfAttention):
    """Chapter 3's attention, with queries and keys turned by their position."""

    base = 200.0  # the usual 10,000 suits long contexts: here half the features would hardly turn

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        """x (B, T, C) -> (B, T, C), in training only: it takes neither a mask nor a cache."""
        no_mask_and_no_cache(mask, cache)
        q, k, v = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = rotate(q, self.base), rotate(k, self.base)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, causal_mask(x.size(1), x.size(1), x.device), dropout)
        return F.dropout(self.proj(merge_heads(y)), dropout)


class TokenShift(nn.Module):
    """Half of each position's features come from the position before: (B, T, C) to the same.

    What stands just before is what a letter needs most, and here it needs no attention to get it.
    Source: Peng et al. 2023, RWKV, 2305.13048.
    """

    def forward(self, x: Tensor) -> Tensor:
        half = x.size(-1) // 2
        before = F.pad(x[:, :-1, :half], (0, 0, 1, 0))  # zeros stand before the first position
        return torch.cat([before, x[..., half:]], dim=-1)


class SquaredReLU(MLP):
    """Chapter 4's MLP with the gate relu(h)^2: So et al. 2021, Primer, 2109.08668."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.fc(x))
        return self.dropout(self.proj(h * h))  # .square() has a slower gradient on a CPU


class TorchAttention(CausalSelfAttention):
    """Chapter 3's attention computed by torch's own kernel, which never stores the weights."""

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        """x (B, T, C) -> (B, T, C), in training only: it takes neither a mask nor a cache."""
        no_mask_and_no_cache(mask, cache)
        q, k, v = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return F.dropout(self.proj(merge_heads(y)), dropout)


class LeanAttention(CausalSelfAttention):
    """Chapter 3's attention without what training on whole rows can do without.

    Nothing is checked, and no row may look at nothing. In bfloat16 on a CPU this beats torch's
    kernel, whose backward pass is slow there.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        """x (B, T, C) -> (B, T, C), in training only: it takes neither a mask nor a cache."""
        no_mask_and_no_cache(mask, cache)
        q, k, v = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        dropout, time = self.dropout if self.training else 0.0, x.size(1)
        scores = (q / math.sqrt(q.size(-1))) @ k.transpose(-2, -1)  # (B, H, T, T)
        forbidden = torch.finfo(scores.dtype).min / 2
        scores += torch.full((time, time), forbidden, dtype=q.dtype, device=x.device).triu(1)
        weights = F.dropout(F.softmax(scores, dim=-1), dropout)
        return F.dropout(self.proj(merge_heads(weights @ v)), dropout)


class ExactGELU(MLP):
    """Chapter 4's MLP with x times the normal distribution function, instead of GPT-2's tanh."""

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.proj(F.gelu(self.fc(x))))


def no_mask_and_no_cache(mask: Tensor | None, cache) -> None:
    """Raise a ValueError if either is there."""
    if mask is not None or cache is not None:
        raise ValueError("This attention is for training: it takes no mask and no cache.")


def torch_attention(model: GPT) -> None:
    """Attention by torch's kernel: faster in float32 on long contexts. Not in the speedrun."""
    replace_attention(model, TorchAttention)


def lean_attention(model: GPT) -> None:
    """Attention written out leanly: faster in bfloat16 on a CPU. Not in the speedrun."""
    replace_attention(model, LeanAttention)


def exact_gelu(model: GPT) -> None:
    """The exact GELU: on a CPU three times as fast as the tanh form. Not in the speedrun."""
    config = model.config
    for block in model.blocks:
        block.mlp = like(block.mlp, ExactGELU(config.n_embd, config.dropout, config.bias))


def rotary(model: GPT) -> None:
    """Positions turn queries and keys instead of being added to the tokens."""
    model.wpe.weight.requires_grad_(False).zero_()
    replace_attention(model, RotaryAttention)


def replace_attention(model: GPT, kind: type[CausalSelfAttention]) -> None:
    """Give every block this kind of attention, with the weights that it has."""
    config = model.config
    for block in model.blocks:
        new = kind(config.n_embd, config.n_head, config.dropout, config.bias)
        block.attn = like(block.attn, new)


def token_shift(model: GPT) -> None:
    """Both halves of every block read half their features from the token before."""
    for block in model.blocks:
        block.ln_1 = nn.Sequential(block.ln_1, TokenShift())
        block.ln_2 = nn.Sequential(block.ln_2, TokenShift())


def squared_relu(model: GPT) -> None:
    """The MLP's gate is relu(h)^2 instead of GELU."""
    config = model.config
    for block in model.blocks:
        block.mlp = like(block.mlp, SquaredReLU(config.n_embd, config.dropout, config.bias))


def zero_outputs(model: GPT) -> None:
    """What writes into the residual stream starts at zero: every block begins as the identity."""
    for block in model.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.mlp.proj.weight)


def like(old: nn.Module, new: nn.Module) -> nn.Module:
    """The new module with the old one's weights."""
    new.load_state_dict(old.state_dict())
    return new


# ---- ingredients of the training ---------------------------------------------------------------


def newton_schulz(matrices: Tensor, steps: int = 3) -> Tensor:
    """Push all singular values of matrices (N, rows, columns) towards 1, keeping the directions.

    Each step applies the odd polynomial a s + b s^3 + c s^5 to every singular value s. With these
    coefficients small values grow fast and all end between about 0.7 and 1.2, which is as good as 1
    here. Source: Jordan et al. 2024, "Muon", kellerjordan.github.io/posts/muon.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no value is above 1
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x  # the smaller product below
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon:
    """Momentum whose step is made orthogonal: every direction of a matrix is learnt equally fast.

    A matrix W (rows, columns) moves by lr * sqrt(max(1, rows / columns)) times the orthogonal
    matrix closest to the (Nesterov) momentum of its gradient. Matrices of one shape are treated
    together. `parts` says into how many matrices a weight falls, row by row: `qkv` into three.
    """

    def __init__(
        self,
        weights: list[tuple[nn.Parameter, int]],
        lr: float,
        momentum: float = 0.8,
        weight_decay: float = 0.0,
    ):
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.groups: dict[tuple, list] = {}
        for p, parts in weights:
            shape = (parts, p.size(0) // parts, p.size(1))
            self.groups.setdefault(shape[1:], []).append((p, torch.zeros(shape)))

    @torch.no_grad()
    def step(self) -> None:
        for (rows, columns), members in self.groups.items():
            for p, m in members:
                m.lerp_(p.grad.view_as(m), 1 - self.momentum)
            ahead = [p.grad.view_as(m).lerp(m, self.momentum) for p, m in members]
            turns = newton_schulz(torch.cat(ahead)).split([len(m) for _, m in members])
            size = self.lr * math.sqrt(max(1, rows / columns))
            for (p, _), turn in zip(members, turns):
                p.mul_(1 - self.lr * self.weight_decay).sub_(turn.reshape(p.shape), alpha=size)


def plateau(step: int, steps: int, decay: float = 0.5) -> float:
    """The share of the learning rate at a step: all of it, then a straight line down to 0.

    "Warm-up, stable, decay" (Hu et al. 2024, MiniCPM, 2404.06395) without the warm-up.
    """
    return min(1.0, (steps - step) / (decay * steps))


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 to 0: the usual schedule, for comparison."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def random_windows(
    ids: Tensor, context_length: int, batch_size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches x, y (B, T) of windows that begin anywhere in the stream, as nanoGPT's do."""
    generator = torch.Generator().manual_seed(seed)
    windows = ids.unfold(0, context_length + 1, 1)  # (N - T, T + 1), a view
    while True:
        rows = windows[torch.randint(len(windows), (batch_size,), generator=generator)]
        yield rows[:, :-1], rows[:, 1:]


# ---- the recipe --------------------------------------------------------------------------------

MODEL_CHANGES: dict[str, Callable[[GPT], None]] = {
    "rotary positions": rotary,
    "token shift": token_shift,
    "squared ReLU": squared_relu,
    "zero outputs": zero_outputs,
}
SWITCHES = {
    "untied embeddings of std 0.5": "otherwise GPT-2's start: tied, std 0.02",
    "Muon": "otherwise AdamW for the matrices too",
    "bfloat16": "where the processor multiplies it; otherwise float32",
    "plateau schedule": "otherwise half a cosine",
}
INGREDIENTS = (*MODEL_CHANGES, *SWITCHES)


@dataclass(frozen=True)
class Recipe:
    """The shape of the model, the length of the run, and which ingredients are in."""

    steps: int = 150
    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 96
    context_length: int = 64
    batch_size: int = 16
    dropout: float = 0.0
    matrix_lr: float = 0.04  # Muon's
    adam_lr: float = 0.003  # that of the matrices without Muon
    lr: float = 0.01  # for embeddings, head and gains
    momentum: float = 0.8
    weight_decay: float = 0.0
    ingredients: tuple[str, ...] = INGREDIENTS

    def without(self, name: str) -> "Recipe":
        """The same recipe with one ingredient left out."""
        if name not in self.ingredients:
            raise ValueError(f"{name!r} is not in the recipe: choose one of {self.ingredients}.")
        return replace(self, ingredients=tuple(i for i in self.ingredients if i != name))

    def model(self, vocab_size: int) -> GPT:
        """A GPT with those ingredients that change the model."""
        untied = "untied embeddings of std 0.5" in self.ingredients
        config = GPTConfig(
            vocab_size, self.context_length, self.n_layer, self.n_head, self.n_embd,
            dropout=self.dropout, bias=False, tied=not untied, init="small" if untied else "gpt2",
        )  # fmt: skip
        model = GPT(config)
        for name, change in MODEL_CHANGES.items():
            if name in self.ingredients:
                change(model)
        return model


class Run:
    """A model in training by the recipe: `step()` does one step and returns its loss.

    `ids` is the training text as token ids; the seed decides weights and batches.
    """

    def __init__(self, recipe: Recipe, ids: Tensor, vocab_size: int, seed: int):
        torch.manual_seed(seed)
        self.recipe, self.done = recipe, 0
        self.model = recipe.model(vocab_size)
        self.batches = random_windows(ids, recipe.context_length, recipe.batch_size, seed)
        self.matrices, self.rest = optimizers(self.model, recipe)
        self.matrix_lr = self.matrices.lr
        self.schedule = plateau if "plateau schedule" in recipe.ingredients else cosine
        self.short = "bfloat16" in recipe.ingredients and bf16_hardware()

    def step(self) -> float:
        """One step: batch, gradient, update."""
        x, y = next(self.batches)
        for p in self.model.parameters():
            p.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.short):
            logits = self.model(x)
        loss = lm_loss(logits, y)
        loss.backward()
        share = self.schedule(self.done, self.recipe.steps)
        self.matrices.lr, self.rest.lr = share * self.matrix_lr, share * self.recipe.lr
        self.matrices.step()
        self.rest.step()
        self.done += 1
        return loss.item()


def optimizers(model: GPT, recipe: Recipe):
    """One optimiser for the matrices inside the blocks, one for embeddings, head and gains."""
    matrices = {n: p for n, p in model.blocks.named_parameters() if p.ndim == 2}
    rest = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    rest = [(n, p) for n, p in rest if n.removeprefix("blocks.") not in matrices]
    decay = recipe.weight_decay
    if "Muon" in recipe.ingredients:
        weights = [(p, 3 if "qkv" in name else 1) for name, p in matrices.items()]
        first = Muon(weights, recipe.matrix_lr, recipe.momentum, decay)
    else:
        first = AdamW(matrices.items(), recipe.adam_lr, (0.9, 0.99), weight_decay=decay)
    return first, AdamW(rest, recipe.lr, (0.9, 0.99), weight_decay=decay)
