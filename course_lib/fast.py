"""Writing text faster: the same GPT, with its weights read by every core and in fewer bytes.

A model that writes one token reads every weight once and does little with each, so its speed is
that of memory: how many cores read, and how many bytes. `quicken` copies a model into one whose
blocks take few, large steps, and whose weights are float32 in slices that the cores share, or
bfloat16 (half the bytes), or int8 (a quarter). The copy stands in for the model wherever that only
computes: it takes the same cache and the same padding, and gives the same logits.
"""

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WEIGHTS", "quicken"]

SLICE = 192  # outputs: with 768 inputs, a slice of the weights fits into a core's own cache
SMALL = 2**18  # numbers: reading fewer takes no longer than waking a second core
ERROR = {"float32": 5e-5, "bfloat16": 0.1, "int8": 0.3}  # of the logits, as a share of their spread


class SmallLinear:
    """x (R, in) -> (R, out), like `nn.Linear`, with the weights turned round: (in, out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight, self.bias = weight.t().contiguous(), bias

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.mm(x, self.weight)
        return torch.addmm(self.bias, x, self.weight)


class Float32Linear:
    """x (R, in) -> (R, out), like `nn.Linear`, for R from 1 to a few dozen.

    The weights stay where they are and are multiplied as a batch of slices: libraries for linear
    algebra give a product with one row to one core, but share the products of a batch among all;
    and a slice that is read once serves all R rows from the cache.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        n_out, n_in = weight.shape
        self.slices = max(1, n_out // SLICE)
        whole = n_out - n_out % self.slices
        self.weight = weight[:whole].view(self.slices, -1, n_in).transpose(1, 2)
        self.rest = weight[whole:].t() if whole < n_out else None  # as with most vocabularies
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.bmm(x.expand(self.slices, -1, -1), self.weight)  # (slices, R, out / slices)
        y = y.transpose(0, 1).reshape(len(x), -1)
        if self.rest is not None:
            y = torch.cat([y, torch.mm(x, self.rest)], dim=1)
        return y if self.bias is None else y.add_(self.bias)


class BFloat16Linear:
    """x (R, in) -> (R, out): weights in bfloat16, multiplied with x in bfloat16; the rest float32.

    The weights stand on the left, because the rows of the left matrix are shared among the cores;
    for a single row that takes a batch of slices again.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight, self.bias = weight.to(torch.bfloat16), bias
        slices = 4 if len(weight) % 4 == 0 else 1
        self.slices = self.weight.view(slices, -1, weight.size(1))

    def __call__(self, x: Tensor) -> Tensor:
        column = x.to(torch.bfloat16).t()  # (in, R)
        if len(x) == 1:
            y = torch.bmm(self.slices, column.expand(len(self.slices), -1, -1)).view(1, -1)
        else:
            y = torch.mm(self.weight, column).t()
        return y.float() if self.bias is None else self.bias + y


class Int8Linear:
    """x (R, in) -> (R, out): int8 with a scale per output; x is rounded to 8 bits at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        n_out, n_in = weight.shape
        linear = nn.Linear(n_in, n_out, bias is not None, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            linear.bias = nn.Parameter(bias, requires_grad=False)
        self.linear = quantized(linear)

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x)


def quantized(linear: nn.Linear) -> nn.Module:
    """A linear layer with int8 weights, made by torch; ValueError where this torch cannot."""
    engines = torch.backends.quantized
    before = engines.engine
    try:
        if "x86" in engines.supported_engines:  # for one row a third faster than "onednn"
            engines.engine = "x86"
        tools = torch.ao.quantization
        with warnings.catch_warnings():  # torch has long announced that another package takes over
            warnings.simplefilter("ignore")
            recipe = {"0": tools.per_channel_dynamic_qconfig}
            return tools.quantize_dynamic(nn.Sequential(linear), recipe)[0]
    except (AttributeError, ImportError, RuntimeError) as error:
        raise ValueError(
            f'This torch cannot multiply by int8 weights ({error}): choose weights="bfloat16".'
        ) from error
    finally:
        engines.engine = before


WEIGHTS = {"float32": Float32Linear, "bfloat16": BFloat16Linear, "int8": Int8Linear}


class QuickHead(nn.Module):
    """The output head: (..., n_embd) -> (..., vocab_size)."""

    def __init__(self, head: nn.Linear, kind: type):
        super().__init__()
        self.linear = quick_linear(head, kind)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


class QuickBlock(nn.Module):
    """What a block of a GPT computes in evaluation, x (B, T, C) to the same, in few steps.

    Its tensors are attributes and not parameters: nobody trains them.
    """

    def __init__(self, block: nn.Module, kind: type):
        super().__init__()
        self.n_head = block.attn.n_head
        self.ln_1, self.ln_2 = norm(block.ln_1), norm(block.ln_2)
        attn, mlp = block.attn, block.mlp
        self.linears = [quick_linear(x, kind) for x in (attn.qkv, attn.proj, mlp.fc, mlp.proj)]

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        B, T, C = x.shape
        qkv, proj, fc, mlp_proj = self.linears
        x = x.reshape(B * T, C)
        parts = qkv(torch.layer_norm(x, (C,), *self.ln_1)).view(B, T, 3, self.n_head, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, d) each
        if cache is not None:
            k, v = cache.append(k, v)
        if mask is None and T > 1:  # a single query may look at everything
            mask = torch.ones(T, k.size(2), dtype=torch.bool).tril(k.size(2) - T)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = proj(y.transpose(1, 2).reshape(B * T, C)).add_(x)
        h = F.gelu(fc(torch.layer_norm(x, (C,), *self.ln_2)), approximate="tanh")
        return mlp_proj(h).add_(x).view(B, T, C)


def detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def quick_linear(linear: nn.Linear, kind: type):
    """The layer as `kind`, if it is large enough to be worth it."""
    if linear.weight.numel() < SMALL:
        kind = SmallLinear
    return kind(linear.weight.detach(), detached(linear.bias))


def norm(layer: nn.Module) -> tuple[Tensor, Tensor | None, float]:
    """What `torch.layer_norm` wants after the shape."""
    return layer.weight.detach(), detached(layer.bias), layer.eps


def quicken(model: nn.Module, weights: str = "float32") -> nn.Module:
    """A copy of a GPT, to be used in its place for writing text on a CPU, that is faster.

    `weights` is "float32" (the same logits but for rounding), "bfloat16" or "int8" (nearly the
    same, from fewer bytes; matrices below `SMALL` stay float32, as they would not be faster). The
    model stays as it is, and so does the copy when the model is trained on: quicken it again. If
    all matrices are small, `torch.set_num_threads(1)` helps more than anything here.

    Raises ValueError for a model that is not on the CPU, or that is not built like GPT-2: the copy
    is held against it on a few tokens.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}: choose one of {', '.join(WEIGHTS)}.")
    try:
        if model.wte.weight.device.type != "cpu":
            raise ValueError("The model is on a GPU: quicken is for CPUs, so move it there first.")
        copied = copy.deepcopy(model).eval().requires_grad_(False)
        for i, block in enumerate(copied.blocks):
            copied.blocks[i] = QuickBlock(block, WEIGHTS[weights])
        copied.head = QuickHead(copied.head, WEIGHTS[weights])
        size = (model.config.vocab_size, min(8, model.config.context_length))
    except AttributeError as error:
        raise ValueError(f"The model is not built like GPT-2 ({error}): use it as it is.") from None
    if not is_close(model, copied, *size, ERROR[weights]):
        raise ValueError(
            f"With {weights} weights the copy does not compute what the model does: its layers are "
            "not quite those of GPT-2, or its weights are too uneven for so few bits."
        )
    return copied


@torch.no_grad()
def is_close(model: nn.Module, copied: nn.Module, vocab_size: int, time: int, error: float) -> bool:
    """Whether both give the same logits, up to `error` times the spread of the model's."""
    idx = torch.linspace(0, vocab_size - 1, time).long()[None]
    was_training = model.training
    logits = model.eval()(idx)
    model.train(was_training)
    return bool((copied(idx) - logits).square().mean().sqrt() <= error * logits.std())
