"""Training that may leave one machine: the command behind `python -m course_lib.training`.

    python -m course_lib.training [recipe]                      # remakes the stored model
    python -m course_lib.training --config run.json             # one process
    torchrun --nproc_per_node=2 -m course_lib.training --config run.json

The config file is the same for every number of processes, and so is the loss curve, up to rounding:
every process computes the gradient of its own rows of each batch, and one exchange per step adds
the parts up (Li et al. 2020, arXiv 2006.15704). With `"fsdp": true` the processes share the weights
and the optimiser's moments as well (Zhao et al. 2023, arXiv 2304.11277). Where there is an NVIDIA
GPU each process takes one; elsewhere they talk over gloo on the CPU.

The config file is JSON. All entries are optional, and what is left out is the recipe's:

    {"recipe": "tiny-world", "corpus": "tiny-world", "n_train": 24000, "n_validation": 500,
     "model": {"n_layer": 2}, "training": {"steps": 700, "pieces": 4, "precision": "auto"},
     "batch_size": 32, "seed": 1, "checkpoint": "run.safetensors", "output": "gpt.safetensors",
     "fsdp": false, "compile": false, "fused": null}

`batch_size` and `pieces` count for all processes together. A run whose checkpoint exists continues
from it, however many processes wrote it; to start again, name another file. So torchrun, given
`--max-restarts=3`, goes on by itself when a process was lost. `output` is where the finished model
goes (see `load_model`), its tokenizer beside it. `fused` is torch's own AdamW in one kernel; null
takes it on a GPU.
"""

import argparse
import json
import math
import os
import re
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import course_lib
from course_lib.attention import attention_flops
from course_lib.training import (
    IGNORE,
    Batches,
    Corpus,
    History,
    Recipe,
    TrainingConfig,
    TrainingRun,
    clip_gradients,
    describe_run,
    lm_loss,
    load_checkpoint,
    load_corpus,
    lr_at,
    make_little_gpt,
    progress_bar,
    read_safetensors,
    recipes,
    save_checkpoint,
    save_model,
    token_nats,
    trim_padding,
)
from course_lib.transformer import GPT, GPTConfig

__all__ = [
    "FusedAdamW",
    "Meter",
    "ParallelRun",
    "Place",
    "RunConfig",
    "compile_model",
    "flops_per_token",
    "joined",
    "load",
    "main",
    "parallel_evaluate",
    "parallel_step",
    "parallel_train",
    "peak_flops",
    "read_config",
    "run_from_config",
    "save",
    "share_of",
    "utilisation",
]

PATIENCE = timedelta(minutes=10)  # how long a process waits for the others before it gives up
WARM_UP = 10  # steps that the meter leaves out: the first ones compile and allocate


# ---- the config file ---------------------------------------------------------------------------


@dataclass(frozen=True)
class RunConfig:
    """What one config file says: a recipe, where its results go, and how it is computed."""

    recipe: Recipe
    checkpoint: Path | None = None
    output: Path | None = None
    fsdp: bool = False
    compile: bool = False
    fused: bool | None = None


