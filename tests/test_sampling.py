"""Sampling: Hugging Face's filters, cache against no cache, beams against brute force."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import sampling
from course_lib.sampling import (
    KVCache,
    Sampling,
    apply_temperature,
    beam_search,
    choose,
    draw,
    generate,
    left_pad,
    min_p,
    new_tokens,
    next_logits,
    repetition_penalty,
    reshape,
    seen_tokens,
    stream,
    top_k,
    top_p,
)
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=23, context_length=16, n_layer=3, n_head=2, n_embd=24)
GREEDY = Sampling(temperature=0)
logit_rows = st.lists(st.floats(-8, 8), min_size=2, max_size=30).map(lambda v: torch.tensor([v]))


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    gpt = GPT(CONFIG)
    for parameter in gpt.parameters():  # far from uniform, so that greedy choices are clear
        if parameter.dim() == 2:
            parameter.data *= 8
    return gpt.eval()


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits, dim=-1)


# ---- the filters -------------------------------------------------------------------------------


def warpers():
    return pytest.importorskip("transformers.generation.logits_process", reason="no transformers")


@pytest.mark.parametrize("k", [1, 3, 23, 100])
def test_top_k_against_hugging_face(k: int):
    logits = torch.randn(4, 23, generator=torch.Generator().manual_seed(k))
    assert torch.equal(top_k(logits, k), warpers().TopKLogitsWarper(k)(None, logits))


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_against_hugging_face(p: float):
    logits = 3 * torch.randn(50, 23, generator=torch.Generator().manual_seed(1))
    assert torch.equal(top_p(logits, p), warpers().TopPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_min_p_against_hugging_face(p: float):
    logits = 3 * torch.randn(50, 23, generator=torch.Generator().manual_seed(2))
    assert torch.equal(min_p(logits, p), warpers().MinPLogitsWarper(p)(None, logits))


def test_temperature_and_penalty_against_hugging_face():
    idx = torch.tensor([[1, 2, 2, 5], [7, 7, 7, 7]])
    logits = torch.randn(2, 23, generator=torch.Generator().manual_seed(3))
    theirs = warpers().RepetitionPenaltyLogitsProcessor(1.7)(idx, logits.clone())
    ours = repetition_penalty(logits, seen_tokens(idx, None, 23), 1.7)
    assert torch.allclose(ours, theirs)
    theirs = warpers().TemperatureLogitsWarper(0.6)(None, logits)
    assert torch.allclose(apply_temperature(logits, 0.6), theirs)


def test_padding_is_not_penalised():
    idx, n_pad = left_pad([[3], [4, 5, 6]], pad=0)
    seen = seen_tokens(idx, n_pad, 10)
    assert seen[0].nonzero().flatten().tolist() == [3]
    assert seen[1].nonzero().flatten().tolist() == [4, 5, 6]


@settings(max_examples=100, deadline=None)
@given(logits=logit_rows, p=st.floats(0.01, 1), k=st.integers(1, 40))
def test_filters_keep_the_favourite_and_sum_to_one(logits, p, k):
    for kept in (top_k(logits, k), top_p(logits, p), min_p(logits, p)):
        assert probabilities(kept).sum().item() == pytest.approx(1, abs=1e-5)
        assert kept.max() == logits.max()
        finite = torch.isfinite(kept)
        assert torch.equal(kept[finite], logits[finite])


@settings(max_examples=100, deadline=None)
@given(logits=logit_rows, p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(logits, p):
    probs = probabilities(logits)[0]
    kept = torch.isfinite(top_p(logits, p))[0]
    assert probs[kept].sum() >= p - 1e-5
    if kept.sum() > 1:
        assert probs[kept].sum() - probs[kept].min() < p + 1e-5


def test_the_order_of_the_filters():
    logits = torch.tensor([[2.0, 1.0, 0.5, -1.0]])
    how = Sampling(temperature=0.5, top_k=3, top_p=0.9)
    assert torch.equal(reshape(logits, how), top_p(top_k(logits / 0.5, 3), 0.9))
    assert torch.equal(reshape(logits, Sampling()), logits)


# ---- drawing -----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.1, 1.0, 5.0]), min_size=1, max_size=20),
    u=st.floats(0, 1, exclude_max=True),
)
def test_draw_finds_the_piece_and_never_an_impossible_token(weights, u):
    if sum(weights) == 0:
        weights[0] = 1.0
    probs = torch.tensor([weights], dtype=torch.float64)
    probs = probs / probs.sum()
    token = int(draw(probs, torch.tensor([u], dtype=torch.float64)))
    assert probs[0, token] > 0
    assert probs[0, :token].sum() <= u + 1e-12
    assert probs[0, : token + 1].sum() > u - 1e-12


def test_draws_have_the_right_frequencies():
    probs = torch.tensor([0.5, 0.3, 0.0, 0.2]).expand(20_000, 4)
    u = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(draw(probs, u), minlength=4) / 20_000
    assert torch.allclose(share, probs[0], atol=0.015)
    assert share[2] == 0


def test_temperature_zero_is_greedy_and_the_same_seed_chooses_the_same():
    logits = torch.randn(6, 23, generator=torch.Generator().manual_seed(4))
    assert torch.equal(choose(logits, GREEDY), logits.argmax(dim=-1))
    once = choose(logits, Sampling(), generator=torch.Generator().manual_seed(5))
    again = choose(logits, Sampling(), generator=torch.Generator().manual_seed(5))
    assert torch.equal(once, again)


# ---- the cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_new", [1, 10, 40])  # 40 goes far past the window of 16
def test_cache_writes_the_same_tokens(model: GPT, n_new: int):
    prompt = torch.randint(23, (4, 5), generator=torch.Generator().manual_seed(n_new))
    with_cache = generate(model, prompt, n_new, GREEDY)
    without = generate(model, prompt, n_new, GREEDY, use_cache=False)
    assert torch.equal(with_cache, without)
    assert with_cache.shape == (4, 5 + n_new)


def test_cached_logits_are_the_full_pass(model: GPT):
    idx = torch.randint(23, (2, 12), generator=torch.Generator().manual_seed(1))
    cache = KVCache(CONFIG, 2)
    with torch.no_grad():
        full = model(idx)
        for end in (4, 5, 9, 12):  # several tokens at once, and one
            logits = next_logits(model, idx[:, :end], cache)
            assert torch.allclose(logits, full[:, end - 1], atol=1e-5)
            assert cache.length == end


def test_prompts_of_unequal_lengths_equal_each_alone(model: GPT):
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]]
    idx, n_pad = left_pad(prompts, pad=0)
    for use_cache in (True, False):
        together = generate(model, idx, 20, GREEDY, n_pad=n_pad, use_cache=use_cache)
        for row, prompt, pad in zip(together, prompts, n_pad.tolist()):
            alone = generate(model, torch.tensor([prompt]), 20, GREEDY)[0]
            assert row[pad:].tolist() == alone.tolist()


def test_cache_memory_is_what_counting_says():
    cache = KVCache(CONFIG, batch_size=3)
    counted = 2 * CONFIG.n_layer * 3 * CONFIG.context_length * CONFIG.n_embd * 4
    assert cache.n_bytes == counted
    assert KVCache(CONFIG, 3, dtype=torch.bfloat16).n_bytes == counted // 2
    assert KVCache(CONFIG, 3, room=4).n_bytes == counted * 4 // CONFIG.context_length


def test_a_cache_that_is_full_says_so(model: GPT):
    cache = KVCache(CONFIG, 1, room=4)
    with pytest.raises(ValueError, match="no room for 5 tokens, only 4"), torch.no_grad():
        model(torch.zeros(1, 5, dtype=torch.long), cache)


def test_what_was_written_can_be_trained_on(model: GPT):
    """Tensors of torch's inference mode could not: they must not leave the loop."""
    prompt = torch.zeros(1, 5, dtype=torch.long)
    best = torch.tensor([beam_search(model, prompt, 4, width=2)[0][1]])
    for ids in (generate(model, prompt, 4, GREEDY), generate(model, prompt, 4), best):
        assert not ids.is_inference()
        model(ids).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()


