"""What each of the processes that tests/test_distributed.py starts does.

    python tests/distributed_ranks.py JOB FOLDER

RANK, WORLD_SIZE and so on are set as torchrun sets them. A job leaves FOLDER/JOB-<rank>.json.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import torch

from course_lib import distributed, training
from course_lib.training import Batches, TrainingConfig, scene_rows
from course_lib.transformer import GPT, GPTConfig

SMALL = GPTConfig(vocab_size=11, context_length=12, n_layer=2, n_head=2, n_embd=8)
CONFIG = TrainingConfig(
    steps=8, max_lr=1e-2, warmup=2, pieces=4, evaluate_every=3, save_every=3, precision="float32"
)
BATCH = 5  # of 13 rows: two ranks never get equally many, and the last batch of an epoch is smaller


def rows(seed: int = 0):
    """Thirteen rows of unequal length, one of them without a target."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (13,), generator=generator).tolist()
    texts = [torch.randint(1, 11, (n,), generator=generator).tolist() for n in lengths]
    x, y = scene_rows(texts, context_length=12, end=0)
    y[3] = training.IGNORE
    return x, y


def small_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(training.replace(SMALL, **changes))


def parallel_run(place, config=CONFIG, seed=0, **options) -> distributed.ParallelRun:
    return distributed.ParallelRun(
        small_model(), Batches(*rows(seed), BATCH, seed=2), config, place, **options
    )


# FSDP2 came to the CPU with torch 2.7
CAN_SHARD = hasattr(torch.cpu.Stream, "record_event")
KINDS = {"ddp": {}, "fsdp": {"fsdp": True}, "fsdp, fused": {"fsdp": True, "fused": True}}


def training_in_parallel(place, folder: Path) -> dict:
    """Everything that needs a group of processes but leaves it whole."""
    result = {"curves": {}, "writes": {}, "resumed": {}, "exchanges": {}, "random": {}}
    for kind, options in KINDS.items():
        if options.get("fsdp") and not CAN_SHARD:
            continue
        writes = counted(training, "write_safetensors")
        run = parallel_run(place, **options)
        history = distributed.parallel_train(run, rows(), folder / f"{kind}.safetensors")
        result["curves"][kind] = vars(history)
        result["writes"][kind] = writes()
        # The same run stopped after half of its steps, for the test to continue in one process.
        run = parallel_run(place, **options)
        run.model.train()
        for _ in range(4):
            distributed.parallel_step(run)
        distributed.save(folder / f"{kind}-half.safetensors", run)
        result["exchanges"][kind] = exchanges(run)
        # And a run that one process has stopped after half of its steps, continued here.
        run = parallel_run(place, **options)
        distributed.load(folder / "one-half.safetensors", run)
        result["random"][kind] = torch.get_rng_state().sum().item()
        while run.step < CONFIG.steps:
            distributed.parallel_step(run)
        result["resumed"][kind] = vars(run.history)
    result["seen"] = rows_seen(place)
    result["refused"] = refused(place, folder)
    if CAN_SHARD:
        result["skipped"] = [overflow_on_one_rank(place, fused) for fused in (False, True)]
    return result


def counted(module, name: str):
    """Count the calls of a function until the number is asked for."""
    calls, real = [], getattr(module, name)

    def counting(*arguments):
        calls.append(1)
        return real(*arguments)

    def number() -> int:
        setattr(module, name, real)
        return len(calls)

    setattr(module, name, counting)
    return number


def exchanges(run) -> dict[str, int]:
    """How often gloo really exchanged something in two steps, by torch's own profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(2):
            distributed.parallel_step(run)
    return Counter(e.name for e in profile.events() if e.name.startswith(("gloo:", "c10d::")))


def rows_seen(place) -> list:
    """The targets that this rank computed the gradient of, step by step."""
    seen, real = [], distributed.parallel_gradients

    def recording(run, x, y, count):
        seen.append([[t for t in row if t != training.IGNORE] for row in y.tolist()])
        return real(run, x, y, count)

    distributed.parallel_gradients = recording
    distributed.parallel_train(parallel_run(place))
    distributed.parallel_gradients = real
    return seen


def refused(place, folder: Path) -> list[str]:
    """What bad input says: a damaged checkpoint, and ranks with different data."""
    if place.rank == 0:
        (folder / "bad.safetensors").write_bytes((folder / "ddp.safetensors").read_bytes()[:-9])
    sentences = []
    for attempt in (
        lambda: distributed.load(folder / "bad.safetensors", parallel_run(place)),
        lambda: parallel_run(place, seed=place.rank),
    ):
        try:
            attempt()
        except ValueError as error:
            sentences.append(str(error))
    return sentences


def overflow_on_one_rank(place, fused: bool) -> dict:
    """In float16, one rank's shard of the gradient overflows in the third of four steps."""
    config = training.replace(CONFIG, steps=4, precision="float16")
    run = parallel_run(place, config, fsdp=True, fused=fused)
    run.model.train()
    real = run.scaler.unscale_

    def poisoned(optimizer):
        if run.step == 2 and place.rank == 1:
            optimizer.params["wte.weight"].grad.to_local().fill_(torch.inf)
        real(optimizer)

    run.scaler.unscale_ = poisoned
    before = run.scaler.get_scale()
    for _ in range(4):
        distributed.parallel_step(run)
    return {
        "steps": run.optimizer.t,
        "scale": run.scaler.get_scale() / before,
        "losses": run.history.losses,
    }


def stop_at_step_6(how) -> None:
    """Let the command's process number 1 do `how()` in its sixth step.

    The checkpoint of step 4 is on the disk by then: rank 0 was part of step 5 after it wrote that.
    """
    real = distributed.parallel_step

    def step(run):
        if run.step == 5 and run.place.rank == 1:
            how()
        return real(run)

    distributed.parallel_step = step


def main(job: str, folder: Path) -> int:
    torch.set_num_threads(1)
    if job == "train":
        with distributed.joined() as place:
            result = training_in_parallel(place, folder)
        path = folder / f"{job}-{place.rank}.json"
        path.write_text(json.dumps(result), encoding="utf-8")
        return 0
    # SIGKILL leaves no time for anything; Windows calls the same thing by the other name
    deadly = getattr(signal, "SIGKILL", signal.SIGTERM)
    number = {"kill": deadly, "interrupt": signal.SIGINT}[job]
    stop_at_step_6(lambda: os.kill(os.getpid(), number))
    return distributed.main(["--config", str(folder / "run.json")])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
