"""What the benchmarks of writing, tokenizing and growth count and compare, without any timing."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.bench import generate, growth, tokenizer
from course_lib.bench.measure import Options
from course_lib.tokenizer import chunk_table
from course_lib.training import lm_loss
from course_lib.transformer import GPT, GPTConfig

CHANGES = [{}, {"context_length": 256}, {"n_embd": 64}, {"n_layer": 2}]


# ---- growth ------------------------------------------------------------------------------------


def test_exponent_is_the_slope_that_numpy_fits():
    sizes, values = [64, 128, 512], [3.0, 5.0, 40.0]
    fitted = np.polyfit(np.log(sizes), np.log(values), 1)[0]
    assert growth.slope(sizes, values) == pytest.approx(fitted)
    assert growth.slope([1, 2, 4], [5, 20, 80]) == pytest.approx(2)


@pytest.mark.parametrize("changes", CHANGES)
def test_counted_operations_are_those_that_torch_counts(changes):
    config = growth.shape(**changes)
    model = GPT(config)
    x, y = torch.randint(growth.VOCABULARY, (2, growth.BATCH, config.context_length))
    with FlopCounterMode(display=False) as counter:
        lm_loss(model(x), y).backward()
    assert counter.get_total_flops() == growth.step_flops(config)


@pytest.mark.parametrize("changes", CHANGES)
def test_counted_bytes_are_those_that_autograd_keeps(changes):
    config = growth.shape(**changes)
    assert growth.kept_bytes(config) == pytest.approx(growth.step_bytes(config), rel=0.02)


def test_every_law_has_a_line_and_a_panel(monkeypatch, capsys):
    monkeypatch.setattr(growth, "SIZES", {name: (4, 8) for name in growth.SIZES})
    monkeypatch.setattr(growth, "CACHED", (8, 16))
    results = growth.run(Options(runs=1))
    assert "before anything has run" in capsys.readouterr().out
    assert growth.table(results).count("\n") == len(results) == 9
    assert len(growth.figure(results).axes) == 8


# ---- writing -----------------------------------------------------------------------------------


def test_weights_read_are_all_but_the_tables():
    for tied in (True, False):
        config = GPTConfig(50, 12, 2, 2, 8, tied=tied)
        model = GPT(config)
        tables = [model.wpe] if tied else [model.wpe, model.wte]
        everything = sum(parameter.numel() for parameter in model.parameters())
        assert generate.weights_read(config) == everything - sum(t.weight.numel() for t in tables)


@pytest.mark.parametrize("batch", [1, 3])
def test_all_contestants_write_the_same_text(batch):
    pytest.importorskip("transformers", reason="no transformers")
    little = GPTConfig(65, 40, 2, 2, 32)
    kinds = (generate.TAUGHT, generate.FLOAT32)
    case = generate.Case(little, batch, 20, kinds, {})
    write = generate.contestants(case, beside=True)
    texts = [text() for text in write.values()]
    assert len(texts) == 3 and texts[0].shape == (batch, generate.PROMPT + 20)
    assert all(torch.equal(text, texts[0]) for text in texts)


def test_writing_is_measured_with_its_goals_and_leaves_the_threads_alone():
    threads = torch.get_num_threads()
    case = generate.Case(GPTConfig(65, 40, 1, 1, 8), 2, 3, (generate.FLOAT32,), {})
    speed, cache = generate.run_case(case, Options(runs=2), beside=False)
    assert len(speed.ours) == 2 and min(speed.ours) > 0
    assert cache.verdict().endswith("met") and cache.ours == [1.0]
    assert torch.get_num_threads() == threads


def test_the_share_of_the_floor_is_the_time_of_reading_over_the_time_of_a_token():
    case = generate.Case(GPTConfig(65, 40, 1, 1, 8), 1, 3, (generate.FLOAT32,), {})
    bandwidth = 4.0 * generate.weights_read(case.config)  # a token's weights in 1 s
    (row,) = generate.floor_rows(case, {generate.FLOAT32: [0.5, 0.5]}, [bandwidth])
    assert row.measured() == pytest.approx(0.5)  # a token takes 2 s


# ---- tokenizer ---------------------------------------------------------------------------------


def test_a_longer_text_brings_new_words_as_the_square_root_of_its_length():
    text = "the cat and the dog saw a bird, and the bird saw them. "
    words = [len(chunk_table(tokenizer.longer(text, n))) for n in (1, 4, 16)]
    assert len(tokenizer.longer(text, 16)) == 16 * len(text)
    assert words[0] < words[1] < words[2] <= 4 * words[0]
    assert tokenizer.longer(text, 1) == text


def test_the_figure_leaves_the_naive_trainer_out():
    row = tokenizer.beside_naive("a small text, a small text", Options(quick=True))
    assert row.peer == tokenizer.NAIVE
    assert tokenizer.figure([row]) is None
