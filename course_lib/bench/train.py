"""Tokens per second of a whole training step: forward, backward, clipping, AdamW.

Four forms of our GPT stand beside the others, at equal shape. *As taught* is the model of chapter 4
with the optimiser of chapter 5, line by line as the notebooks show them. *Torch's kernels* is the
same model with three things replaced by their ready-made equals: attention by
`F.scaled_dot_product_attention`, GELU by its exact form (which nanoGPT has too, and which is three
times as fast on a CPU as the tanh form of GPT-2), AdamW by torch's fused one. *bfloat16* has
attention written out again, because on a CPU that beats torch's kernel in this format. *Compiled*
is that under `torch.compile`, which must be kept from putting the kernel back in.

The others compute in float32, with torch's fused AdamW, so that what is compared is the model.
A peer of the command line is asked for `tokens/s`, for instance of the case
`4x4x128-64-12-float32`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.bench.measure import (
    CannotMeasure,
    Goal,
    Options,
    Result,
    bf16_hardware,
    installed,
    interleave,
)
from course_lib.bench.recipe import exact_gelu, lean_attention, torch_attention
from course_lib.training import AdamW, clip_gradients, lm_loss
from course_lib.transformer import GPT, GPTConfig

__all__ = ["SHAPES", "TAUGHT", "Shape", "run"]

VOCABULARY = 65  # tiny Shakespeare's characters
SECONDS = 1.0  # of steps in one run, at least one
TAUGHT, KERNELS = "as taught", "torch's kernels"
SHORT, COMPILED = "bfloat16", "bfloat16, compiled"
HUGGING_FACE, ENCODER = "Hugging Face GPT-2", "nn.TransformerEncoder"
GOALS = {  # of a form of ours beside a peer
    (TAUGHT, HUGGING_FACE): Goal(1.1),
    (TAUGHT, ENCODER): Goal(1.1),
    (KERNELS, HUGGING_FACE): Goal(1.1),
    (KERNELS, ENCODER): Goal(1.1),
    (TAUGHT, "nanoGPT"): Goal(1.0),
    (KERNELS, "nanoGPT"): Goal(1.0),
    (SHORT, "nanoGPT"): Goal(1.7),
    (COMPILED, "nanoGPT"): Goal(2.0),
}


@dataclass(frozen=True)
class Shape:
    """Layers, heads and width of a model, and the rows and columns of its batches."""

    n_layer: int
    n_head: int
    n_embd: int
    context: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.n_layer}x{self.n_head}x{self.n_embd}-{self.context}-{self.batch}"

    @property
    def tokens(self) -> int:
        return self.context * self.batch


SHAPES = [Shape(4, 4, 128, 64, 12), Shape(4, 4, 128, 256, 8), Shape(6, 6, 384, 256, 8)]


# ---- the contestants: each a function that does one step ---------------------------------------


def random_batch(shape: Shape) -> tuple[Tensor, Tensor]:
    """Ids x and y, each (batch, context): the time of a step does not depend on what they say."""
    ids = torch.randint(VOCABULARY, (2, shape.batch, shape.context))
    return ids[0], ids[1]


def our_step(
    shape: Shape, kernels: bool = False, short: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """One step of our GPT; `kernels` takes torch's ready-made parts."""
    torch.manual_seed(1)
    model = GPT(
        GPTConfig(VOCABULARY, shape.context, shape.n_layer, shape.n_head, shape.n_embd, bias=False)
    )
    if kernels:
        exact_gelu(model)
        lean_attention(model) if short else torch_attention(model)
    optimizer = (
        torch.optim.AdamW(model.parameters(), fused=True)
        if kernels
        else AdamW(model.named_parameters())
    )
    # The pattern matcher recognises attention and replaces it by the kernel, whose backward pass in
    # bfloat16 takes longer than everything else together.
    plain = {"pattern_matcher": False}
    run_model = torch.compile(model, options=plain) if compiled else model
    x, y = random_batch(shape)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            loss = lm_loss(run_model(x), y)
        loss.backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()

    return step