def read_config(path: str | Path) -> RunConfig:
    """Read a config file (see the top of this module). What cannot be meant is a ValueError."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The config file {path} cannot be read as JSON: {error}.") from error
    if not isinstance(entries, dict):
        raise ValueError(f"The config file {path} must hold one JSON object: {{...}}.")
    of_run = [each.name for each in fields(RunConfig) if each.name != "recipe"]
    known = sorted(["recipe", *of_run, *(each.name for each in fields(Recipe))])
    for name in entries.keys() - known:
        raise ValueError(f"{path} has an unknown entry {name!r}: choose from {', '.join(known)}.")
    given = {name: value for name, value in entries.items() if value is not None}
    for name in ("fsdp", "compile", "fused"):
        if not isinstance(given.get(name, False), bool):
            raise ValueError(f"{path}: {name} is {given[name]!r}; write true or false.")
    try:
        options = {name: given.pop(name) for name in of_run if name in given}
        for name in {"checkpoint", "output"} & options.keys():
            options[name] = Path(options[name])
        return RunConfig(changed_recipe(given), **options)
    except TypeError as error:  # an unknown name inside "model" or "training", or a wrong type
        raise ValueError(f"{path} does not fit: {error}.") from error


def changed_recipe(entries: dict) -> Recipe:
    """The recipe that `entries` names, with the other entries in place of its own."""
    name = entries.pop("recipe", "little-world")
    if name not in recipes():
        raise ValueError(f"There is no recipe {name!r}: choose one of {[*recipes()]}.")
    recipe = recipes()[name]
    for each in ("batch_size", "n_train", "n_validation", "seed"):
        value = entries.get(each, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < (each != "seed"):
            raise ValueError(f"{each} is {value!r}: it must be a whole number, at least 1.")
    training = dict(entries.pop("training", {}))
    if "betas" in training:
        training["betas"] = tuple(training["betas"])  # JSON knows only lists
    model = replace(recipe.model, **entries.pop("model", {}))
    return replace(recipe, model=model, training=replace(recipe.training, **training), **entries)


# ---- the processes -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """This process among those that train together: number `rank` (from 0) of `size`."""

    rank: int
    size: int
    device: torch.device


class Ended(Exception):
    """This process cannot go on because another one has ended, or because it was told to end."""


def launched() -> bool:
    """Whether torchrun, or something that sets the same variables, started this process."""
    return {"RANK", "WORLD_SIZE"} <= os.environ.keys()


def local_device() -> torch.device:
    """The GPU that is this process's own, by its number on this machine; elsewhere the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, n_gpu = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= n_gpu:
        raise ValueError(
            f"This machine has {n_gpu} GPUs, but more processes were started here: every process "
            f"needs its own, so give --nproc_per_node={n_gpu}."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def joined() -> Iterator[Place]:
    """Join the other processes for as long as the block runs; without torchrun there are none.

    They talk over NCCL where each has a GPU, and over gloo otherwise. If one of them ends, the
    others leave the block with `Ended`, as they do when torchrun tells them to end.
    """
    if not launched():
        yield Place(0, 1, torch.device(course_lib.device()))
        return
    device = local_device()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, told_to_end)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        yield Place(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        # torch has no class of its own for a peer that is gone: gloo raises a plain RuntimeError
        if not isinstance(error, dist.DistError) and not re.search("gloo|NCCL", str(error)):
            raise
        reason = re.sub(r"^\[[^]]*\]\s*", "", str(error)).split("\n")[0].split(". ")[0]
        raise Ended(
            f"another process of this run has ended or cannot be reached ({reason})"
        ) from error
    dist.destroy_process_group()  # after an error there may be nobody left to say goodbye to


def told_to_end(*_) -> None:
    """On SIGTERM, which torchrun sends to the others when one process has ended."""
    raise Ended("it was told to end, which torchrun does when another process has ended")


def summed(numbers: Tensor, place: Place) -> Tensor:
    """Add a small tensor up over all processes, in place."""
    if place.size > 1:
        dist.all_reduce(numbers)
    return numbers


def share(thing, place: Place):
    """What rank 0 holds, on every rank. It travels as JSON: nothing is ever unpickled."""
    if place.size == 1:
        return thing
    text = bytearray(json.dumps(thing).encode())
    length = torch.tensor([len(text)], device=place.device)
    dist.broadcast(length, 0)
    data = torch.empty(int(length), dtype=torch.uint8, device=place.device)
    if place.rank == 0:
        data.copy_(torch.frombuffer(text, dtype=torch.uint8))
    dist.broadcast(data, 0)
    return json.loads(data.cpu().numpy().tobytes())


def share_of(x: Tensor, y: Tensor, rank: int, size: int) -> tuple[Tensor, Tensor]:
    """This rank's rows of a batch (B, T): every `size`-th, from row `rank` on.

    All ranks get equally many, because they exchange as often as one another: where B is no
    multiple of `size`, the last ranks get a copy of the first row in which nothing is scored.
    """
    missing = -len(x) % size
    x = torch.cat([x, x[:1].expand(missing, -1)])
    y = torch.cat([y, y.new_full((missing, y.size(1)), IGNORE)])
    return trim_padding(x[rank::size], y[rank::size])


# ---- a run that is shared ----------------------------------------------------------------------


class FusedAdamW(torch.optim.AdamW):
    """`training.AdamW` by torch, in one kernel; a checkpoint of one continues in the other."""

    def __init__(self, named_parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.params = dict(named_parameters)
        matrices = [p for p in self.params.values() if p.ndim >= 2]
        vectors = [p for p in self.params.values() if p.ndim < 2]
        groups = [
            {"params": each, "weight_decay": decay}
            for each, decay in ((matrices, weight_decay), (vectors, 0.0))
            if each
        ]
        super().__init__(groups, lr=lr, betas=betas, eps=eps, fused=True)
        self.m, self.v = {}, {}
        for name, p in self.params.items():  # made now, so that a checkpoint can be put into them
            self.m[name], self.v[name] = torch.zeros_like(p), torch.zeros_like(p)
            steps = torch.zeros((), dtype=torch.float32, device=p.device)
            self.state[p] = {"step": steps, "exp_avg": self.m[name], "exp_avg_sq": self.v[name]}

    @property
    def t(self) -> int:
        """Steps taken."""
        return int(next(iter(self.state.values()))["step"])

    @t.setter
    def t(self, steps: int) -> None:
        for state in self.state.values():
            state["step"].fill_(steps)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value


@dataclass
class Meter:
    """How fast a run is: what was computed in `seconds`, evaluation and checkpoints left out."""

    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0  # targets scored, on all ranks together
    flops: int = 0  # see flops_per_token

    def add(self, seconds: float, tokens: int, flops: int) -> None:
        """Count one step, unless it is one of the first."""
        self.steps += 1
        if self.steps > WARM_UP:
            self.seconds += seconds
            self.tokens += tokens
            self.flops += flops


class ParallelRun(TrainingRun):
    """A TrainingRun of which every process holds a copy, or with `fsdp` a part.

    All processes draw the same batches and work on their own rows. The model has to start equal
    everywhere, so make it from the same seed. `net` is what rows are sent through.
    """

    def __init__(
        self,
        model: GPT,
        batches: Batches,
        config: TrainingConfig,
        place: Place,
        fsdp: bool = False,
        fused: bool | None = None,
    ):
        self.place, self.meter = place, Meter()
        self.divisor = float(place.size)  # what the sum of the gradients over ranks is divided by
        if fsdp and place.size > 1:
            self.divisor = shard(model, place)
        super().__init__(model, batches, config)
        if place.device.type == "cuda" if fused is None else fused:
            self.optimizer = FusedAdamW(
                model.named_parameters(), betas=config.betas, weight_decay=config.weight_decay
            )
        check_agreement(self)
        self.net: nn.Module = model
        if place.size > 1 and not fsdp:
            # Rather than one all-reduce of our own after the backward pass: DDP sends the
            # gradients of the last layers while those of the first are still being computed.
            gpu = [place.device.index] if place.device.type == "cuda" else None
            self.net = DistributedDataParallel(model, device_ids=gpu)


def shard(model: GPT, place: Place) -> float:
    """Share the weights out over the processes, and return what sums of gradients get divided by.

    That is measured, because gloo of torch 2.7 and 2.8 adds where it is asked for an average.
    """
    if place.device.type == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise ValueError('"fsdp" needs a GPU, or torch 2.7: update torch, or set it to false.')
    mesh = init_device_mesh(place.device.type, (place.size,))
    for block in model.blocks:  # a block's weights are fetched when its turn comes
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    ones, average = torch.ones(place.size, device=place.device), torch.ones(1, device=place.device)
    # reduce_scatter_single is its name from torch 2.13 on
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    scatter(average, ones, dist.ReduceOp.AVG)
    return place.size / average.item()


def check_agreement(run: ParallelRun) -> None:
    """Raise a ValueError on every rank unless all have the same configuration and data."""
    if run.place.size > 1:
        crc = zlib.crc32(json.dumps(describe_run(run), sort_keys=True).encode())
        ends = torch.tensor([crc, -crc], device=run.place.device)
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        if int(ends[0]) != -int(ends[1]):
            raise ValueError(
                "The processes differ in their configuration or data: give every machine the same "
                "config file and the same corpus."
            )


@contextmanager
def exchange(net: nn.Module, now: bool) -> Iterator[None]:
    """The backward pass in this block adds the gradients up over all processes, if `now`."""
    if isinstance(net, FSDPModule):
        net.set_requires_gradient_sync(now)
    with net.no_sync() if isinstance(net, DistributedDataParallel) and not now else nullcontext():
        yield


def on_device(rows: Tensor, device: torch.device) -> Tensor:
    """Copy rows to the device; to a GPU from pinned memory, so that Python need not wait."""
    if device.type == "cuda":
        return rows.pin_memory().to(device, non_blocking=True)
    return rows.to(device)


def parallel_gradients(run: ParallelRun, x: Tensor, y: Tensor, count: Tensor) -> float:
    """`accumulate_gradients` for this rank's rows; `count` is the whole batch's scored targets.

    The processes exchange gradients with the last piece only. Returns the whole batch's loss.
    """
    pieces = math.ceil(run.config.pieces / run.place.size)
    parts = list(zip(x.chunk(pieces), y.chunk(pieces)))
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    for number, (x_piece, y_piece) in enumerate(parts, start=1):
        with exchange(run.net, now=number == len(parts)):
            with run.autocast:
                loss = lm_loss(run.net(x_piece), y_piece, count)
            # Both wrappers divide the sum over ranks by their number. The loss is divided by the
            # count of the whole batch already, so that is undone: the sum itself is the gradient.
            run.scaler.scale(loss * run.divisor).backward()
        total += loss.detach()
    return summed(total, run.place).item()


def clip(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """`clip_gradients`, also where a gradient lies in shards and no process knows its norm."""
    parameters = list(parameters)
    if not any(isinstance(p, DTensor) for p in parameters):
        return clip_gradients(parameters, max_norm)
    return nn.utils.clip_grad_norm_(parameters, max_norm).full_tensor().item()


def parallel_step(run: ParallelRun) -> float:
    """`training_step` on all processes together. Returns the whole batch's loss on each of them."""
    start, config, optimizer = time.perf_counter(), run.config, run.optimizer
    x, y = next(run.batches)  # the whole batch, so everybody can count its targets
    scored = int((y != IGNORE).sum())
    mine = [on_device(rows, run.device) for rows in share_of(x, y, run.place.rank, run.place.size)]
    optimizer.zero_grad()
    loss = parallel_gradients(run, *mine, torch.tensor(max(scored, 1)))
    run.scaler.unscale_(optimizer)
    norm = clip(optimizer.params.values(), config.clip)
    if not math.isfinite(loss) or not (math.isfinite(norm) or run.scaler.is_enabled()):
        raise ValueError(
            f"The loss or its gradient is no longer a number at step {run.step}: lower max_lr, "
            "lengthen the warm-up, or check that the weights it started from are numbers."
        )
    optimizer.lr = lr_at(run.step, config.warmup, config.steps, config.max_lr, config.min_lr)
    run.scaler.step(optimizer)
    run.scaler.update()
    run.history.losses.append(loss)
    run.history.norms.append(norm)
    run.history.tokens += scored
    work = scored * flops_per_token(run.model.config, x.size(1))
    run.meter.add(time.perf_counter() - start, scored, work)
    return loss


def parallel_evaluate(run: ParallelRun, x: Tensor, y: Tensor, batch_size: int = 64) -> float:
    """`evaluate` with the rows shared out: the mean loss in nats per token over all of them."""
    x, y = share_of(x, y, run.place.rank, run.place.size)
    nats = token_nats(run.model, x, y, batch_size).double().sum()
    both = torch.stack([nats, (y != IGNORE).sum()]).to(run.device)
    nats, scored = summed(both, run.place).tolist()
    return nats / scored


def parallel_train(
    run: ParallelRun,
    validation: tuple[Tensor, Tensor] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
) -> History:
    """`train` on all processes together. It continues from `checkpoint` where that exists."""
    if checkpoint is not None and share(Path(checkpoint).exists(), run.place):
        load(checkpoint, run)
    config, history = run.config, run.history
    run.model.train()
    with progress_bar(config.steps, run.step, progress if run.place.rank == 0 else False) as bar:
        while run.step < config.steps:
            loss, last = parallel_step(run), run.step == config.steps
            if validation is not None and (last or run.step % config.evaluate_every == 0):
                history.validation.append((run.step, parallel_evaluate(run, *validation)))
            if checkpoint is not None and (last or run.step % config.save_every == 0):
                save(checkpoint, run)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()
    return history


# ---- checkpoints -------------------------------------------------------------------------------


def gathered(tensors: dict[str, Tensor], place: Place) -> dict[str, Tensor]:
    """The tensors whole: shards are joined, one after the other, and kept on rank 0's CPU only."""
    full = {}
    for name, t in tensors.items():
        whole = t.detach().full_tensor() if isinstance(t, DTensor) else t.detach()
        if place.rank == 0:
            full[name] = whole.cpu() if isinstance(t, DTensor) else whole
    return full


def whole_run(run: ParallelRun) -> SimpleNamespace:
    """The run as chapter 5's functions for checkpoints and models read it, without shards.

    Every rank has to call this; the tensors are rank 0's.
    """
    params, m, v = (
        gathered(tensors, run.place)
        for tensors in (run.optimizer.params, run.optimizer.m, run.optimizer.v)
    )
    model = SimpleNamespace(config=run.model.config, named_parameters=params.items)
    optimizer = SimpleNamespace(params=params, m=m, v=v, t=run.optimizer.t)
    return SimpleNamespace(**{**vars(run), "model": model, "optimizer": optimizer})


def save(path: str | Path, run: ParallelRun) -> None:
    """`save_checkpoint` by rank 0 alone. The file does not tell how many processes there were."""
    whole = whole_run(run)
    if run.place.rank == 0:
        save_checkpoint(path, whole)


def load(path: str | Path, run: ParallelRun) -> None:
    """`load_checkpoint` by rank 0, which then hands everything on: only it needs the file.

    Rank 0 continues its random state. The others take a new one, so dropout differs by rank.
    """
    whole, told = whole_run(run), {}
    if run.place.rank == 0:
        try:
            load_checkpoint(path, whole)
            told = {
                "batches": whole.batches.state_dict(),
                "scaler": whole.scaler.state_dict(),
                "optimizer_steps": whole.optimizer.t,
                "history": vars(whole.history),
            }
        except (ValueError, OSError) as error:
            told = {"problem": str(error)}
    told = share(told, run.place)
    if "problem" in told:
        raise ValueError(told["problem"])
    for kind in ("params", "m", "v"):
        hand_on(getattr(whole.optimizer, kind), getattr(run.optimizer, kind), run.place)
    run.batches.load_state_dict(told["batches"])
    run.scaler.load_state_dict(told["scaler"])
    run.optimizer.t = told["optimizer_steps"]
    run.history = History(**told["history"])
    own_random_state(run)


@torch.no_grad()
def hand_on(source: dict[str, Tensor], target: dict[str, Tensor], place: Place) -> None:
    """Copy rank 0's `source` into everybody's `target`, whole or in shards."""
    for name, t in target.items():
        if isinstance(t, DTensor):
            whole = source[name] if place.rank == 0 else torch.empty(t.shape, dtype=t.dtype)
            t.copy_(distribute_tensor(whole.to(place.device), t.device_mesh, t.placements))
        elif place.size > 1:
            dist.broadcast(t, 0)


def own_random_state(run: ParallelRun) -> None:
    """Other random numbers on every rank but 0, whose are those of a run in one process."""
    if run.place.rank > 0:
        numbers = [run.batches.seed, run.place.rank, run.step]
        torch.manual_seed(zlib.crc32(json.dumps(numbers).encode()))


# ---- what a GPU can do -------------------------------------------------------------------------

# Dense peaks of the tensor cores in FLOP/s, from NVIDIA's data sheets: bfloat16, and for the T4,
# which computes in none, float16. The first pattern found in the card's name counts.
PEAKS = [
    (r"\bA100\b", 312e12),
    (r"\bH100 PCIe\b", 756e12),
    (r"\bH100 NVL\b|\bH200 NVL\b", None),  # other clocks than those below: not in this table
    (r"\bH[12]00\b", 989e12),  # both as SXM modules
    (r"\bL4\b", 121e12),
    (r"\bT4\b", 65e12),
]


def flops_per_token(config: GPTConfig, length: int) -> int:
    """Floating-point operations per token of a training step on sequences of `length` tokens.

    The matrix products alone are counted, each once forward and twice backward (for the gradient of
    either factor), and attention in full, not only below its diagonal.
    """
    c = config.n_embd
    layer = sum(attention_flops(length, c).values()) + 2 * length * (2 * 4 * c * c)  # and the MLP
    return 3 * (config.n_layer * layer + 2 * length * c * config.vocab_size) // length


def peak_flops(name: str) -> float | None:
    """The peak of the card that calls itself `name`, in FLOP/s; None for cards not in the table."""
    return next((peak for pattern, peak in PEAKS if re.search(pattern, name)), None)


def utilisation(flops: float, seconds: float, name: str, n_gpu: int = 1) -> float | None:
    """Model FLOPs utilisation: counted FLOPs per second over the peak of `n_gpu` cards `name`.

    Chowdhery et al. 2022, arXiv 2204.02311, appendix B. None where the peak is not known.
    """
    peak = peak_flops(name)
    return None if peak is None else flops / seconds / (peak * n_gpu)


def speed(run: ParallelRun) -> str:
    """Tokens per second, and on a GPU in the table its utilisation, in a sentence; or nothing."""
    meter, place = run.meter, run.place
    if meter.seconds == 0:
        return ""
    sentence = f"{meter.tokens / meter.seconds:,.0f} tokens/s"
    if place.device.type == "cuda":
        name = torch.cuda.get_device_name(place.device)
        share = utilisation(meter.flops, meter.seconds, name, place.size)
        known = "its peak is not known here" if share is None else f"MFU {share:.1%}"
        sentence += f" on {place.size} x {name} ({known})"
    return sentence


def compile_model(model: GPT, device: torch.device, by_block: bool = False) -> str:
    """Compile `model` in place. Returns a sentence if that does not work here, otherwise "".

    With `by_block` every block is compiled alone, as sharded weights are fetched block by block.
    """
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(2, device=device))
    except Exception as error:  # no C++ compiler, no Triton, this Python, ...: many things can fail
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"torch.compile does not work here ({reason}): training goes on without it."
    for module in model.blocks if by_block else [model]:
        module.compile()
    return ""


# ---- the command -------------------------------------------------------------------------------


def run_from_config(config: RunConfig, place: Place, corpus: Corpus) -> tuple[ParallelRun, str]:
    """The run that a config file describes, and a sentence on what of it does not work here.

    In one process it starts exactly as `train_from_recipe` does.
    """
    recipe, remark = config.recipe, ""
    torch.manual_seed(recipe.seed)
    model = GPT(recipe.model).to(place.device)
    if config.compile:
        remark = compile_model(model, place.device, by_block=config.fsdp and place.size > 1)
    batches = Batches(*corpus.train, recipe.batch_size, recipe.seed)
    run = ParallelRun(model, batches, recipe.training, place, config.fsdp, config.fused)
    own_random_state(run)
    return run, remark


def train_from_config(config: RunConfig, place: Place) -> None:
    """Train as the config file says; rank 0 reports and writes the files."""
    corpus = load_corpus(config.recipe)
    run, remark = run_from_config(config, place, corpus)

    def tell(sentence: str) -> None:
        if sentence and place.rank == 0:
            print(sentence, flush=True)

    tell(remark)
    how = "FSDP" if config.fsdp and place.size > 1 else "each with the whole model"
    processes = f"{place.size} processes, {how}" if place.size > 1 else "one process"
    tell(f"{config.recipe.corpus}: {run.config.steps} steps on {place.device.type}, {processes}")
    history = parallel_train(run, corpus.validation, config.checkpoint)
    tell(speed(run))
    floor = "" if corpus.floor is None else f" (the floor is {corpus.floor:.4f})"
    tell(f"validation loss {history.validation[-1][1]:.4f} nats per token{floor}")
    if config.output is not None:
        whole = whole_run(run)
        if place.rank == 0:
            save_model(whole.model, config.output)
            corpus.tokenizer.save(config.output.with_suffix(".json"))
            tell(f"The model is in {config.output}.")


def what_is_left(checkpoint: Path | None) -> str:
    """A sentence on the last checkpoint, which is read to see whether it is whole."""
    if checkpoint is None:
        return "The config file names no checkpoint, so nothing is left of this run."
    try:
        _, about = read_safetensors(checkpoint, "training run")
    except (ValueError, OSError) as error:
        return str(error)
    return (
        f"The checkpoint {checkpoint} is whole and stands at step "
        f"{len(about['history']['losses'])}: the same command continues there."
    )


def main(argv: list[str] | None = None) -> int:
    """The command. Returns 0, 1 if another process ended, 2 for bad input, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recipe", nargs="?", choices=[*recipes()], help="remake the stored model by this recipe"
    )
    parser.add_argument("folder", nargs="?", help="and put it there (default: course_lib/models)")
    parser.add_argument("--config", metavar="FILE", help="train as this JSON file says")
    options = parser.parse_args(argv)
    if options.config is None:
        if launched():
            parser.error("under torchrun, say what to train with --config FILE")
        nats = make_little_gpt(options.recipe or "little-world", options.folder)
        print(f"validation loss {nats:.4f} nats per token")
        return 0
    if options.recipe is not None:
        parser.error('with --config, the recipe stands in the file: {"recipe": "..."}')
    return train_or_tell(options.config)


def train_or_tell(path: str) -> int:
    """Train as the config file says, and turn what can go wrong into a sentence and a status."""
    config = None
    try:
        config = read_config(path)
        with joined() as place:
            train_from_config(config, place)
        return 0
    except ValueError as error:
        problem, status = str(error), 2
    except Ended as error:
        problem, status = str(error), 1
    except KeyboardInterrupt:
        problem, status = "interrupted", 130
    for number in (signal.SIGINT, signal.SIGTERM):  # torchrun may send both, and more than once
        signal.signal(number, signal.SIG_IGN)
    if status != 2:
        left = what_is_left(config.checkpoint if config else None)
        problem = f"Training stops: {problem}. {left}"
    # Every rank speaks: whoever comes first ends, and torchrun then ends the others.
    who = f"rank {os.environ['RANK']}: " if launched() else ""
    print(who + problem, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
