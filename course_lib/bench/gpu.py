"""`bench gpu`: training a model of GPT-2's smallest shape on one NVIDIA GPU.

Ours and `transformers`' GPT-2 at equal settings: the same shape and batch, no dropout, torch's
fused attention, autocast in bfloat16 (float16 on cards that have none), torch's fused AdamW, both
compiled where that works. The figures are tokens per second, and what share of the card's peak they
make of our counted FLOPs.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.bench.measure import CannotMeasure, Goal, Options, Result, compare, installed
from course_lib.bench.recipe import torch_attention
from course_lib.distributed import FusedAdamW, compile_model, flops_per_token, peak_flops
from course_lib.training import lm_loss, mixed_precision
from course_lib.transformer import GPT, GPTConfig

__all__ = ["hugging_face", "run", "training_speed"]

SHAPE = GPTConfig.gpt2()  # 124 million parameters, context 1024
BATCH = 32  # rows at first; halved until a step fits into the card's memory
STEPS = 20  # in each round
WARM_UP = 5  # before the first round: compiling and allocating
BESIDE = "transformers' GPT-2"


def run(options: Options) -> list[Result]:
    """Both rows; raises CannotMeasure, in one sentence, where there is no GPU."""
    if not torch.cuda.is_available():
        raise CannotMeasure(
            "There is no NVIDIA GPU here (or torch does not see it), so nothing is measured."
        )
    device = torch.device("cuda")
    return measured(device, torch.cuda.get_device_name(device), SHAPE, options)


def measured(device: torch.device, name: str, shape: GPTConfig, options: Options) -> list[Result]:
    """The rows for a card that calls itself `name`."""
    speed, rows, remark = ours(device, shape)
    theirs = {}
    if installed("transformers"):
        other = hugging_face(shape).to(device)
        if not remark:
            other.compile()
        theirs[BESIDE] = training_speed(other, lambda x: other(x).logits, device, shape, rows)
    numbers = str(mixed_precision(device)).removeprefix("torch.")
    case = f"{shape.n_layer}x{shape.n_head}x{shape.n_embd}-{shape.context_length}-{rows}-{numbers}"
    note = f"{name}, {numbers}, {rows} rows of {shape.context_length}. {remark or 'Compiled.'}"
    goals = {BESIDE: Goal(1.2)}
    found = compare("gpu", case, "tokens/s", speed, theirs, options, goals, note=note)
    peak = peak_flops(name)
    if peak is None:
        print(f"The peak of {name} is not in the table of course_lib.distributed: no MFU.")
        return found
    work = flops_per_token(shape, shape.context_length)
    shares = [tokens * work / peak for tokens in found[0].ours]
    utilisation = "model FLOPs utilisation (MFU)"
    return [*found, Result("gpu", utilisation, "of the peak", shares, goal=Goal(0.45))]


def ours(device: torch.device, shape: GPTConfig) -> tuple[Callable[[], float], int, str]:
    """Our contestant, how many rows fit into the memory, and why it is not compiled, if so."""
    rows = BATCH
    while rows:
        try:
            model = GPT(shape)
            torch_attention(model)  # what chapter 3 computes, without storing the scores
            model.to(device)
            remark = compile_model(model, device)
            return training_speed(model, model, device, shape, rows), rows, remark
        except torch.cuda.OutOfMemoryError:
            rows //= 2
        model = None  # after the handler, which keeps alive what the failed step had made
        torch.cuda.empty_cache()
    raise CannotMeasure("A single row of the model's context does not fit into the GPU's memory.")


def hugging_face(shape: GPTConfig) -> nn.Module:
    """GPT-2 of `transformers` in our shape, without dropout, with torch's fused attention."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context_length,
        n_embd=shape.n_embd,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        attn_implementation="sdpa",
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).train()


def training_speed(
    model: nn.Module,
    logits: Callable[[Tensor], Tensor],
    device: torch.device,
    shape: GPTConfig,
    rows: int,
) -> Callable[[], float]:
    """A contestant: each call trains for STEPS steps and returns tokens per second.

    `logits(x)` are the model's, (B, T, vocab_size). The warm-up happens before it is returned.
    """
    optimizer = FusedAdamW(model.named_parameters(), lr=1e-4)
    dtype = mixed_precision(device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    ids = torch.randint(shape.vocab_size, (rows, shape.context_length + 1), device=device)
    count = rows * shape.context_length

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = lm_loss(logits(ids[:, :-1]), ids[:, 1:], count)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    def speed() -> float:
        wait(device)
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        wait(device)
        return STEPS * count / (time.perf_counter() - start)

    for _ in range(WARM_UP):
        step()
    return speed


def wait(device: torch.device) -> None:
    """Until the GPU has done all that it was given; without this only the giving is timed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
