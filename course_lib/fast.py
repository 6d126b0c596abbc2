"""Writing text faster: the same GPT with its weights laid out for the processor that reads them.

A model that writes one token reads every weight once and does little with it, so its speed is that
of memory: how many cores read, and how many bytes. `quicken` makes a copy of a model in which every
block works on few, large operations, and whose weights are float32 in slices that several cores
read at once, or bfloat16 (half the bytes), or int8 (a quarter).
"""

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WEIGHTS", "quicken", "weight_bytes"]

SLICES = 8  # of a large matrix: several cores read, and one that is late has a small share
LARGE = 2**17  # numbers; a smaller matrix is read before a second core has woken up


class Float32Linear:
    """x (R, in) -> (R, out), as `nn.Linear`: the matrix is stored as (slices, in, out / slices).

    A product with one row is given to a single core by some libraries for linear algebra; a
    product with a batch of slices is not.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.n_out, n_in = weight.shape
        slices = SLICES if weight.numel() >= LARGE else 1
        missing = -self.n_out % slices  # a vocabulary need not be divisible: rows of zeros
        weight = F.pad(weight, (0, 0, 0, missing)).view(slices, -1, n_in)
        self.weight = weight.transpose(1, 2).contiguous()
        self.bias = None if bias is None else F.pad(bias, (0, missing)).view(slices, 1, -1)
        self.tensors = [self.weight] if bias is None else [self.weight, self.bias]

    def __call__(self, x: Tensor) -> Tensor:
        slices = len(self.weight)
        if slices == 1:
            if self.bias is None:
                return torch.mm(x, self.weight[0])
            return torch.addmm(self.bias[0], x, self.weight[0])
        x = x.expand(slices, -1, -1)
        if self.bias is None:
            y = torch.bmm(x, self.weight)
        else:
            y = torch.baddbmm(self.bias, x, self.weight)
        return y.transpose(0, 1).reshape(x.size(1), -1)[:, : self.n_out]


class BFloat16Linear:
    """x (R, in) -> (R, out): the matrix in bfloat16, sums and result in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight = weight.to(torch.bfloat16)
        self.bias = bias
        self.tensors = [self.weight] if bias is None else [self.weight, self.bias]

    def __call__(self, x: Tensor) -> Tensor:
        # The large matrix on the left: its rows are what is shared out among the cores.
        y = torch.mm(self.weight, x.to(torch.bfloat16).t()).t().float()
        return y if self.bias is None else y.add_(self.bias)


class Int8Linear:
    """x (R, in) -> (R, out): int8 with a scale per output; x is rounded to 8 bits at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        linear = nn.Linear(weight.size(1), weight.size(0), bias is not None, device="meta")
        linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
        linear.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        quantization = torch.ao.quantization
        with warnings.catch_warnings():  # torch announces the end of this interface, without date
            warnings.simplefilter("ignore")
            self.linear = quantization.quantize_dynamic(
                nn.Sequential(linear), {"0": quantization.per_channel_dynamic_qconfig}
            )[0]
        self.tensors = [] if bias is None else [bias]

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x)


WEIGHTS = {"float32": Float32Linear, "bfloat16": BFloat16Linear, "int8": Int8Linear}


class Head(nn.Module):
    """The output head: (..., n_embd) -> (..., vocab_size)."""

    def __init__(self, linear: nn.Linear, kind: type):
        super().__init__()
        self.linear = kind(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


class QuickBlock(nn.Module):
    """What a pre-norm block of a GPT computes, in evaluation, in as few operations as it can."""

    def __init__(self, block: nn.Module, kind: type):
        super().__init__()
        attn, mlp = block.attn, block.mlp
        self.n_head = attn.n_head
        self.ln_1, self.ln_2 = norm(block.ln_1), norm(block.ln_2)
        self.qkv, self.proj = quick(attn.qkv, kind), quick(attn.proj, kind)
        self.fc, self.mlp_proj = quick(mlp.fc, kind), quick(mlp.proj, kind)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache=None) -> Tensor:
        shape = B, T, C = x.shape
        x = x.reshape(B * T, C)
        parts = self.qkv(torch.layer_norm(x, (C,), *self.ln_1)).view(B, T, 3, self.n_head, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, d) each
        if cache is not None:
            k, v = cache.append(k, v)
        if mask is None and T > 1:  # a single query may look at everything
            n_key = k.size(2)
            mask = torch.ones(T, n_key, dtype=torch.bool).tril(n_key - T)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = self.proj(y.transpose(1, 2).reshape(B * T, C)).add_(x)
        h = F.gelu(self.fc(torch.layer_norm(x, (C,), *self.ln_2)), approximate="tanh")
        return self.mlp_proj(h).add_(x).view(shape)


def norm(layer: nn.Module) -> tuple[Tensor, Tensor | None, float]:
    bias = None if layer.bias is None else layer.bias.detach().clone()
    return layer.weight.detach().clone(), bias, layer.eps


def quick(linear: nn.Linear, kind: type):
    bias = None if linear.bias is None else linear.bias.detach().clone()
    return kind(linear.weight.detach(), bias)


def quicken(model: nn.Module, weights: str = "float32") -> nn.Module:
    kind = WEIGHTS[weights]
    replaced = {id(block): QuickBlock(block, kind) for block in model.blocks}
    replaced[id(model.head)] = Head(model.head, kind)
    return copy.deepcopy(model, replaced).eval().requires_grad_(False)
