"""Chapter 5: batches, optimiser, schedule, training loop and checkpoints, held against torch."""

import functools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import training
from course_lib.tokenizer import Tokenizer
from course_lib.training import (
    IGNORE,
    AdamW,
    Batches,
    TrainingConfig,
    TrainingRun,
    accumulate_gradients,
    clip_gradients,
    evaluate,
    lm_loss,
    load_checkpoint,
    load_corpus,
    load_model,
    lr_at,
    make_little_gpt,
    mixed_precision,
    recipes,
    save_checkpoint,
    save_model,
    scene_rows,
    stream_windows,
    token_nats,
    train,
    train_from_recipe,
    training_step,
    trim_padding,
)
from course_lib.transformer import GPT, GPTConfig
from course_lib.world import little_world, tiny_world

DATA = Path(os.environ.get("COURSE_DATA", "nowhere"))
SMALL = GPTConfig(vocab_size=11, context_length=12, n_layer=1, n_head=2, n_embd=8)
QUICK = TrainingConfig(steps=8, max_lr=1e-2, warmup=2, evaluate_every=3, save_every=3)


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small only lose time to a second thread."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def small_model(seed=0, **changes):
    torch.manual_seed(seed)
    return GPT(replace(SMALL, **changes))


def padded_rows(n_rows=13, seed=0):
    """Rows of unequal length, so that every test also meets padding."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (n_rows,), generator=generator).tolist()
    sequences = [torch.randint(1, 11, (n,), generator=generator).tolist() for n in lengths]
    return scene_rows(sequences, context_length=12, end=0)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


# ---- rows ----


@given(st.integers(2, 200), st.integers(1, 30))
def test_windows_hold_every_token_once_and_targets_follow(n, length):
    ids = list(range(n))
    if n <= length:
        with pytest.raises(ValueError, match="fewer than one window"):
            stream_windows(ids, length)
        return
    x, y = stream_windows(ids, length)
    assert x.shape == y.shape == ((n - 1) // length, length)
    assert torch.equal(y, x + 1)
    assert x.flatten().tolist() == ids[: x.numel()]


def test_scene_rows_are_shifted_by_one_and_padded():
    x, y = scene_rows([[5, 6, 0], [7, 0]], context_length=4, end=0)
    assert x.tolist() == [[0, 5, 6], [0, 7, 0]]
    assert y.tolist() == [[5, 6, 0], [7, 0, IGNORE]]
    assert [t[:, :2].tolist() for t in trim_padding(x[1:], y[1:])] == [[[0, 7]], [[7, 0]]]
    assert trim_padding(x[1:], y[1:])[0].shape == (1, 2)


def test_scene_rows_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="longest text has 5 tokens, but the context has 4"):
        scene_rows([[1, 2, 3, 4, 5]], context_length=4, end=0)
    with pytest.raises(ValueError, match="no text"):
        scene_rows([], context_length=4, end=0)


# ---- batches ----


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_every_row_comes_once_per_epoch(n_rows, batch_size, seed):
    rows = torch.arange(n_rows)[:, None]
    batches = Batches(rows, rows + 1, batch_size, seed)
    orders = []
    for epoch in range(3):
        order = []
        while batches.epoch == epoch:
            x, y = next(batches)
            assert torch.equal(y, x + 1)
            assert len(x) == min(batch_size, n_rows - len(order))
            order += x[:, 0].tolist()
        assert sorted(order) == list(range(n_rows))
        orders.append(order)
    if n_rows > 20:  # the odds of two equal orders are one in 20!
        assert orders[0] != orders[1] != orders[2]


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 40))
def test_batches_continue_where_they_were(n_rows, batch_size, taken):
    x, y = padded_rows(n_rows)
    batches = Batches(x, y, batch_size, seed=3)
    for _ in range(taken):
        next(batches)
    state = json.loads(json.dumps(batches.state_dict()))
    again = Batches(x, y, batch_size, seed=3)
    again.load_state_dict(state)
    for _ in range(10):
        assert all(torch.equal(a, b) for a, b in zip(next(batches), next(again), strict=True))


def test_batches_leave_the_global_random_state_alone():
    x, y = padded_rows()
    before = torch.get_rng_state()
    for _ in range(9):
        next(Batches(x, y, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_refuse_bad_input():
    x, y = padded_rows()
    with pytest.raises(ValueError, match="batch_size is 0"):
        Batches(x, y, 0)
    with pytest.raises(ValueError, match="equal shapes"):
        Batches(x, y[:, 1:], 4)
    with pytest.raises(ValueError, match="a row"):
        Batches(x[:0], y[:0], 4)


# ---- loss ----


def test_lm_loss_equals_torch_and_ignores_padding():
    torch.manual_seed(0)
    logits, (_, y) = torch.randn(13, 11, 11), padded_rows()
    logits = logits[:, : y.size(1)]
    expected = F.cross_entropy(logits.flatten(0, 1), y.flatten())
    torch.testing.assert_close(lm_loss(logits, y), expected)
    assert lm_loss(torch.zeros(2, 3, 11), torch.zeros(2, 3).long()).item() == pytest.approx(
        math.log(11)
    )
    assert lm_loss(torch.zeros(1, 2, 11), torch.full((1, 2), IGNORE)).item() == 0
    with pytest.raises(ValueError, match="do not fit"):
        lm_loss(logits, y[:, 1:])


# ---- optimiser ----


def torch_adamw(model, **options):
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    decay = options.pop("weight_decay")
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0}]
    return torch.optim.AdamW(groups, foreach=False, **options)


@pytest.mark.parametrize("tied", [True, False])
def test_adamw_equals_torch(tied):
    options = {"lr": 3e-3, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1}
    ours, theirs = small_model(tied=tied), small_model(tied=tied)
    mine, oracle = AdamW(ours.named_parameters(), **options), torch_adamw(theirs, **options)
    x, y = padded_rows()
    for _ in range(25):
        for model, optimizer in ((ours, mine), (theirs, oracle)):
            optimizer.zero_grad()
            lm_loss(model(x), y).backward()
            optimizer.step()
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p, dict(theirs.named_parameters())[name], rtol=1e-6, atol=1e-7)


def test_adamw_skips_parameters_without_gradient():
    used, unused = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = AdamW([("used", used), ("unused", unused)], lr=0.1)
    used.sum().backward()
    optimizer.step()
    assert torch.equal(unused, torch.ones(2, 2)) and not torch.equal(used, unused)


# ---- schedule ----


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 60))
def test_schedule_equals_torchs_warmup_and_cosine(warmup, decay):
    total, max_lr, min_lr = warmup + decay, 0.5, 0.05
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=max_lr)
    if warmup:
        ramp = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / warmup)
        for step in range(warmup):
            assert lr_at(step, warmup, total, max_lr, min_lr) == pytest.approx(
                optimizer.param_groups[0]["lr"]
            )
            optimizer.step()
            ramp.step()
    optimizer = torch.optim.SGD([parameter], lr=max_lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, decay, min_lr)
    for step in range(warmup, total + 1):
        assert lr_at(step, warmup, total, max_lr, min_lr) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        cosine.step()
    assert lr_at(total + 7, warmup, total, max_lr, min_lr) == min_lr


def test_schedule_never_starts_at_zero():
    assert lr_at(0, 10, 100, 1.0, 0.0) == pytest.approx(0.1)
    assert lr_at(9, 10, 100, 1.0, 0.0) == lr_at(10, 10, 100, 1.0, 0.0) == 1.0


# ---- clipping ----


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 100.0])
def test_clipping_equals_torch(max_norm):
    ours, theirs = small_model(), small_model()
    x, y = padded_rows()
    for model in (ours, theirs):
        lm_loss(model(x), y).backward()
    norm = clip_gradients(ours.parameters(), max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    assert norm == pytest.approx(expected.item(), rel=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    after = torch.stack([p.grad.norm() for p in ours.parameters()]).norm().item()
    assert after <= max_norm * (1 + 1e-5)


def test_clipping_bad_input():
    with pytest.raises(ValueError, match="max_norm is 0"):
        clip_gradients([], 0)
    assert clip_gradients([], 1.0) == 0


# ---- accumulation ----


@pytest.mark.parametrize("pieces", [1, 2, 5, 13, 40])
def test_accumulated_gradient_is_the_big_batchs_despite_padding(pieces):
    x, y = padded_rows()
    y[3] = IGNORE  # a row without a single target
    whole, parts = small_model().double(), small_model().double()
    loss = lm_loss(whole(x), y)
    loss.backward()
    assert accumulate_gradients(parts, x, y, pieces) == pytest.approx(loss.item(), rel=1e-6)
    for p, q in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-8)


# ---- mixed precision ----


@pytest.mark.parametrize(
    "capability, dtype",
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_bfloat16_only_where_the_gpu_computes_in_it(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)  # a T4 says so too
    assert mixed_precision(torch.device("cuda")) == dtype


def test_precision_on_the_cpu():
    assert mixed_precision(torch.device("cpu")) == torch.float32
    assert mixed_precision(torch.device("cpu"), "bfloat16") == torch.bfloat16
    with pytest.raises(ValueError, match="precision is 'half'"):
        mixed_precision(torch.device("cpu"), "half")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns(precision):
    x, y = padded_rows()
    model = small_model(init="small", tied=False)
    config = replace(QUICK, steps=60, precision=precision)
    history = train(model, Batches(x, y, 13), config, progress=False)
    assert history.losses[-1] < 0.8 * history.losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


# ---- evaluation ----


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_evaluation_covers_every_target_once(batch_size):
    model = small_model(dropout=0.5)
    model.train()
    x, y = padded_rows()
    y[2] = IGNORE
    model.eval()
    expected = lm_loss(model(x), y).item()
    model.train()
    assert evaluate(model, x, y, batch_size) == pytest.approx(expected, rel=1e-5)
    assert model.training, "evaluation leaves the model in the mode it was in"
    nats = token_nats(model, x, y, batch_size)
    assert nats.shape == y.shape and bool((nats[y == IGNORE] == 0).all())
    with pytest.raises(ValueError, match="no rows"):
        evaluate(model, x[:0], y[:0])


# ---- the loop ----


def test_one_batch_can_be_learnt_by_heart():
    x, y = padded_rows(4)
    model = small_model(n_embd=16, init="small", tied=False)
    config = TrainingConfig(steps=150, max_lr=1e-2, warmup=5, weight_decay=0.0)
    history = train(model, Batches(x, y, 4), config, progress=False)
    first_tokens = 4  # all rows start alike, so which one it is cannot be known
    assert history.losses[-1] < math.log(4) * first_tokens / int((y != IGNORE).sum()) + 0.05


def test_history_counts_steps_tokens_and_evaluations():
    x, y = padded_rows()
    history = train(small_model(), Batches(x, y, 13), QUICK, validation=(x, y), progress=False)
    assert len(history.losses) == len(history.norms) == QUICK.steps
    assert [step for step, _ in history.validation] == [3, 6, 8]
    assert history.tokens == QUICK.steps * int((y != IGNORE).sum())
    assert history.validation[-1][1] < history.validation[0][1]
    assert not history.interrupted


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_weights():
    x, y = padded_rows()
    model = small_model()
    with torch.no_grad():
        model.ln_f.weight.fill_(math.inf)
    before = weights(model)
    with pytest.raises(ValueError, match="no longer a number at step 0"):
        train(model, Batches(x, y, 4), QUICK, progress=False)
    assert same(weights(model), before)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps is 0"),
        ({"pieces": 0}, "pieces is 0"),
        ({"max_lr": -1.0}, "Learning rates"),
        ({"clip": 0.0}, "clip above 0"),
        ({"betas": (0.9, 1.0)}, "betas are"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(QUICK, **change)


def test_the_progress_bar_shows_loss_speed_and_time_left_on_stdout(capsys, monkeypatch):
    x, y = padded_rows()
    monkeypatch.setattr(training, "tqdm", functools.partial(training.tqdm, mininterval=0))
    train(small_model(), Batches(x, y, 4), QUICK, progress=True)
    shown = capsys.readouterr()
    assert "tokens/s" in shown.out and "loss" in shown.out and "left" in shown.out
    assert shown.err == ""
    train(small_model(), Batches(x, y, 4), QUICK)  # under a test nothing is drawn
    assert capsys.readouterr() == ("", "")


# ---- checkpoints ----


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(tmp_path, stop, precision):
    x, y = padded_rows()
    config = replace(QUICK, save_every=1, precision=precision)
    straight = small_model(dropout=0.3)  # dropout draws from the random state
    torch.manual_seed(5)
    expected = train(straight, Batches(x, y, 4, seed=2), config, (x, y), progress=False)
    end_of_straight = torch.get_rng_state()

    path = tmp_path / "run.safetensors"
    first = TrainingRun(small_model(dropout=0.3), Batches(x, y, 4, seed=2), config)
    first.model.train()
    torch.manual_seed(5)
    for _ in range(stop):
        training_step(first)
        if first.step % config.evaluate_every == 0:
            first.history.validation.append((first.step, evaluate(first.model, x, y)))
    save_checkpoint(path, first)

    torch.manual_seed(999)  # another process, another random state, other weights
    model = small_model(seed=77, dropout=0.3)
    batches = Batches(x, y, 4, seed=2)
    history = train(model, batches, config, (x, y), path, resume=True, progress=False)
    assert same(weights(model), weights(straight))
    assert history == expected
    assert torch.equal(torch.get_rng_state(), end_of_straight)


def test_a_checkpoint_is_one_file_without_pickle(tmp_path):
    x, y = padded_rows()
    path = tmp_path / "folder" / "run.safetensors"
    train(small_model(), Batches(x, y, 4), QUICK, checkpoint=path, progress=False)
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about = json.loads(header["__metadata__"]["about"])
    assert about["identity"]["steps"] == QUICK.steps and len(about["history"]["losses"]) == 8
    source = Path(training.__file__).read_text(encoding="utf-8")
    assert " torch.load" not in source and "pickle" not in source


@pytest.fixture
def saved(tmp_path):
    """A run stopped after three steps, and the checkpoint it left."""
    x, y = padded_rows()
    run = TrainingRun(small_model(), Batches(x, y, 4), QUICK)
    for _ in range(3):
        training_step(run)
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, run)
    return path, run


def damage_tail(data):
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGES = {
    "empty": lambda data: b"",
    "three bytes": lambda data: data[:3],
    "half the header": lambda data: data[:60],
    "truncated": lambda data: data[: len(data) * 2 // 3],
    "one byte short": lambda data: data[:-1],
    "one bit flipped": damage_tail,
    "longer": lambda data: data + b"x",
    "text": lambda data: b"once upon a time there was a file that held no tensors",
    "zip or pickle": lambda data: b"PK\x03\x04" + data[4:],
    "huge header": lambda data: b"\xff" * 8 + data[8:],
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_sentence_and_nothing_is_lost(saved, damage):
    path, run = saved
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    broken = path.read_bytes()
    before, state, random = weights(run.model), run.batches.state_dict(), torch.get_rng_state()
    with pytest.raises(ValueError, match="safetensors file|damaged") as caught:
        load_checkpoint(path, run)
    assert "\n" not in str(caught.value)
    assert same(weights(run.model), before) and run.step == 3 and run.optimizer.t == 3
    assert run.batches.state_dict() == state and torch.equal(torch.get_rng_state(), random)
    assert path.read_bytes() == broken, "reading never changes the file"


def test_a_checkpoint_of_another_kind_is_refused(saved, tmp_path):
    path, run = saved
    save_model(run.model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds 'model', not 'training run'"):
        load_checkpoint(tmp_path / "model.safetensors", run)
    with pytest.raises(ValueError, match="holds 'training run', not 'model'"):
        load_model(path)
    with pytest.raises(ValueError, match="There is no file"):
        load_checkpoint(tmp_path / "nowhere.safetensors", run)
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(ValueError, match="not written by this course"):
        load_model(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": {"n_embd": 16}}, "n_embd is 8, here it is 16"),
        ({"config": {"max_lr": 0.5}}, "max_lr is 0.01, here it is 0.5"),
        ({"config": {"betas": (0.5, 0.5)}}, "betas is"),
        ({"batch_size": 5}, "batch_size is 4, here it is 5"),
        ({"rows": 12}, "data_crc"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(saved, change, message):
    path, _ = saved
    x, y = padded_rows(change.get("rows", 13))
    batches = Batches(x, y, change.get("batch_size", 4))
    config = replace(QUICK, **change.get("config", {}))
    run = TrainingRun(small_model(**change.get("model", {})), batches, config)
    before = weights(run.model)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path, run)
    assert same(weights(run.model), before) and run.step == 0


@pytest.mark.parametrize(
    "lost", ["identity", "batches", "scaler", "optimizer_steps", "history", "random.cpu"]
)
def test_a_checkpoint_of_another_version_is_refused(saved, lost):
    path, run = saved
    tensors, about = training.read_safetensors(path, "training run")
    tensors.pop(lost, None), about.pop(lost, None)
    training.write_safetensors(path, tensors, about)
    before = weights(run.model)
    with pytest.raises(ValueError, match=f"lacks {lost}: another version"):
        load_checkpoint(path, run)
    assert same(weights(run.model), before)


def test_a_checkpoint_with_a_missing_or_misshapen_tensor_is_refused(saved):
    path, run = saved
    tensors, about = training.read_safetensors(path, "training run")
    del tensors["m.ln_f.weight"]
    training.write_safetensors(path, tensors, about)
    before = weights(run.model)
    with pytest.raises(ValueError, match=r"only one of them has 'm\.ln_f\.weight'"):
        load_checkpoint(path, run)
    tensors["m.ln_f.weight"] = torch.zeros(3)
    training.write_safetensors(path, tensors, about)
    with pytest.raises(ValueError, match=r"has shape \(3,\) there and \(8,\) here"):
        load_checkpoint(path, run)
    assert same(weights(run.model), before)


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_save_keeps_the_old_checkpoint(saved, monkeypatch, where, error):
    path, run = saved
    old = path.read_bytes()
    training_step(run)

    def fail(*arguments):
        raise error

    monkeypatch.setattr(training.os, where, fail)
    with pytest.raises(error):
        save_checkpoint(path, run)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no half file is left"
    save_checkpoint(path, run)
    load_checkpoint(path, run)
    assert run.step == 4


def test_a_keyboard_interrupt_keeps_the_last_checkpoint_and_returns_the_history(
    tmp_path, monkeypatch
):
    x, y = padded_rows()
    path = tmp_path / "run.safetensors"
    straight = train(small_model(), Batches(x, y, 4), QUICK, progress=False)
    real, calls = training.clip_gradients, []

    def interrupt_in_step_6(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "clip_gradients", interrupt_in_step_6)
    history = train(small_model(), Batches(x, y, 4), QUICK, checkpoint=path, progress=False)
    assert history.interrupted and history.losses == straight.losses[:5]
    monkeypatch.undo()
    batches = Batches(x, y, 4)
    history = train(small_model(), batches, QUICK, checkpoint=path, resume=True, progress=False)
    assert history.losses == straight.losses and not history.interrupted


def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path):
    """The process dies at the worst moment, with no chance to clean up."""
    program = """