@pytest.mark.parametrize(("n_new", "room"), [(3, 8), (200, CONFIG.context_length)])
def test_generation_takes_no_more_memory_than_the_text_needs(model: GPT, monkeypatch, n_new, room):
    caches = []

    class Watched(KVCache):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            caches.append(self)

    monkeypatch.setattr(sampling, "KVCache", Watched)
    generate(model, torch.zeros(2, 5, dtype=torch.long), n_new, GREEDY)
    (cache,) = caches
    assert cache.n_bytes == KVCache(CONFIG, 2, room=room).n_bytes


# ---- generation --------------------------------------------------------------------------------


def test_generate_leaves_the_model_as_it_was(model: GPT):
    model.train()
    generate(model, torch.tensor([[1]]), 2)
    assert model.training
    model.eval()
    assert all(p.grad is None for p in model.parameters())


def test_stop_token_ends_a_row(model: GPT):
    prompt = torch.tensor([[1, 2], [3, 4], [5, 6]])
    free = generate(model, prompt, 12, GREEDY)
    stop = int(free[0, 4])
    stopped = generate(model, prompt, 12, GREEDY, stop=stop)
    for row, full in zip(stopped, free):
        new = full[2:].tolist()
        cut = new.index(stop) + 1 if stop in new else len(new)
        got = row[2:].tolist()
        assert got[:cut] == new[: len(got)][:cut]
        assert set(got[cut:]) <= {stop}


