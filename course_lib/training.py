"""Chapter 5: training. From a corpus of token ids to a GPT that predicts it.

This module adds what stands between a model and a trained model: rows of inputs and shifted
targets, batches that are exact about epochs, the loss, AdamW, the learning-rate schedule,
gradient clipping and accumulation, mixed precision, evaluation over a whole set, the training
loop, and checkpoints that are written atomically and continue a run bit for bit.
"""

import json
import math
import os
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

import course_lib
from course_lib.data import shakespeare
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import GPT, GPTConfig
from course_lib.world import World, little_world, tiny_world

__all__ = [
    "IGNORE",
    "AdamW",
    "Batches",
    "Corpus",
    "History",
    "Recipe",
    "TrainingConfig",
    "TrainingRun",
    "accumulate_gradients",
    "clip_gradients",
    "copy_tensors",
    "describe_run",
    "evaluate",
    "lm_loss",
    "load_checkpoint",
    "load_corpus",
    "load_model",
    "lr_at",
    "make_little_gpt",
    "mixed_precision",
    "progress_bar",
    "read_safetensors",
    "recipes",
    "save_checkpoint",
    "save_model",
    "scene_rows",
    "shakespeare_corpus",
    "stream_windows",
    "token_nats",
    "train",
    "train_from_recipe",
    "training_step",
    "trim_padding",
    "world_corpus",
    "write_safetensors",
]

IGNORE = -100  # the target that means "do not score this position"; F.cross_entropy's own default


def stream_windows(ids: Sequence[int] | Tensor, context_length: int) -> tuple[Tensor, Tensor]:
    """Cut one long stream of token ids into windows: inputs x and targets y, both (N, T).

    The windows do not overlap, and y is x moved one place to the left: y[n, t] is the token
    that follows x[n, t]. The last few tokens, which do not fill a window, are left out.
    """
    ids = torch.as_tensor(ids, dtype=torch.long)
    n_windows = (len(ids) - 1) // context_length  # the last target needs one token more
    if n_windows < 1:
        raise ValueError(
            f"The corpus has {len(ids)} tokens, fewer than one window of {context_length} and its "
            f"target need: give {context_length + 1} tokens or more, or shorten the context."
        )
    used = n_windows * context_length
    x = ids[:used].view(n_windows, context_length)  # (N, T)
    y = ids[1 : used + 1].view(n_windows, context_length)  # (N, T)
    return x, y


def scene_rows(
    sequences: Sequence[Sequence[int]], context_length: int, end: int
) -> tuple[Tensor, Tensor]:
    """One text per row: inputs x and targets y, both (N, T), T being the longest text's length.

    `end` is the token that closes a text; here it also stands before each one, so that the
    first real token is predicted too. Behind a shorter text x is filled with `end` and y with
    IGNORE: those places are never scored.
    """
    longest = max((len(ids) for ids in sequences), default=0)
    if longest == 0:
        raise ValueError("There is no text to make rows of: give at least one token.")
    if longest > context_length:
        raise ValueError(
            f"The longest text has {longest} tokens, but the context has {context_length}: "
            "use a longer context, or cut the text with stream_windows."
        )
    x = torch.full((len(sequences), longest), end)  # (N, T)
    y = torch.full((len(sequences), longest), IGNORE)  # (N, T)
    for row, ids in enumerate(sequences):
        y[row, : len(ids)] = torch.as_tensor(ids, dtype=torch.long)
        x[row, 1 : len(ids)] = y[row, : len(ids) - 1]
    return x, y