def their_step(model: nn.Module, shape: Shape) -> Callable[[], None]:
    """One step of a peer's model that maps ids (B, T) to logits (B, T, V)."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x, y = random_batch(shape)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


class TorchEncoder(nn.Module):
    """`nn.TransformerEncoder` with a causal mask, between the embeddings and a tied head."""

    def __init__(self, shape: Shape):
        super().__init__()
        c = shape.n_embd
        layer = nn.TransformerEncoderLayer(
            c, shape.n_head, 4 * c, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True, bias=False,
        )  # fmt: skip
        self.wte, self.wpe = nn.Embedding(VOCABULARY, c), nn.Embedding(shape.context, c)
        self.layers = nn.TransformerEncoder(layer, shape.n_layer, enable_nested_tensor=False)
        self.ln_f = nn.LayerNorm(c, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(shape.context))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.wte(idx) + self.wpe.weight[: idx.size(1)]  # (B, T, C)
        x = self.layers(x, mask=self.mask, is_causal=True)
        return F.linear(self.ln_f(x), self.wte.weight)  # (B, T, V)


class HuggingFace(nn.Module):
    """GPT-2 of `transformers` with torch's attention kernel and without dropout."""

    def __init__(self, shape: Shape):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=VOCABULARY, n_positions=shape.context, n_embd=shape.n_embd,
            n_layer=shape.n_layer, n_head=shape.n_head, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, attn_implementation="sdpa", use_cache=False, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        self.model = GPT2LMHeadModel(config)

    def forward(self, idx: Tensor) -> Tensor:
        return self.model(input_ids=idx).logits


# ---- the measurement ---------------------------------------------------------------------------


def speed(step: Callable[[], None], tokens: int) -> float:
    """Tokens per second over steps that together take about a second."""
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < SECONDS:
        step()
        done += 1
    return done * tokens / (time.perf_counter() - start)


def compiled_step(shape: Shape) -> Callable[[], None] | None:
    """A compiled step after its first, slow one; None where this machine cannot compile."""
    step = our_step(shape, kernels=True, short=bf16_hardware(), compiled=True)
    start = time.perf_counter()
    try:
        step()
    except Exception as error:  # a compiler that is missing shows in many ways
        print(f"torch.compile does not work here and is left out: {type(error).__name__}.")
        return None
    print(f"{shape.name}: the first compiled step took {time.perf_counter() - start:.0f} s")
    return step


def run(options: Options) -> list[Result]:
    """Every shape; a quick run takes the smallest and does not compile."""
    found = []
    for shape in SHAPES[:1] if options.quick else SHAPES:
        found += measure_shape(shape, options)
    return found


def measure_shape(shape: Shape, options: Options) -> list[Result]:
    """All contestants at one shape, in turn, and a row for every pair that says something."""
    torch.manual_seed(1)
    ours = {TAUGHT: our_step(shape), KERNELS: our_step(shape, kernels=True)}
    if bf16_hardware():
        ours[SHORT] = our_step(shape, kernels=True, short=True)
    else:
        print("This processor does not multiply bfloat16: those rows are left out.")
    if not options.quick and (compiled := compiled_step(shape)):
        ours[COMPILED] = compiled
    theirs = {ENCODER: their_step(TorchEncoder(shape), shape)}
    if installed("transformers"):
        theirs[HUGGING_FACE] = their_step(HuggingFace(shape), shape)
    contestants = {n: partial(speed, step, shape.tokens) for n, step in (ours | theirs).items()}
    for peer in options.peers:
        case = f"{shape.name}-float32"
        contestants[peer.name] = partial(peer.measure, "train", case, "tokens/s")
    figures = interleave(contestants, options.runs)
    if not figures:
        raise CannotMeasure("No contestant is left.")
    return [
        Result(
            "train", f"{shape.name} {form}", "tokens/s", figures[form], peer, figures[peer],
            GOALS.get((form, peer)),
        )
        for form in ours
        for peer in figures
        if peer not in ours
    ]  # fmt: skip
