"""Training on several processes, held against chapter 5's own loop in one.

The processes are real ones on this machine: they talk over gloo, on loopback only.
"""

import functools
import itertools
import json
import math
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distributed_ranks import (
    BATCH,
    CAN_SHARD,
    CONFIG,
    KINDS,
    SMALL,
    parallel_run,
    rows,
    small_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from course_lib import bench, distributed, training
from course_lib.bench import gpu
from course_lib.bench.measure import CannotMeasure, Options
from course_lib.distributed import (
    FusedAdamW,
    Place,
    compile_model,
    flops_per_token,
    parallel_evaluate,
    parallel_train,
    peak_flops,
    read_config,
    share_of,
    utilisation,
)
from course_lib.training import (
    IGNORE,
    AdamW,
    Batches,
    TrainingRun,
    evaluate,
    lm_loss,
    load_checkpoint,
    load_corpus,
    load_model,
    read_safetensors,
    recipes,
    save_checkpoint,
    train,
    train_from_recipe,
    training_step,
)
from course_lib.transformer import GPT, GPTConfig, count_parameters

ROOT = Path(__file__).resolve().parent.parent
ALONE = Place(0, 1, torch.device("cpu"))
LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # what gloo calls it; Windows finds it by itself
TINY = {
    "recipe": "tiny-world",
    "n_train": 300,
    "n_validation": 21,
    "batch_size": 29,
    "model": {"n_layer": 1, "n_head": 1, "n_embd": 16},
    "training": {"steps": 8, "pieces": 4, "warmup": 3, "evaluate_every": 5, "save_every": 2},
}


sharded = pytest.mark.skipif(not CAN_SHARD, reason="this torch has no FSDP2 on the CPU")
SHARDED_OR_NOT = [
    pytest.param(kind, marks=[sharded] if options.get("fsdp") else [])
    for kind, options in KINDS.items()
]


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small only lose time to a second thread."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """This process was not started by torchrun, whatever started the tests."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def environment(**more) -> dict[str, str]:
    """For processes that stay on this machine, with one thread each."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    found |= {"OMP_NUM_THREADS": "1", "USE_LIBUV": "0", "COURSE_PROGRESS": "0"}
    if sys.platform in LOOPBACK:
        found["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]
    return {**found, **more}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def two_ranks(job: str, folder: Path) -> list[subprocess.CompletedProcess]:
    """Run a job of distributed_ranks.py on two processes, without torchrun to watch over them."""
    command = [sys.executable, str(ROOT / "tests" / "distributed_ranks.py"), job, str(folder)]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            command,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **common),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()  # does nothing to one that has ended
    return [
        subprocess.CompletedProcess(command, process.returncode, *output)
        for process, output in zip(started, outputs)
    ]


def torchrun(*arguments) -> subprocess.CompletedProcess:
    """`torchrun --nproc_per_node=2` with these arguments, on loopback."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr=127.0.0.1", "--nproc_per_node=2", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=120, cwd=ROOT
    )


def write_config(folder: Path, **more) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps({**TINY, **more}), encoding="utf-8")
    return path


def batches() -> Batches:
    return Batches(*rows(), BATCH, seed=2)


def weights(model) -> dict:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same_curve(found: dict, expected: training.History) -> None:
    """Losses, gradient norms and validation losses within 1e-5, targets exactly."""
    assert found["losses"] == pytest.approx(expected.losses, abs=1e-5)
    assert found["norms"] == pytest.approx(expected.norms, abs=1e-5)
    assert found["tokens"] == expected.tokens
    if found["validation"]:
        steps, nats = zip(*found["validation"])
        expected_steps, expected_nats = zip(*expected.validation)
        assert steps == expected_steps and nats == pytest.approx(expected_nats, abs=1e-5)