def trim_padding(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Drop the columns on the right that are padding in every row: (B, T) -> (B, T') twice."""
    scored = (y != IGNORE).any(dim=0).nonzero()
    width = int(scored[-1]) + 1 if len(scored) else 1
    return x[:, :width], y[:, :width]


class Batches:
    """Endless batches of (x, y) rows, in which every row comes exactly once per epoch.

    Each epoch has its own order, computed from the seed and the number of the epoch alone. So
    three integers say where we are, and `load_state_dict` continues there exactly. The last
    batch of an epoch is smaller when the batch size does not divide the number of rows.
    """

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, seed: int = 0):
        if x.shape != y.shape or len(x) == 0:
            raise ValueError(f"x and y need equal shapes and a row: {(*x.shape,)}, {(*y.shape,)}.")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1.")
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed
        self.data_crc = zlib.crc32(y.cpu().numpy().tobytes(), zlib.crc32(x.cpu().numpy().tobytes()))
        self.epoch, self.position, self.order = 0, 0, self.shuffled(0)

    def shuffled(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        return torch.randperm(len(self.x), generator=generator)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        rows = self.order[self.position : self.position + self.batch_size]
        self.position += len(rows)
        if self.position == len(self.x):
            self.epoch, self.position = self.epoch + 1, 0
            self.order = self.shuffled(self.epoch)
        return trim_padding(self.x[rows], self.y[rows])

    def state_dict(self) -> dict[str, int]:
        names = ("seed", "batch_size", "data_crc", "epoch", "position")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self.order = self.shuffled(self.epoch)


def lm_loss(logits: Tensor, targets: Tensor, count: int | Tensor | None = None) -> Tensor:
    """The mean surprise in nats per scored target: logits (..., T, V) against targets (..., T).

    The targets are already shifted: targets[..., t] is the token that follows position t.
    Targets equal to IGNORE are not scored. The sum is divided by the number of scored targets,
    or by `count` where one batch is processed in pieces (see `accumulate_gradients`).
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"Logits {(*logits.shape,)} and targets {(*targets.shape,)} do not fit: "
            "the targets need the shape of the logits without their last axis."
        )
    flat = logits.flatten(0, -2).float()  # (N, V); the softmax needs float32 even under autocast
    total = F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORE, reduction="sum")
    if count is None:
        count = (targets != IGNORE).sum().clamp(min=1)
    return total / count


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).

    `named_parameters` are (name, parameter) pairs. Matrices decay; vectors (biases and the
    gains of layer norm) do not. Equal to `torch.optim.AdamW` with those two groups.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        self.params = dict(named_parameters)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.t = 0  # steps taken
        self.m = {name: torch.zeros_like(p) for name, p in self.params.items()}
        self.v = {name: torch.zeros_like(p) for name, p in self.params.items()}
        self.param_groups = [{"params": list(self.params.values())}]  # what GradScaler asks for

    def zero_grad(self) -> None:
        for p in self.params.values():
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.t += 1
        beta1, beta2 = self.betas
        size = self.lr / (1 - beta1**self.t)  # m starts at 0, so early averages are too small
        correction = math.sqrt(1 - beta2**self.t)  # and so are those of v
        for name, p in self.params.items():
            if p.grad is None:
                continue
            if p.ndim >= 2:
                p.mul_(1 - self.lr * self.weight_decay)
            m = self.m[name].lerp_(p.grad, 1 - beta1)  # m = beta1 m + (1 - beta1) g
            v = self.v[name].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            p.addcdiv_(m, v.sqrt().div_(correction).add_(self.eps), value=-size)


def lr_at(step: int, warmup: int, total: int, max_lr: float, min_lr: float) -> float:
    """The learning rate of a step (counted from 0): a linear warm-up, then half a cosine.

    It reaches `max_lr` at the end of the warm-up and `min_lr` at step `total`, where it stays.
    """
    if step < warmup:
        return max_lr * (step + 1) / warmup  # never 0: the first batch counts too
    if step >= total:
        return min_lr
    progress = (step - warmup) / (total - warmup)  # 0 after the warm-up, 1 at the end
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients together so that their joint norm is at most `max_norm`.

    Returns the norm before clipping. All gradients count as one long vector, so the direction
    of the step does not change, only its length. Equal to `torch.nn.utils.clip_grad_norm_`.
    """
    if max_norm <= 0:
        raise ValueError(f"max_norm is {max_norm}: it must be above 0.")
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in grads]).norm() if grads else torch.zeros(())
    scale = max_norm / (norm + 1e-6)  # the 1e-6 is torch's own guard against a norm of 0
    if scale < 1:
        for g in grads:
            g.mul_(scale)
    return norm.item()


def accumulate_gradients(model, x, y, pieces=1, autocast=None, scaler=None) -> float:
    """Add the gradient of the batch's mean loss, computed in `pieces`, and return that loss.

    x and y are (B, T). Each piece is divided by the number of scored targets of the *whole*
    batch, so the sum over pieces is the big batch's gradient even where rows have unequal
    padding. Only one piece's activations are in memory at a time.
    """
    count = (y != IGNORE).sum().clamp(min=1)
    total = 0.0
    for x_piece, y_piece in zip(x.chunk(pieces), y.chunk(pieces)):
        with torch.autocast(x.device.type, enabled=False) if autocast is None else autocast:
            loss = lm_loss(model(x_piece), y_piece, count)
        (loss if scaler is None else scaler.scale(loss)).backward()
        total += loss.item()
    return total