import os, sys
import torch
from course_lib import training
from tests_of_training import QUICK, SMALL, padded_rows, small_model
path = sys.argv[1]
run = training.TrainingRun(small_model(), training.Batches(*padded_rows(), 4), QUICK)
training.training_step(run)
training.save_checkpoint(path, run)
training.training_step(run)
training.os.replace = lambda *arguments: os._exit(9)
training.save_checkpoint(path, run)
"""
    program = program.replace("tests_of_training", Path(__file__).stem)
    here = Path(__file__).parent
    path = tmp_path / "run.safetensors"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    process = subprocess.run([sys.executable, "-c", program, str(path)], env=environment)
    assert process.returncode == 9
    run = TrainingRun(small_model(seed=4), Batches(*padded_rows(), 4), QUICK)
    load_checkpoint(path, run)
    assert run.step == 1


# ---- finished models ----


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back(tmp_path, tied):
    model = small_model(tied=tied)
    save_model(model, tmp_path / "model.safetensors", dtype=torch.float32)
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == model.config and not again.training
    assert same(weights(again), weights(model))
    assert (again.head.weight is again.wte.weight) == tied
    save_model(model, tmp_path / "half.safetensors")
    half = (tmp_path / "half.safetensors").stat().st_size
    assert half < 0.65 * (tmp_path / "model.safetensors").stat().st_size
    x, _ = padded_rows()
    torch.testing.assert_close(
        load_model(tmp_path / "half.safetensors")(x), model.eval()(x), rtol=1e-2, atol=1e-2
    )


def test_a_model_with_an_unknown_setting_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(small_model(), path)
    tensors, about = training.read_safetensors(path, "model")
    about["model"]["n_planets"] = 9
    training.write_safetensors(path, tensors, about)
    with pytest.raises(ValueError, match="n_planets"):
        load_model(path)


# ---- recipes and corpora ----


def small_recipe(name):
    """A recipe of the course with less text and a much smaller model."""
    recipe = recipes()[name]
    model = replace(recipe.model, n_layer=1, n_head=1, n_embd=4)
    steps = replace(recipe.training, steps=2)
    return replace(recipe, model=model, training=steps, n_train=700, n_validation=5)


@pytest.mark.parametrize("name", ["little-world", "tiny-world"])
def test_a_worlds_corpus_holds_its_scenes_and_their_floor(name):
    corpus = load_corpus(small_recipe(name))
    x, y = corpus.validation
    assert len(x) == len(corpus.texts) == 5 and len(corpus.train[0]) == 700
    for text, inputs, targets in zip(corpus.texts, x, y):
        targets = targets[targets != IGNORE]
        assert corpus.tokenizer.decode(targets.tolist()) == text
        assert corpus.tokenizer.decode(inputs[: len(targets)].tolist()) == "\n" + text[:-1]
    world = {"little-world": little_world, "tiny-world": tiny_world}[name]()
    assert corpus.floor * int((y != IGNORE).sum()) == pytest.approx(world.nats(corpus.texts))


def test_the_stored_model_has_room_in_a_megabyte(tmp_path):
    for name in ("little-world", "little-world-long"):
        save_model(GPT(recipes()[name].model), tmp_path / "model.safetensors")
        assert (tmp_path / "model.safetensors").stat().st_size <= 1_000_000


def test_steps_can_be_set_from_outside(monkeypatch):
    monkeypatch.setenv("COURSE_STEPS", "7")
    assert {recipe.training.steps for recipe in recipes().values()} == {7}


def test_shakespeare_is_cut_into_windows(monkeypatch, tmp_path):
    recipe = small_recipe("shakespeare")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="COURSE_DATA to a folder that holds tinyshakespeare"):
        load_corpus(recipe)
    if not (DATA / "tinyshakespeare.txt").is_file():
        pytest.skip("COURSE_DATA is unset or does not hold tinyshakespeare.txt")
    monkeypatch.setenv("COURSE_DATA", str(DATA))
    corpus = load_corpus(recipe)
    assert corpus.floor is None
    assert corpus.train[0].size(1) == recipe.model.context_length
    text = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
    start = corpus.tokenizer.decode(corpus.train[0][0].tolist())
    assert text.startswith(start)
    assert len(corpus.validation[0]) == pytest.approx(len(corpus.train[0]) / 9, rel=0.1)


def test_an_unknown_corpus_is_refused():
    with pytest.raises(ValueError, match="no corpus 'moon'"):
        load_corpus(replace(recipes()["tiny-world"], corpus="moon"))


def test_the_little_gpt_can_be_made_again(monkeypatch, tmp_path):
    recipe = small_recipe("tiny-world")
    monkeypatch.setattr(training, "recipes", lambda: {"little-world": recipe})
    nats = make_little_gpt(folder=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "little_gpt.json",
        "little_gpt.safetensors",
    ]
    model, tokenizer = (
        load_model(tmp_path / "little_gpt.safetensors"),
        Tokenizer.load(tmp_path / "little_gpt.json"),
    )
    corpus = load_corpus(recipe)
    assert tokenizer.encode(corpus.texts[0]) == corpus.tokenizer.encode(corpus.texts[0])
    assert evaluate(model, *corpus.validation) == pytest.approx(nats, abs=0.01)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_tiny_world_is_learnt_to_within_a_hundredth_of_a_nat(seed):
    recipe = replace(recipes()["tiny-world"], seed=seed)
    corpus = load_corpus(recipe)
    _, history = train_from_recipe(recipe, corpus, progress=False)
    assert abs(history.validation[-1][1] - corpus.floor) < 0.01