def test_generation_ends_early_when_all_rows_are_done(model: GPT):
    prompt = torch.tensor([[1, 2]])
    stop = int(generate(model, prompt, 1, GREEDY)[0, -1])
    assert generate(model, prompt, 12, GREEDY, stop=stop).shape == (1, 3)


def test_repetition_penalty_repeats_less(model: GPT):
    prompt = torch.tensor([[1, 2, 3]])
    plain = generate(model, prompt, 13, GREEDY)
    penalised = generate(model, prompt, 13, Sampling(0, repetition_penalty=50.0))
    assert len(set(penalised[0].tolist())) > len(set(plain[0].tolist()))


@pytest.mark.parametrize("n_new", [1, 2, 3])
def test_wide_beams_find_the_best_of_all_continuations(n_new: int):
    torch.manual_seed(1)
    gpt = GPT(GPTConfig(5, 8, 1, 1, 8)).eval()
    gpt.wte.weight.data *= 40
    prompt = [1, 2]
    best = []
    for tail in itertools.product(range(5), repeat=n_new):
        ids = torch.tensor([prompt + list(tail)])
        with torch.no_grad():
            logp = torch.log_softmax(gpt(ids[:, :-1]), dim=-1)[0]
        score = sum(float(logp[1 + i, token]) for i, token in enumerate(tail))
        best.append((score, ids[0].tolist()))
    best.sort(reverse=True)
    found = beam_search(gpt, torch.tensor([prompt]), n_new, width=5**n_new)
    assert [ids for _, ids in found] == [ids for _, ids in best]
    assert [s for s, _ in found] == pytest.approx([s for s, _ in best], abs=1e-4)


def test_one_beam_is_greedy(model: GPT):
    prompt = torch.tensor([[3, 1]])
    ((score, ids),) = beam_search(model, prompt, 8, width=1)
    assert ids == generate(model, prompt, 8, GREEDY)[0].tolist()
    assert score <= 0


def test_finished_beams_are_kept(model: GPT):
    prompt = torch.tensor([[3, 1]])
    stop = int(generate(model, prompt, 1, GREEDY)[0, -1])
    found = beam_search(model, prompt, 6, width=3, stop=stop)
    assert len(found) == 3
    assert any(ids == [3, 1, stop] for _, ids in found)
    assert [s for s, _ in found] == sorted((s for s, _ in found), reverse=True)


# ---- streaming ---------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_streaming_bytes_never_raises_and_gives_the_whole_text(seed: int):
    tokenizer = Tokenizer.train("a small text 风筝", 258)
    torch.manual_seed(seed)
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 32, 1, 1, 8))
    how, draws = Sampling(temperature=5.0), torch.Generator
    pieces = list(stream(gpt, tokenizer, "风", 20, how, generator=draws().manual_seed(seed)))
    ids = torch.tensor([tokenizer.encode("风")])
    new = [int(t) for t in new_tokens(gpt, ids, 20, how, generator=draws().manual_seed(seed))]
    assert "".join(pieces) == tokenizer.decode_bytes(new).decode("utf-8", errors="replace")


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"temperature": -0.1}, "use 0 for greedy"),
        ({"top_k": 0}, "keep at least 1"),
        ({"top_p": 0.0}, "above 0 and at most 1"),
        ({"top_p": 1.2}, "above 0 and at most 1"),
        ({"min_p": -0.1}, "from 0 to 1"),
        ({"repetition_penalty": 0.0}, "above 0"),
    ],
)
def test_impossible_settings_are_refused(entries: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Sampling(**entries)


def test_impossible_prompts_are_refused(model: GPT):
    with pytest.raises(ValueError, match="prompt is empty"):
        generate(model, torch.zeros(1, 0, dtype=torch.long), 3)
    with pytest.raises(ValueError, match=r"use ids\[None\]"):
        generate(model, torch.tensor([1, 2]), 3)
    with pytest.raises(ValueError, match="outside 0 to 22"):
        generate(model, torch.tensor([[23]]), 3)
    with pytest.raises(ValueError, match="0 or more"):
        generate(model, torch.tensor([[1]]), -1)
    with pytest.raises(ValueError, match="at least one token"):
        left_pad([[1], []], 0)
    with pytest.raises(ValueError, match="one prompt and width"):
        beam_search(model, torch.tensor([[1], [2]]), 3, 2)
    with pytest.raises(ValueError, match="prompt is empty"):
        list(stream(model, Tokenizer.train("abc", 256), "", 3))


def test_no_new_tokens_is_the_prompt(model: GPT):
    prompt = torch.tensor([[1, 2]])
    assert torch.equal(generate(model, prompt, 0), prompt)
    assert math.isclose(beam_search(model, prompt, 0, 2)[0][0], 0.0)