def mixed_precision(device: torch.device, choice: str = "auto") -> torch.dtype:
    """The number format for the matrix products: "auto", "float32", "bfloat16" or "float16".

    "auto" takes bfloat16 on GPUs that compute in it (capability 8.0: A100 and later), float16
    on older ones, and float32 everywhere else. `torch.cuda.is_bf16_supported()` is no help: it
    says True on a T4, which only emulates bfloat16.
    """
    if choice == "auto":
        if device.type != "cuda":
            return torch.float32
        capability = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if capability >= (8, 0) else torch.float16
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if choice not in formats:
        raise ValueError(f"precision is {choice!r}: choose auto, {', '.join(formats)}.")
    return formats[choice]


@torch.no_grad()
def token_nats(model: GPT, x: Tensor, y: Tensor, batch_size: int = 64) -> Tensor:
    """The surprise at every target in nats, (N, T) on the CPU, 0 where the target is IGNORE."""
    if len(x) == 0:
        raise ValueError("There are no rows to evaluate on: give at least one.")
    was_training, device = model.training, next(model.parameters()).device
    model.eval()  # no dropout while measuring
    rows = []
    for x_part, y_part in zip(x.split(batch_size), y.split(batch_size)):
        x_part, y_part = trim_padding(x_part, y_part)
        logits = model(x_part.to(device)).float()  # (B, T', V)
        targets = y_part.to(device).flatten()
        nats = F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORE, reduction="none")
        nats = nats.view(y_part.shape).cpu()  # (B, T')
        rows.append(F.pad(nats, (0, x.size(1) - nats.size(1))))  # (B, T)
    model.train(was_training)
    return torch.cat(rows)


def evaluate(model: GPT, x: Tensor, y: Tensor, batch_size: int = 64) -> float:
    """The mean loss in nats per scored token over *all* rows: the same number at every call."""
    nats = token_nats(model, x, y, batch_size)
    return float(nats.double().sum() / (y != IGNORE).sum())


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training run, apart from the model and the data."""

    steps: int
    max_lr: float = 3e-3
    min_lr: float = 0.0
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.1
    clip: float = 1.0  # the largest gradient norm
    pieces: int = 1  # a batch is processed in so many pieces
    precision: str = "auto"  # see mixed_precision
    evaluate_every: int = 250  # steps between two passes over the validation set
    save_every: int = 250  # steps between two checkpoints

    def __post_init__(self):
        for name in ("steps", "pieces", "evaluate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if not 0 <= self.min_lr <= self.max_lr:
            raise ValueError(f"Learning rates must rise: 0 <= {self.min_lr} <= {self.max_lr}.")
        if self.warmup < 0 or self.clip <= 0 or self.weight_decay < 0:
            raise ValueError("warmup and weight_decay must be at least 0, and clip above 0.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: both must lie in [0, 1).")


@dataclass
class History:
    """What a run leaves behind: one entry per step, and the validation losses on the way."""

    losses: list[float] = field(default_factory=list)  # nats per token, of the batch of each step
    norms: list[float] = field(default_factory=list)  # gradient norm before clipping
    validation: list[tuple[int, float]] = field(default_factory=list)  # (steps taken, nats)
    tokens: int = 0  # targets scored so far
    interrupted: bool = False

    def __post_init__(self):
        self.validation = [tuple(pair) for pair in self.validation]  # JSON knows only lists


class TrainingRun:
    """A model in training: all that changes from step to step, in one place."""

    def __init__(self, model: GPT, batches: Batches, config: TrainingConfig):
        self.model, self.batches, self.config = model, batches, config
        self.device = next(model.parameters()).device
        dtype = mixed_precision(self.device, config.precision)
        self.autocast = torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.optimizer = AdamW(
            model.named_parameters(), betas=config.betas, weight_decay=config.weight_decay
        )
        self.history = History()

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return len(self.history.losses)


def training_step(run: TrainingRun) -> float:
    """One step: batch, gradient, clipping, learning rate, update. Returns the batch's loss."""
    config, optimizer = run.config, run.optimizer
    x, y = (rows.to(run.device) for rows in next(run.batches))
    optimizer.zero_grad()
    loss = accumulate_gradients(run.model, x, y, config.pieces, run.autocast, run.scaler)
    run.scaler.unscale_(optimizer)
    norm = clip_gradients(run.model.parameters(), config.clip)
    # float16 overflows now and then: its scaler then skips the step. Elsewhere it is an accident.
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
    run.history.tokens += int((y != IGNORE).sum())
    return loss


