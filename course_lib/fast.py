"""Writing text faster: the same GPT, with its weights read by every core and in fewer bytes.

A model that writes one token reads every weight once and does little with each, so its speed is
that of memory: how many cores read, and how many bytes. A small model, whose weights are read in
no time, spends it on Python and on calls of torch. `quicken` copies a model into one that takes
few, large steps, and whose weights are float32, or bfloat16 (half the bytes), or int8 (a quarter).
The copy stands in for the model wherever that only computes: it takes the same cache and the same
padding, and gives the same logits.

The layouts of weights that torch makes for its compiler have no public name, so each is taken only
where this torch has it, and `quicken` holds every copy against its model before handing it out.
"""

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import causal_mask
from course_lib.transformer import check_input, padding_mask, positions

__all__ = ["WEIGHTS", "quicken"]

SLICE = 192  # outputs: with 768 inputs, a slice of the weights fits into a core's own cache
SMALL = 2**18  # numbers: reading fewer takes no longer than waking a second core
FEW = 4  # rows: with more, a layer multiplies more than it reads
WEIGHTS = ("float32", "bfloat16", "int8")
ERROR = {"float32": 5e-5, "bfloat16": 0.1, "int8": 0.3}  # of the logits, as a share of their spread


# ---- linear layers: x (R, in) -> (R, out), like `nn.Linear` ------------------------------------


class SmallLinear:
    """The weights turned round: (in, out)."""

    gelu = False  # whether the layer applies GELU itself

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight, self.bias = weight.t().contiguous(), bias

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.mm(x, self.weight)
        return torch.addmm(self.bias, x, self.weight)


class SlicedLinear:
    """The weights stay where they are and are multiplied as a batch of slices.

    Libraries for linear algebra give a product with one row to one core, but share the products of
    a batch among all; and a slice that is read once serves all R rows from the cache.
    """

    gelu = False

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


class PackedLinear:
    """The weights in blocks, in the order in which the processor's units take them in.

    oneDNN chooses that order for about `rows` rows, and takes any number. x and the result have the
    type of the weights. With `gelu`, GELU (the tanh form) is applied while the result is at hand.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int, gelu: bool):
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        self.bias, self.gelu = bias, gelu
        self.after = ("gelu", [], "tanh") if gelu else ("none", [], "")

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *self.after)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor multiply packed weights of that type."""
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Int8Linear:
    """int8 with a scale per output; x is rounded to 8 bits at every call."""

    gelu = False

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int):
        n_out, n_in = weight.shape
        linear = nn.Linear(n_in, n_out, bias is not None, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            linear.bias = nn.Parameter(bias, requires_grad=False)
        self.linear = quantized(linear, "x86" if rows <= FEW else "onednn")

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x)


def quantized(linear: nn.Linear, engine: str) -> nn.Module:
    """A linear layer with int8 weights, made by torch; ValueError where this torch cannot."""
    engines = torch.backends.quantized
    before = engines.engine
    try:
        if engine in engines.supported_engines:
            engines.engine = engine
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


# ---- which layer for which weights -------------------------------------------------------------


def quick_linear(layer: nn.Linear, weights: str, rows: int, gelu: bool = False):
    """The layer in the layout that suits its weights and the number of rows."""
    weight, bias, short = layer.weight, layer.bias, layer.weight.dtype == torch.bfloat16
    if weight.numel() < SMALL:
        return SmallLinear(weight, bias)
    if weights == "int8":
        return Int8Linear(weight, bias, rows)
    if (short or rows > FEW) and can_pack(weight.dtype):
        return PackedLinear(weight, bias, rows, gelu)
    return SmallLinear(weight, bias) if short else SlicedLinear(weight, bias)


# ---- the model ---------------------------------------------------------------------------------


