"""Quick copies of a model: the model itself is the oracle, and torch's own layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import fast
from course_lib.fast import quicken
from course_lib.sampling import KVCache, Sampling, beam_search, generate, left_pad, next_logits
from course_lib.transformer import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=1003, context_length=24, n_layer=3, n_head=4, n_embd=64)
GREEDY = Sampling(temperature=0)
KINDS = ["float32", "bfloat16", "int8"]
# Root mean square error of the logits as a share of their spread: about twice what was measured,
# 4e-7, 0.006 and 0.041. (int8 rounds the activations as well as the weights.)
TOLERANCE = {"float32": 1e-6, "bfloat16": 0.012, "int8": 0.08}


def random_model(**changes) -> GPT:
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(**{**vars(CONFIG), **changes}))
    for parameter in gpt.parameters():  # biases and gains too, and far from uniform
        parameter.data += 0.05 * torch.randn_like(parameter)
    return gpt.eval()


@pytest.fixture(scope="module")
def model() -> GPT:
    return random_model()


@pytest.fixture(params=[2**18, 1], ids=["small", "large"])
def either_size(request, monkeypatch):
    """Matrices of a test are small; with SMALL = 1 they are treated as large ones."""
    monkeypatch.setattr(fast, "SMALL", request.param)


@pytest.fixture()
def large(monkeypatch):
    monkeypatch.setattr(fast, "SMALL", 1)


def tokens(batch: int, time: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(batch + time)
    return torch.randint(CONFIG.vocab_size, (batch, time), generator=draws)


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).square().mean().sqrt() / theirs.std()).detach())


# ---- one layer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_out", [1, 191, 192, 384, 500, 1003])  # divisible by the slices, or not
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 16, 100])
@pytest.mark.parametrize("laid_out_for", [1, 16])
@pytest.mark.parametrize("kind", ["small", *KINDS])
def test_a_layer_equals_torchs(kind, n_out, bias, rows, laid_out_for, monkeypatch):
    monkeypatch.setattr(fast, "SMALL", 2**30 if kind == "small" else 1)
    torch.manual_seed(n_out + rows)
    linear = nn.Linear(96, n_out, bias).requires_grad_(False)
    x = torch.randn(rows, 96)
    theirs = linear(x)
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    layer = fast.quick_linear(linear.to(dtype), kind, laid_out_for)
    ours = layer(x.to(dtype))
    assert ours.shape == theirs.shape and ours.dtype == dtype and not layer.gelu
    within = {"small": 1e-5, "float32": 1e-5, "bfloat16": 0.02, "int8": 0.06}[kind]
    assert torch.allclose(ours.float(), theirs, atol=within * 3)


def test_each_kind_of_weights_has_its_layout(large):
    """Packed where torch can, so that the other tests see what they seem to see."""
    linear, short = nn.Linear(96, 384), nn.Linear(96, 384).to(torch.bfloat16)
    packed = fast.PackedLinear if fast.can_pack(torch.float32) else fast.SlicedLinear
    assert type(fast.quick_linear(linear, "float32", 1)) is fast.SlicedLinear
    assert type(fast.quick_linear(linear, "float32", 16)) is packed
    packed = fast.PackedLinear if fast.can_pack(torch.bfloat16) else fast.SmallLinear
    assert type(fast.quick_linear(short, "bfloat16", 1)) is packed
    assert type(fast.quick_linear(linear, "int8", 1)) is fast.Int8Linear


@pytest.mark.skipif(not fast.can_pack(torch.float32), reason="This torch does not pack weights.")
def test_a_packed_layer_applies_gpt2s_gelu(large):
    torch.manual_seed(0)
    linear, x = nn.Linear(96, 384).requires_grad_(False), 3 * torch.randn(16, 96)
    layer = fast.quick_linear(linear, "float32", 16, gelu=True)
    assert layer.gelu
    assert torch.allclose(layer(x), F.gelu(linear(x), approximate="tanh"), atol=1e-5)


def test_where_nothing_packs_the_logits_are_the_same(model, large, monkeypatch):
    monkeypatch.setattr(fast, "can_pack", lambda dtype: False)
    idx = tokens(16, 10)
    for kind in ("float32", "bfloat16"):
        assert error(quicken(model, kind, rows=16)(idx), model(idx)) < TOLERANCE[kind]


def test_int8_is_a_rounding_of_each_row_to_256_steps():
    torch.manual_seed(0)
    scales = torch.tensor([0.01, 1.0, 100.0])  # one scale for the whole matrix would lose the first
    weight = torch.randn(3, 64) * scales[:, None]
    for rows in (1, 16):
        ours = fast.Int8Linear(weight, None, rows)(torch.eye(64)).T
        assert ((ours - weight).abs() <= 0.02 * weight.abs().amax(dim=1, keepdim=True)).all()


# ---- the whole model ---------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"bias": False}, {"tied": False}, {"n_head": 1}])
def test_float32_logits_are_the_models_to_1e_5(changes, either_size):
    gpt = random_model(**changes)
    quick, idx = quicken(gpt), tokens(3, 24)
    logits = gpt(idx).detach()
    assert (quick(idx) - logits).abs().max() < 1e-5 * max(1.0, float(logits.abs().max()))


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_within_the_stated_tolerance(model: GPT, kind, rows, large):
    idx = tokens(4, 24)
    logits = quicken(model, kind, rows)(idx)
    assert logits.dtype == torch.float32 and logits.shape == (4, 24, CONFIG.vocab_size)
    difference = error(logits, model(idx))
    assert difference < TOLERANCE[kind]
    assert kind == "float32" or difference > 1e-4  # the short numbers are really in use


def test_small_matrices_stay_float32_whatever_is_asked_for(model: GPT):
    idx = tokens(2, 10)
    for kind in ("int8", "bfloat16"):
        assert torch.equal(quicken(model, kind)(idx), quicken(model, "float32")(idx))


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("n_new", [12, 40])  # 40 goes far past the window of 24
def test_greedy_tokens_are_the_models(model: GPT, batch, n_new, either_size):
    prompt = tokens(batch, 5)
    quick = quicken(model, rows=batch)
    wanted = generate(model, prompt, n_new, GREEDY, use_cache=False)
    assert torch.equal(generate(quick, prompt, n_new, GREEDY), wanted)
    assert torch.equal(generate(quick, prompt, n_new, GREEDY, use_cache=False), wanted)


def test_prompts_of_unequal_lengths_and_beams(model: GPT, either_size):
    idx, n_pad = left_pad([[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]], pad=0)
    quick = quicken(model)
    wanted = generate(model, idx, 30, GREEDY, n_pad=n_pad)
    assert torch.equal(generate(quick, idx, 30, GREEDY, n_pad=n_pad), wanted)
    ours = beam_search(quick, idx[2:], 4, width=3)
    assert [ids for _, ids in ours] == [ids for _, ids in beam_search(model, idx[2:], 4, width=3)]


@pytest.mark.parametrize("kind", KINDS)
def test_cache_or_not_the_copy_gives_the_same_logits(model: GPT, kind, large):
    idx, quick = tokens(16, 20), quicken(model, kind, rows=16)
    cache = KVCache(CONFIG, 16, dtype=quick.wte.weight.dtype)  # as `generate` makes it
    for end in (4, 5, 9, 20):  # several tokens after others, and one
        cached = next_logits(quick, idx[:, :end], cache)
        assert error(cached, next_logits(quick, idx[:, :end])) < TOLERANCE[kind]
    counted = 2 * CONFIG.n_layer * 16 * CONFIG.context_length * CONFIG.n_embd
    counted *= 2 if kind == "bfloat16" else 4  # bytes of a number
    held = sum(t.untyped_storage().nbytes() / 2 for c in cache.layers for t in (c.keys, c.values))
    assert cache.n_bytes == counted == held  # keys and values share one piece of memory


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_stays_as_it_is(kind, large):
    gpt = random_model().train()
    before = copy.deepcopy(gpt.state_dict())
    quick = quicken(gpt, kind)
    generate(quick, tokens(2, 3), 5)
    assert gpt.training and not quick.training
    assert all(torch.equal(before[name], value) for name, value in gpt.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in gpt.parameters())
    assert not any(p.requires_grad for p in quick.parameters())


def test_training_on_does_not_change_the_copy(large):
    gpt, idx = random_model(), tokens(2, 6)
    quick = quicken(gpt)
    before = quick(idx)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.mul_(1.5)
    assert torch.equal(quick(idx), before)


def test_a_trained_direction_survives_short_numbers(large):
    """What is far ahead stays ahead: the likeliest token is the same where the model is sure."""
    gpt, idx = random_model(), tokens(16, 24)
    logits = gpt(idx).flatten(0, 1)
    best = logits.topk(2).values
    sure = (best[:, 0] - best[:, 1]) > 0.5 * logits.std()
    assert sure.sum() > 20
    for kind in KINDS:
        ours = quicken(gpt, kind)(idx).flatten(0, 1)
        assert torch.equal(ours.argmax(-1)[sure], logits.argmax(-1)[sure])


# ---- bad input ---------------------------------------------------------------------------------


def test_what_cannot_be_quickened_is_refused(model: GPT, monkeypatch):
    with pytest.raises(ValueError, match="choose one of float32, bfloat16, int8"):
        quicken(model, "int4")
    with pytest.raises(ValueError, match="rows is 0"):
        quicken(model, rows=0)
    with pytest.raises(ValueError, match="not built like GPT-2"):
        quicken(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="not built like GPT-2"):
        quicken(quicken(model))
    with pytest.raises(ValueError, match="on a GPU"):
        quicken(GPT(CONFIG).to("meta"))


def test_the_copy_refuses_what_the_model_refuses(model: GPT):
    quick, cache = quicken(model), KVCache(CONFIG)
    quick(tokens(1, 3), cache)
    for idx in ([[CONFIG.vocab_size]], [[-1]], [[0] * CONFIG.context_length], [[0.5]]):
        for past in (None, cache):
            if len(idx[0]) == CONFIG.context_length and past is None:
                continue  # fits
            told = "outside the vocabulary|model.s context|must be integers"
            with pytest.raises(ValueError, match=told):
                quick(torch.tensor(idx), past)


def test_a_model_that_computes_something_else_is_noticed(model: GPT):
    other = copy.deepcopy(model)
    for block in other.blocks:  # the exact GELU instead of GPT-2's
        block.mlp.forward = lambda x, mlp=block.mlp: mlp.proj(F.gelu(mlp.fc(x)))
    with pytest.raises(ValueError, match="does not compute what the model does"):
        quicken(other)


def test_a_torch_without_int8_says_what_to_do(model: GPT, monkeypatch, large):
    def gone(*_):
        raise RuntimeError("no engine")

    monkeypatch.setattr(torch.ao.quantization, "quantize_dynamic", gone)
    with pytest.raises(ValueError, match='no engine.*weights="bfloat16"'):
        quicken(model, "int8")