def progress_bar(total: int, done: int = 0, show: bool | None = None) -> tqdm:
    """A bar on stdout with the time left; `show=None` draws it unless COURSE_PROGRESS is 0."""
    if show is None:
        show = os.environ.get("COURSE_PROGRESS", "1") != "0" and "PYTEST_VERSION" not in os.environ
    layout = "{percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
    return tqdm(
        total=total, initial=done, disable=not show, file=sys.stdout, leave=False, bar_format=layout
    )


def train(
    model: GPT,
    batches: Batches,
    config: TrainingConfig,
    validation: tuple[Tensor, Tensor] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> History:
    """Train `model` in place for `config.steps` steps and return the history.

    With `checkpoint`, the run is saved there every `config.save_every` steps and at the end;
    with `resume` as well, it first continues from that file, where there is one. A keyboard
    interrupt ends the run early: the last checkpoint stays, the history so far is returned.
    """
    run = TrainingRun(model, batches, config)
    if resume and checkpoint is not None and Path(checkpoint).exists():
        load_checkpoint(checkpoint, run)
    model.train()
    start, tokens_before = time.perf_counter(), run.history.tokens
    try:
        with progress_bar(config.steps, run.step, progress) as bar:
            while run.step < config.steps:
                loss, last = training_step(run), run.step == config.steps
                if validation is not None and (last or run.step % config.evaluate_every == 0):
                    run.history.validation.append((run.step, evaluate(model, *validation)))
                if checkpoint is not None and (last or run.step % config.save_every == 0):
                    save_checkpoint(checkpoint, run)
                speed = (run.history.tokens - tokens_before) / (time.perf_counter() - start)
                bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update()
    except KeyboardInterrupt:
        run.history.interrupted = True
    return run.history


def write_safetensors(path: str | Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Write tensors and a JSON description into one file: the new file whole, or the old one.

    Everything goes into a temporary file beside `path`, which then takes its name in a single
    step. `about` and a checksum of the numbers stand as JSON in the safetensors header.
    """
    path = Path(path)
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    plain = safetensors.torch.save(tensors)
    crc = zlib.crc32(plain[8 + int.from_bytes(plain[:8], "little") :])
    data = safetensors.torch.save(tensors, {"about": json.dumps(about), "crc32": str(crc)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name
        os.replace(temporary, path)
    except BaseException:  # a keyboard interrupt too leaves no half-written file behind
        temporary.unlink(missing_ok=True)
        raise


def read_safetensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read what `write_safetensors` wrote, and check that it is whole and of this kind."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}: check the path, or train and save first.")
    data = path.read_bytes()
    try:
        tensors = safetensors.torch.load(data)
        body = 8 + int.from_bytes(data[:8], "little")  # 8 bytes: how long the JSON header is
        header = json.loads(data[8:body]).get("__metadata__", {})
    except (SafetensorError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is no whole safetensors file (truncated, damaged or of another format): "
            "restore it from a copy or train again."
        ) from error
    if "crc32" not in header or "about" not in header:
        raise ValueError(f"{path} was not written by this course: expected {kind}.")
    if str(zlib.crc32(data[body:])) != header["crc32"]:
        raise ValueError(f"{path} is damaged (its checksum is wrong): restore it or train again.")
    about = json.loads(header["about"])
    if about.get("kind") != kind:
        raise ValueError(f"{path} holds {about.get('kind')!r}, not {kind!r}: give the right file.")
    return tensors, about


@torch.no_grad()
def copy_tensors(path, source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy every tensor of `source` into its namesake; copy none if a name or shape differs."""
    for name in sorted(source.keys() ^ target.keys()):
        raise ValueError(f"{path} does not fit this model: only one of them has {name!r}.")
    for name, t in target.items():
        if source[name].shape != t.shape:
            raise ValueError(
                f"{path} does not fit this model: {name!r} has shape {(*source[name].shape,)} "
                f"there and {(*t.shape,)} here."
            )
    for name, t in target.items():
        t.copy_(source[name])


def describe_run(run: TrainingRun) -> dict:
    """What must be equal for a checkpoint to fit: configurations and data, not the progress."""
    data = run.batches.state_dict()
    del data["epoch"], data["position"]
    identity = {**asdict(run.model.config), **asdict(run.config), **data}
    return json.loads(json.dumps(identity))  # as it will read after a trip through JSON


def save_checkpoint(path: str | Path, run: TrainingRun) -> None:
    """Save everything the next step depends on, atomically: see `load_checkpoint`."""
    tensors = {f"model.{name}": p for name, p in run.model.named_parameters()}
    tensors |= {f"m.{name}": m for name, m in run.optimizer.m.items()}
    tensors |= {f"v.{name}": v for name, v in run.optimizer.v.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if run.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(run.device)
    about = {
        "kind": "training run",
        "identity": describe_run(run),
        "batches": run.batches.state_dict(),
        "scaler": run.scaler.state_dict(),
        "optimizer_steps": run.optimizer.t,
        "history": asdict(run.history),
    }
    write_safetensors(path, tensors, about)


def load_checkpoint(path: str | Path, run: TrainingRun) -> None:
    """Put a saved run into `run`, which then continues bit for bit as if never stopped.

    Restored are the weights, the optimiser's moments, the place in the schedule and in the data,
    the random state and the history. A file that is damaged or belongs to another model,
    configuration or data is refused with a ValueError, and `run` stays as it was.
    """
    tensors, about = read_safetensors(path, "training run")
    parts = {"identity", "batches", "scaler", "optimizer_steps", "history", "random.cpu"}
    if missing := sorted(parts - about.keys() - tensors.keys()):
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: another version of this course wrote it. "
            "Start the run anew, or continue it with that version."
        )
    for name, value in describe_run(run).items():
        if about["identity"].get(name) != value:
            raise ValueError(
                f"{path} belongs to another run: there {name} is {about['identity'].get(name)}, "
                f"here it is {value}. Use the same configuration and data, or another file."
            )
    random_cpu, random_cuda = tensors.pop("random.cpu"), tensors.pop("random.cuda", None)
    target = {f"model.{name}": p for name, p in run.model.named_parameters()}
    target |= {f"m.{name}": m for name, m in run.optimizer.m.items()}
    target |= {f"v.{name}": v for name, v in run.optimizer.v.items()}
    copy_tensors(path, tensors, target)
    torch.set_rng_state(random_cpu)
    if random_cuda is not None and run.device.type == "cuda":
        torch.cuda.set_rng_state(random_cuda, run.device)
    run.batches.load_state_dict(about["batches"])
    run.scaler.load_state_dict(about["scaler"])
    run.optimizer.t = about["optimizer_steps"]
    run.history = History(**about["history"])


def save_model(model: GPT, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Save a finished model, weights and configuration, as one safetensors file.

    float16 halves the file; the weights lose digits that the loss does not notice.
    """
    tensors = {name: p.to(dtype) for name, p in model.named_parameters()}
    write_safetensors(path, tensors, {"kind": "model", "model": asdict(model.config)})


def load_model(path: str | Path) -> GPT:
    """Build the GPT that `save_model` saved: float32, on the CPU, in evaluation mode."""
    tensors, about = read_safetensors(path, "model")
    try:
        model = GPT(GPTConfig(**about["model"]))
    except TypeError as error:
        raise ValueError(f"{path} was saved by another version of the course: {error}.") from error
    copy_tensors(path, tensors, dict(model.named_parameters()))
    return model.eval()


@dataclass(frozen=True)
class Recipe:
    """One complete recipe: which text and how much of it, which model, which training."""

    corpus: str  # "little-world" or "tiny-world", which have a known floor, or "shakespeare"
    model: GPTConfig
    training: TrainingConfig
    batch_size: int = 32
    n_train: int = 24_000  # scenes
    n_validation: int = 500
    seed: int = 1


def recipes() -> dict[str, Recipe]:
    """Everything that was tuned stands here and nowhere else.

    The environment variable COURSE_STEPS makes every run that long, or that short, for a trial.
    """
    steps = int(os.environ.get("COURSE_STEPS", 0))
    little = Recipe(
        "little-world",
        GPTConfig(1024, 128, n_layer=3, n_head=4, n_embd=80, init="copy"),
        TrainingConfig(steps or 700, max_lr=4.5e-3, min_lr=1e-4, warmup=50, weight_decay=0.05),
    )
    tiny = Recipe(
        "tiny-world",
        GPTConfig(324, 32, n_layer=2, n_head=2, n_embd=64, init="copy"),
        TrainingConfig(steps or 700, max_lr=3e-3, min_lr=1e-4, warmup=50, weight_decay=0.05),
    )
    training = replace(little.training, steps=steps or 2_000)
    longer = replace(little, n_train=64_000, training=training)
    return {
        "little-world": little,  # between one and two minutes on two cores
        "little-world-long": longer,
        "tiny-world": tiny,
        "shakespeare": replace(little, corpus="shakespeare"),
    }


@dataclass(frozen=True)
class Corpus:
    """A corpus ready for training: its tokenizer, its rows, and its floor where it is known."""

    tokenizer: Tokenizer
    train: tuple[Tensor, Tensor]  # x and y, each (N, T)
    validation: tuple[Tensor, Tensor]
    texts: list[str]  # the validation texts
    floor: float | None  # nats per token of the perfect model on the validation texts


def world_corpus(recipe: Recipe, world: World) -> Corpus:
    """Scenes of a world, one per row, and the exact floor of the validation set.

    The newline that ends every scene is a token of its own, and so serves as the end token.
    """
    train_texts, texts = world.split(recipe.n_train, recipe.n_validation)
    tokenizer = Tokenizer.train(train_texts[:2000], recipe.model.vocab_size)
    (end,) = tokenizer.encode("\n")
    rows = [
        scene_rows([tokenizer.encode(text) for text in part], recipe.model.context_length, end)
        for part in (train_texts, texts)
    ]
    return Corpus(tokenizer, *rows, texts, world.floor(texts, tokenizer))


def shakespeare_corpus(recipe: Recipe) -> Corpus:
    """Tiny Shakespeare: the first 90 % to train, the rest to validate, as one stream of windows."""
    parts = shakespeare()
    tokenizer = Tokenizer.train(parts[0], recipe.model.vocab_size)
    length = recipe.model.context_length
    rows = [stream_windows(tokenizer.encode(part), length) for part in parts]
    return Corpus(tokenizer, *rows, [parts[1]], None)


def load_corpus(recipe: Recipe) -> Corpus:
    """The corpus that the recipe names."""
    if recipe.corpus == "shakespeare":
        return shakespeare_corpus(recipe)
    worlds = {"little-world": little_world, "tiny-world": tiny_world}
    if recipe.corpus not in worlds:
        raise ValueError(f"There is no corpus {recipe.corpus!r}: choose one of {[*worlds]}.")
    return world_corpus(recipe, worlds[recipe.corpus]())


def train_from_recipe(
    recipe: Recipe, corpus: Corpus, progress: bool | None = None
) -> tuple[GPT, History]:
    """Make the recipe's model, train it on the corpus, and return it with the run's history."""
    torch.manual_seed(recipe.seed)
    model = GPT(recipe.model).to(course_lib.device())
    batches = Batches(*corpus.train, recipe.batch_size, recipe.seed)
    history = train(model, batches, recipe.training, corpus.validation, progress=progress)
    return model, history


def make_little_gpt(name: str = "little-world", folder: str | Path | None = None) -> float:
    """Train the course's little GPT, save it with its tokenizer, and return its loss in nats.

    `name` is that of a recipe. The files go to course_lib/models, unless another folder is given.
    `python -m course_lib.training` calls this; it is how the stored model was made.
    """
    folder = Path(course_lib.__file__).parent / "models" if folder is None else Path(folder)
    recipe = recipes()[name]
    corpus = load_corpus(recipe)
    model, history = train_from_recipe(recipe, corpus)
    save_model(model, folder / "little_gpt.safetensors")
    corpus.tokenizer.save(folder / "little_gpt.json")
    return history.validation[-1][1]


if __name__ == "__main__":
    from course_lib.distributed import main  # the same command trains on many processes

    sys.exit(main())