class QuickBlock:
    """What a block of a GPT computes in evaluation, x (B * T, C) to the same, in few steps."""

    def __init__(self, block: nn.Module, weights: str, rows: int):
        attn, mlp = block.attn, block.mlp
        self.n_head = attn.n_head
        self.ln_1, self.ln_2 = norm(block.ln_1), norm(block.ln_2)
        self.qkv, self.proj = (quick_linear(x, weights, rows) for x in (attn.qkv, attn.proj))
        self.fc = quick_linear(mlp.fc, weights, rows, gelu=True)
        self.mlp_proj = quick_linear(mlp.proj, weights, rows)

    def __call__(self, x: Tensor, B: int, mask: Tensor | None, cache) -> Tensor:
        rows, C = x.shape
        qkv = self.qkv(torch.layer_norm(x, *self.ln_1))
        if rows == B:  # one token of each text: the same, in fewer steps
            q, k, v = qkv.view(B, 3, self.n_head, 1, -1).unbind(1)
        else:
            parts = qkv.view(B, rows // B, 3, self.n_head, -1)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, d) each
        if cache is not None:
            k, v = cache.append(k, v)
        if mask is None and rows > B:  # a single query may look at everything
            mask = causal_mask(q.size(2), k.size(2))
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = self.proj(y.transpose(1, 2).reshape(rows, C)).add_(x)
        h = self.fc(torch.layer_norm(x, *self.ln_2))
        h = h if self.fc.gelu else F.gelu(h, approximate="tanh")
        return self.mlp_proj(h).add_(x)


class QuickHead(nn.Module):
    """The output head: (..., n_embd) -> (..., vocab_size)."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:  # one position of each text
            return self.linear(x).float()
        logits = self.linear(x.reshape(-1, x.size(-1)))
        return logits.view(*x.shape[:-1], -1).float()


class QuickGPT(nn.Module):
    """A GPT in evaluation. Of its tensors only the tables are parameters: nobody trains them."""

    def __init__(self, model: nn.Module, weights: str, rows: int):
        super().__init__()
        self.config, self.wte, self.wpe = model.config, model.wte, model.wpe
        self.tables = model.wte.weight, model.wpe.weight  # to look up a module's parts takes longer
        self.quick = [QuickBlock(block, weights, rows) for block in model.blocks]
        self.ln_f, self.head = norm(model.ln_f), QuickHead(quick_linear(model.head, weights, rows))

    def hidden(self, idx: Tensor, cache=None, n_pad: Tensor | None = None) -> Tensor:
        """What `GPT.hidden` returns, (B, T, C)."""
        past = 0 if cache is None else cache.length
        if past == 0 or past + idx.size(1) > self.config.context_length:
            check_input(idx, past, self.config)  # not for every token: it takes as long as a layer
        (B, T), C = idx.shape, self.config.n_embd
        (wte, wpe), mask = self.tables, None
        if n_pad is None:
            where = wpe[past : past + T]
        else:
            where, mask = wpe[positions(T, past, n_pad)], padding_mask(T, past + T, n_pad)
        try:
            x = (torch.embedding(wte, idx) + where).view(B * T, C)
        except (IndexError, RuntimeError):
            check_input(idx, past, self.config)  # says it better
            raise
        for i, block in enumerate(self.quick):
            x = block(x, B, mask, None if cache is None else cache.layers[i])
        return torch.layer_norm(x, *self.ln_f).view(B, T, C)

    def forward(self, idx: Tensor, cache=None, n_pad: Tensor | None = None) -> Tensor:
        return self.head(self.hidden(idx, cache, n_pad))


def norm(layer: nn.Module) -> tuple:
    """What `torch.layer_norm` wants after x: the shape, the gain, the shift, epsilon."""
    return layer.weight.shape, layer.weight, layer.bias, layer.eps


def quicken(model: nn.Module, weights: str = "float32", rows: int = 1) -> nn.Module:
    """A copy of a GPT, to be used in its place for writing text on a CPU, that is faster.

    `weights` is "float32" (the same logits but for rounding), "bfloat16" (every number, also in the
    cache) or "int8" (of the matrices only): nearly the same logits, from fewer bytes. Small
    matrices stay as they are for int8, and small models for both, as they would not be faster.
    `rows` says how many texts it will mostly write side by side: it takes any number, but its
    matrices are laid out for about that many. The model stays as it is, and so does the copy when
    the model is trained on: quicken it again.

    Raises ValueError for a model that is not on the CPU, or that is not built like GPT-2: the copy
    is held against it on a few tokens.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}: choose one of {', '.join(WEIGHTS)}.")
    if rows < 1:
        raise ValueError(f"rows is {rows}: it counts texts that are written side by side.")

    try:
        if model.wte.weight.device.type != "cpu":
            raise ValueError("The model is on a GPU: quicken is for CPUs, so move it there first.")
        copied = copy.deepcopy(model).requires_grad_(False)
        if weights == "bfloat16" and is_large(model):
            copied = copied.to(torch.bfloat16)
        copied = QuickGPT(copied, weights, rows).eval()
        size = (model.config.vocab_size, min(8, model.config.context_length))
    except AttributeError as error:
        raise ValueError(f"The model is not built like GPT-2 ({error}): use it as it is.") from None
    if not is_close(model, copied, *size, ERROR[weights]):
        raise ValueError(
            f"With {weights} weights the copy does not compute what the model does: its layers are "
            "not quite those of GPT-2, or its weights are too uneven for so few bits."
        )
    return copied


def is_large(model: nn.Module) -> bool:
    """Whether a block has a matrix that is not small."""
    return max(p.numel() for p in model.blocks.parameters()) >= SMALL


@torch.no_grad()
def is_close(model: nn.Module, copied: nn.Module, vocab_size: int, time: int, error: float) -> bool:
    """Whether both give the same logits, up to `error` times the spread of the model's."""
    idx = torch.linspace(0, vocab_size - 1, time).long()[None]
    was_training = model.training
    logits = model.eval()(idx)
    model.train(was_training)
    return bool((copied(idx) - logits).square().mean().sqrt() <= error * logits.std())