# ---- two processes -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one():
    """The run in one process, by chapter 5's own loop: the oracle. Its history and its weights."""
    model = small_model()
    history = train(model, batches(), CONFIG, rows(), progress=False)
    return history, weights(model)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same run on two processes, in all its kinds: the folder, and what each rank reports."""
    folder = tmp_path_factory.mktemp("two")
    run = TrainingRun(small_model(), batches(), CONFIG)
    for _ in range(4):
        training_step(run)
    save_checkpoint(folder / "one-half.safetensors", run)
    for done in two_ranks("train", folder):
        assert done.returncode == 0, done.stderr
    reports = [json.loads((folder / f"train-{r}.json").read_text("utf-8")) for r in range(2)]
    return folder, reports


@pytest.mark.parametrize("kind", SHARDED_OR_NOT)
def test_two_processes_walk_the_curve_of_one(one, two, kind):
    for report in two[1]:
        assert_same_curve(report["curves"][kind], one[0])


@pytest.mark.parametrize("kind", SHARDED_OR_NOT)
def test_two_processes_end_with_the_weights_of_one(one, two, kind):
    tensors, about = read_safetensors(two[0] / f"{kind}.safetensors", "training run")
    assert about["history"]["losses"] == two[1][0]["curves"][kind]["losses"]
    for name, p in one[1].items():
        torch.testing.assert_close(tensors[f"model.{name}"], p, atol=1e-4, rtol=0)


def test_every_row_of_a_batch_is_seen_by_one_rank_and_no_other(two):
    source = batches()
    for mine, other in zip(two[1][0]["seen"], two[1][1]["seen"], strict=True):
        _, y = next(source)
        wanted = [[t for t in row if t != IGNORE] for row in y.tolist()]
        assert len(mine) == len(other) == math.ceil(len(wanted) / 2)
        assert sorted(filter(None, mine + other)) == sorted(filter(None, wanted))


def test_gradients_are_exchanged_once_per_step_however_many_pieces(two):
    for report in two[1]:  # two steps were watched, of two pieces each
        found = report["exchanges"]["ddp"]
        # per step one for the gradients (the model fits into one bucket), one for the loss
        assert found["gloo:all_reduce"] == 2 * (1 + 1), found


@sharded
def test_shards_are_exchanged_once_per_step_too(two):
    for report in two[1]:
        found = report["exchanges"]["fsdp"]
        # each of two blocks, and what is around them, sends its gradients once per step
        assert found["c10d::_reduce_scatter_base_"] == 2 * (2 + 1), found


def test_rank_0_writes_the_checkpoints_alone(two):
    for kind in two[1][0]["writes"]:
        assert [report["writes"][kind] for report in two[1]] == [3, 0]  # steps 3, 6 and 8
    assert not [path.name for path in two[0].iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", SHARDED_OR_NOT)
def test_a_run_of_two_processes_continues_in_one(one, two, kind):
    run = TrainingRun(small_model(), batches(), CONFIG)
    load_checkpoint(two[0] / f"{kind}-half.safetensors", run)
    assert run.step == run.optimizer.t == 4
    while run.step < CONFIG.steps:
        training_step(run)
    assert_same_curve(vars(run.history), one[0])


@pytest.mark.parametrize("kind", SHARDED_OR_NOT)
def test_a_run_of_one_process_continues_on_two(one, two, kind):
    for report in two[1]:
        assert_same_curve(report["resumed"][kind], one[0])


def test_ranks_draw_different_random_numbers_and_rank_0_those_of_the_saved_run(two):
    tensors, _ = read_safetensors(two[0] / "one-half.safetensors", "training run")
    for kind, mine in two[1][0]["random"].items():
        assert mine == tensors["random.cpu"].sum().item() != two[1][1]["random"][kind]


def test_bad_input_is_refused_on_every_rank_with_the_same_sentence(two):
    damaged, differ = two[1][0]["refused"]
    assert two[1][1]["refused"] == [damaged, differ]
    assert "bad.safetensors" in damaged and "The processes differ" in differ


@sharded
def test_an_overflow_on_one_rank_skips_the_step_on_all(two):
    for mine, other in zip(two[1][0]["skipped"], two[1][1]["skipped"]):
        assert mine == other
        assert mine["steps"] == 3 and mine["scale"] == 0.5
        assert mine["losses"][3] < mine["losses"][0]


# ---- processes that end ------------------------------------------------------------------------


def test_killing_one_process_ends_the_other_and_leaves_the_checkpoint_whole(tmp_path):
    path = tmp_path / "run.safetensors"
    write_config(tmp_path, checkpoint=str(path))
    done = torchrun(ROOT / "tests" / "distributed_ranks.py", "kill", tmp_path)
    assert done.returncode != 0
    (said,) = re.findall(r"(?m)^.*Training stops.*$", done.stderr)
    assert "rank 0: Training stops: " in said and "has ended" in said
    assert f"{path} is whole and stands at step 4" in said
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    assert distributed.main(["--config", str(tmp_path / "run.json")]) == 0  # one process goes on
    _, about = read_safetensors(path, "training run")
    assert len(about["history"]["losses"]) == 8


def test_interrupting_one_process_ends_both_in_a_sentence(tmp_path):
    write_config(tmp_path, checkpoint=str(tmp_path / "run.safetensors"), fsdp=CAN_SHARD)
    other, interrupted = two_ranks("interrupt", tmp_path)
    assert interrupted.returncode == 130 and other.returncode == 1
    assert "rank 1: Training stops: interrupted. The checkpoint" in interrupted.stderr
    assert "rank 0: Training stops: another process of this run has ended" in other.stderr
    assert "Traceback" not in interrupted.stderr + other.stderr
    read_safetensors(tmp_path / "run.safetensors", "training run")


# ---- the command -------------------------------------------------------------------------------


def test_torchrun_and_one_process_take_the_same_command(tmp_path, capsys):
    histories = []
    for name in ("two", "one"):
        more = {"checkpoint": str(tmp_path / name), "output": str(tmp_path / f"{name}.model")}
        arguments = ["-m", "course_lib.training", "--config", write_config(tmp_path, **more)]
        if name == "two":
            done = torchrun(*arguments)
            assert done.returncode == 0, done.stderr
            said = done.stdout
        else:
            assert distributed.main([*map(str, arguments[2:])]) == 0
            said = capsys.readouterr().out
        assert said.count("validation loss") == 1 and ("2 processes" in said) == (name == "two")
        _, about = read_safetensors(tmp_path / name, "training run")
        histories.append(training.History(**about["history"]))
        nats = about["history"]["validation"][-1][1]
        corpus = load_corpus(read_config(tmp_path / "run.json").recipe)
        model = load_model(tmp_path / f"{name}.model")  # in float16
        assert evaluate(model, *corpus.validation) == pytest.approx(nats, abs=1e-2)
        assert (tmp_path / f"{name}.json").is_file(), "its tokenizer"
    assert_same_curve(vars(histories[0]), histories[1])


def test_one_process_does_bit_for_bit_what_chapter_5_does(tmp_path):
    config = read_config(write_config(tmp_path))
    corpus = load_corpus(config.recipe)
    model, expected = train_from_recipe(config.recipe, corpus, progress=False)
    run, remark = distributed.run_from_config(config, ALONE, corpus)
    assert vars(parallel_train(run, corpus.validation)) == vars(expected) and remark == ""
    found = weights(run.model)
    assert all(torch.equal(found[name], p) for name, p in model.named_parameters())


def test_the_command_without_a_config_file_remakes_the_stored_model(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(distributed, "make_little_gpt", lambda *given: asked.append(given) or 0.5)
    assert distributed.main([]) == 0 == distributed.main(["tiny-world", str(tmp_path)])
    assert asked == [("little-world", None), ("tiny-world", str(tmp_path))]
    assert "validation loss 0.5000 nats per token" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        distributed.main([])
    assert "--config FILE" in capsys.readouterr().err


def test_chapter_5_as_a_command_explains_itself():
    command = [sys.executable, "-m", "course_lib.training", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "torchrun --nproc_per_node=2" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stepps": 3}, "unknown entry 'stepps'"),
        ({"recipe": "moon"}, "no recipe 'moon'"),
        ({"corpus": "moon"}, "no corpus 'moon'"),
        ({"fsdp": "yes"}, "fsdp is 'yes'; write true or false"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"model": {"n_planets": 9}}, "n_planets"),
        ({"model": 3}, "does not fit"),
        ({"training": {"steps": "many"}}, "does not fit"),
        ({"training": {"precision": "half", "steps": 1}}, "precision is 'half'"),
        ({"checkpoint": 7}, "does not fit"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused_in_a_sentence(tmp_path, capsys, change, message):
    assert distributed.main(["--config", str(write_config(tmp_path, **change))]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said


def test_a_config_file_that_cannot_be_read_is_refused(tmp_path, capsys):
    for text in (None, "{", "[]"):
        path = tmp_path / "run.json"
        if text is not None:
            path.write_text(text)
        assert distributed.main(["--config", str(path)]) == 2
        assert "The config file" in capsys.readouterr().err


def test_a_config_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = write_config(tmp_path, training={"betas": [0.5, 0.6]}, checkpoint=None, fused=True)
    config, base = read_config(path), recipes()["tiny-world"]
    assert config.recipe.training == replace(base.training, betas=(0.5, 0.6))
    assert config.recipe.model == replace(base.model, n_layer=1, n_head=1, n_embd=16)
    assert (config.recipe.batch_size, config.recipe.seed) == (29, base.seed)
    assert config.checkpoint is config.output is None
    assert (config.fsdp, config.compile, config.fused) == (False, False, True)


def test_an_interrupted_run_says_what_is_left(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.safetensors"
    real = distributed.parallel_step

    def step(run):
        if run.step == 5:
            raise KeyboardInterrupt
        return real(run)

    monkeypatch.setattr(distributed, "parallel_step", step)
    monkeypatch.setattr(distributed.signal, "signal", lambda *given: None)
    config = str(write_config(tmp_path, checkpoint=str(path)))
    assert distributed.main(["--config", config]) == 130
    said = capsys.readouterr().err
    assert f"interrupted. The checkpoint {path} is whole and stands at step 4" in said
    assert distributed.main(["--config", str(write_config(tmp_path))]) == 130
    assert "nothing is left" in capsys.readouterr().err


# ---- parts -------------------------------------------------------------------------------------


def test_a_torch_without_fsdp_on_the_cpu_is_told_so(monkeypatch):
    monkeypatch.delattr(torch.cpu.Stream, "record_event", raising=False)
    with pytest.raises(ValueError, match="needs a GPU, or torch 2.7"):
        parallel_run(Place(0, 2, torch.device("cpu")), fsdp=True)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 7))
def test_shares_are_equally_long_and_make_up_the_batch(n_rows, size):
    y = torch.arange(1, 1 + 3 * n_rows).view(n_rows, 3)
    shares = [share_of(y - 1, y, rank, size) for rank in range(size)]
    assert len({len(share_y) for _, share_y in shares}) == 1
    scored = [row for _, share_y in shares for row in share_y.tolist() if row[0] != IGNORE]
    assert sorted(scored) == y.tolist()
    for x, share_y in shares:
        assert x.shape == share_y.shape and bool((x == share_y - 1)[share_y != IGNORE].all())


@pytest.mark.parametrize("batch_size", [1, 64])
def test_evaluation_in_one_process_is_chapter_5s(batch_size):
    run = parallel_run(ALONE)
    found = parallel_evaluate(run, *rows(), batch_size)
    assert found == pytest.approx(evaluate(run.model, *rows()), rel=1e-6)


def test_fused_adamw_equals_ours_and_takes_over_its_checkpoints(tmp_path):
    slow, fast = small_model(), small_model()
    options = {"lr": 3e-3, "betas": (0.9, 0.98), "weight_decay": 0.1}
    optimizers = [
        kind(model.named_parameters(), **options)
        for kind, model in ((AdamW, slow), (FusedAdamW, fast))
    ]
    x, y = rows()
    for step in range(25):
        for model, optimizer in zip((slow, fast), optimizers):
            optimizer.zero_grad()
            lm_loss(model(x), y).backward()
            optimizer.lr = 3e-3 / (1 + step)
            optimizer.step()
    ours, theirs = optimizers
    assert ours.t == theirs.t == 25 and theirs.lr == ours.lr
    for name, p in slow.named_parameters():
        torch.testing.assert_close(fast.get_parameter(name), p, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(theirs.m[name], ours.m[name], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(theirs.v[name], ours.v[name], rtol=1e-4, atol=1e-9)

    straight = parallel_train(parallel_run(ALONE, fused=False), progress=False)
    first = parallel_run(ALONE, fused=False)
    for _ in range(4):
        distributed.parallel_step(first)
    distributed.save(tmp_path / "run", first)
    second = parallel_run(ALONE, fused=True)
    history = parallel_train(second, checkpoint=tmp_path / "run", progress=False)
    assert second.optimizer.t == 8
    assert_same_curve(vars(history), straight)


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_weights():
    run = parallel_run(ALONE)
    with torch.no_grad():
        run.model.ln_f.weight.fill_(math.inf)
    before = weights(run.model)
    with pytest.raises(ValueError, match="no longer a number at step 0"):
        parallel_train(run, progress=False)
    assert all(torch.equal(before[name], p) for name, p in run.model.named_parameters())


# ---- what a GPU would do, as far as a CPU can tell -----------------------------------------------


@pytest.mark.parametrize("length", [1, 7, 12])
@pytest.mark.parametrize("tied", [True, False])
def test_counted_flops_are_those_that_torch_counts(length, tied):
    config = GPTConfig(11, 12, n_layer=3, n_head=2, n_embd=8, tied=tied)
    model, ids = GPT(config), torch.randint(11, (2, length))
    with FlopCounterMode(display=False) as counter:
        lm_loss(model(ids), ids).backward()
    assert counter.get_total_flops() == ids.numel() * flops_per_token(config, length)


def test_flops_of_gpt2_are_near_six_per_parameter():
    config = GPTConfig.gpt2()
    by_rule = 6 * 124e6 + 12 * 12 * 768 * 1024  # Chowdhery et al. 2022, appendix B
    assert flops_per_token(config, 1024) == pytest.approx(by_rule, rel=0.01)


def test_peaks_are_found_by_the_names_that_cards_give_themselves():
    for name, peak in {
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA A100 80GB PCIe": 312e12,
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA H100 NVL": None,
        "NVIDIA H200": 989e12,
        "NVIDIA L4": 121e12,
        "NVIDIA L40S": None,
        "Tesla T4": 65e12,
        "NVIDIA GeForce RTX 4090": None,
    }.items():
        assert peak_flops(name) == peak, name
    assert utilisation(312e12, 2.0, "NVIDIA A100-SXM4-80GB", n_gpu=2) == 0.25
    assert utilisation(312e12, 2.0, "NVIDIA L40S") is None


def test_the_report_of_speed_names_card_and_utilisation(monkeypatch):
    run = parallel_run(ALONE)
    assert distributed.speed(run) == ""
    for _ in range(12):  # ten of them are left out
        run.meter.add(0.5, tokens=1000, flops=int(31.2e12))
    assert distributed.speed(run) == "2,000 tokens/s"
    run.place = Place(0, 2, torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    said = "2,000 tokens/s on 2 x NVIDIA A100-SXM4-40GB (MFU 10.0%)"
    assert distributed.speed(run) == said
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some Card")
    assert "its peak is not known here" in distributed.speed(run)


def test_rows_go_to_a_gpu_from_pinned_memory_without_waiting():
    calls = []
    pinned = SimpleNamespace(to=lambda *given, **named: calls.append((given, named)))
    rows_on_cpu = SimpleNamespace(pin_memory=lambda: pinned)
    gpu = torch.device("cuda", 0)
    distributed.on_device(rows_on_cpu, gpu)
    assert calls == [((gpu,), {"non_blocking": True})]


def test_every_process_takes_its_own_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.local_device() == torch.device("cuda", 1) and chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="has 2 GPUs.*--nproc_per_node=2"):
        distributed.local_device()


def test_without_a_compiler_training_goes_on(tmp_path, monkeypatch, capsys):
    def fail(*given, **named):
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setattr(torch, "compile", fail)
    assert distributed.main(["--config", str(write_config(tmp_path, compile=True))]) == 0
    said = capsys.readouterr().out
    assert "torch.compile does not work here (no compiler): training goes on" in said
    assert "validation loss" in said


@pytest.mark.parametrize("by_block", [False, True])
def test_compiling_keeps_the_names_of_the_parameters(monkeypatch, by_block):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module)))
    model = small_model()
    assert compile_model(model, torch.device("cpu"), by_block) == ""
    assert [each.__name__ for each in compiled] == (["Block"] * 2 if by_block else ["GPT"])
    assert weights(model).keys() == weights(small_model()).keys()


# ---- the benchmark on a GPU --------------------------------------------------------------------


def test_the_benchmark_says_in_a_sentence_that_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.main(["gpu"]) == 1
    assert capsys.readouterr().err.startswith("gpu: There is no NVIDIA GPU here")


@pytest.fixture
def small_benchmark(monkeypatch):
    """The benchmark with few rows and steps, on the CPU; every look at the clock is a second."""
    monkeypatch.setattr(gpu, "BATCH", 4)
    monkeypatch.setattr(gpu, "STEPS", 2)
    monkeypatch.setattr(gpu, "compile_model", lambda model, device: "Not compiled.")
    ticks = itertools.count()
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(ticks))
    return functools.partial(gpu.measured, torch.device("cpu"), shape=SMALL, options=Options(2))


def test_the_benchmark_holds_us_against_transformers_and_the_peak(small_benchmark):
    speed, share = small_benchmark(name="NVIDIA A100-SXM4-40GB")
    tokens = 2 * 4 * 12  # steps, rows, context: in one second
    assert speed.ours == speed.theirs == [tokens] * 2 and speed.peer == "transformers' GPT-2"
    assert speed.goal.limit == 1.2 and share.goal.limit == 0.45
    assert share.ours == [tokens * flops_per_token(SMALL, 12) / 312e12] * 2
    assert "A100" in speed.note and "4 rows of 12. Not compiled." in speed.note


def test_an_unknown_card_has_no_utilisation(small_benchmark, capsys):
    (speed,) = small_benchmark(name="Some Card")
    assert speed.theirs and "Some Card is not in the table" in capsys.readouterr().out


def test_the_batch_is_halved_until_it_fits(small_benchmark, monkeypatch):
    real = gpu.training_speed

    def crowded(model, logits, device, shape, rows):
        if rows > limit:
            raise torch.cuda.OutOfMemoryError
        return real(model, logits, device, shape, rows)

    monkeypatch.setattr(gpu, "training_speed", crowded)
    limit = 1
    assert "1 rows of 12" in small_benchmark(name="Some Card")[0].note
    limit = 0
    with pytest.raises(CannotMeasure, match="does not fit"):
        small_benchmark(name="Some Card")


def test_both_contestants_train_the_same_shape():
    torch.manual_seed(0)
    mine, other = GPT(SMALL), gpu.hugging_face(SMALL)
    assert sum(p.numel() for p in other.parameters()) == count_parameters(SMALL)
    x, y = rows()
    for model, logits in ((mine, mine), (other, lambda ids: other(ids).logits)):
        before = lm_loss(logits(x), y).item()
        assert torch.equal(logits(x), logits(x)), "there is no dropout"
        gpu.training_speed(model, logits, torch.device("cpu"), SMALL, rows=2)
        assert lm_loss(logits(x), y).item() != before, "the warm-up trains"
