"""Chapter 4 against outside oracles: torch's layers, Hugging Face's GPT-2, finite differences."""

import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.transformer import (
    GPT,
    MLP,
    Block,
    GPTConfig,
    LayerNorm,
    count_parameters,
    gelu,
    layer_norm,
    padding_mask,
    positions,
)

TINY = GPTConfig(vocab_size=37, context_length=16, n_layer=3, n_head=2, n_embd=8)
SMALL = replace(TINY, tied=False, init="small")
few = settings(max_examples=30, deadline=None, derandomize=True)


def gpt(config: GPTConfig = TINY, scale: float = 1.0) -> GPT:
    """A fresh model in evaluation mode; `scale` makes its matrices and biases interesting."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    if scale != 1:
        for parameter in model.parameters():
            parameter.data.add_(scale * 0.1 * torch.randn_like(parameter))
    return model


def ids(*shape: int, below: int = 37) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(1))


class ListCache:
    """The smallest cache: per layer the keys and values so far, glued together."""

    class Layer:
        def __init__(self):
            self.k = self.v = None

        def append(self, k, v):
            self.k = k if self.k is None else torch.cat([self.k, k], dim=-2)
            self.v = v if self.v is None else torch.cat([self.v, v], dim=-2)
            return self.k, self.v

    def __init__(self, n_layer: int):
        self.layers = [self.Layer() for _ in range(n_layer)]

    @property
    def length(self) -> int:
        return 0 if self.layers[0].k is None else self.layers[0].k.size(-2)


# ---- the parts, against torch --------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_equals_torch(bias):
    x = torch.randn(2, 3, 8, dtype=torch.float64) * 50 + 7
    weight, shift = torch.randn(2, 8, dtype=torch.float64)
    shift = shift if bias else None
    torch.testing.assert_close(layer_norm(x, weight, shift), F.layer_norm(x, (8,), weight, shift))
    torch.testing.assert_close(
        layer_norm(x, weight, shift, 0.5), F.layer_norm(x, (8,), weight, shift, 0.5)
    )


def test_layer_norm_of_equal_features_is_zero():
    y = layer_norm(torch.full((1, 4), 3.0), torch.ones(4), torch.zeros(4))
    assert y.tolist() == [[0.0] * 4]


def test_layer_norm_module_is_the_function():
    module = LayerNorm(8)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    x = torch.randn(2, 5, 8) * 3
    torch.testing.assert_close(module(x), layer_norm(x, module.weight, module.bias))
    assert LayerNorm(8, bias=False).bias is None


def test_gelu_is_the_tanh_form_and_not_the_exact_one():
    x = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    torch.testing.assert_close(gelu(x), F.gelu(x, approximate="tanh"))
    assert 1e-4 < (gelu(x) - F.gelu(x)).abs().max() < 1e-3


def test_mlp_is_two_layers_with_gelu_between():
    mlp, x = MLP(8), torch.randn(2, 5, 8)
    torch.testing.assert_close(mlp(x), mlp.proj(gelu(mlp.fc(x))))
    assert mlp.fc.weight.shape == (32, 8)


def test_mlp_works_on_each_position_alone():
    mlp, x = MLP(8), torch.randn(2, 5, 8)
    torch.testing.assert_close(mlp(x)[:, 2], mlp(x[:, 2:3])[:, 0])


@pytest.mark.parametrize("bias", [True, False])
def test_block_equals_torch_pre_norm_layer(bias):
    block = Block(replace(TINY, bias=bias))
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    other = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation=gelu, batch_first=True, norm_first=True, bias=bias
    )
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.",
             "linear1.": "mlp.fc.", "linear2.": "mlp.proj.", "norm1.": "ln_1.",
             "norm2.": "ln_2."}  # fmt: skip
    for name, parameter in other.named_parameters():
        begin = next(begin for begin in names if name.startswith(begin))
        parameter.data.copy_(block.get_parameter(names[begin] + name.removeprefix(begin)))
    x = torch.randn(2, 6, 8)
    causal = torch.ones(6, 6, dtype=torch.bool).triu(1)  # True = may not look
    torch.testing.assert_close(block(x), other(x, src_mask=causal))


def test_gradient_of_a_block_against_finite_differences():
    torch.manual_seed(0)
    block = Block(GPTConfig(5, 8, 1, 2, 4)).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in block.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters)), (x,))

    assert torch.autograd.gradcheck(run, (x, *block.parameters()))


# ---- the model, against Hugging Face -------------------------------------------------------------


def copied_from_hugging_face(n_layer=3, n_head=2, n_embd=12, context=16, vocab=37, gain=1.0):
    """A random GPT-2 of the `transformers` library and our model with its weights."""
    transformers = pytest.importorskip("transformers", reason="the oracle is not installed")
    torch.manual_seed(0)
    shape = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "vocab_size": vocab}
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_positions=context, bos_token_id=0, eos_token_id=0, **shape)
    ).eval()
    for parameter in theirs.parameters():
        parameter.data.mul_(gain).add_(0.02 * torch.randn_like(parameter))
    ours = GPT(GPTConfig(context_length=context, **shape)).eval()
    renamed = {"transformer.": "", "h.": "blocks.", "c_attn": "qkv", "c_proj": "proj",
               "c_fc": "fc", "lm_head": "head"}  # fmt: skip
    state = {}
    for name, tensor in theirs.state_dict().items():
        turned = ".c_" in name and name.endswith("weight")  # GPT-2's Conv1D is stored transposed
        for old, new in renamed.items():
            name = name.replace(old, new)
        state[name] = tensor.T if turned else tensor
    ours.load_state_dict(state)
    return theirs, ours


@pytest.mark.parametrize("shape", [{}, {"n_layer": 1, "n_head": 3}, {"gain": 10.0}])
def test_logits_equal_hugging_face(shape):
    theirs, ours = copied_from_hugging_face(**shape)
    idx = ids(3, 16)
    with torch.no_grad():
        expected = theirs(idx).logits
        scale = expected.abs().max()
        assert (ours(idx) - expected).abs().max() < 1e-5 * scale


def test_gradients_equal_hugging_face():
    theirs, ours = copied_from_hugging_face()
    idx = ids(2, 16)
    theirs(idx, labels=idx).loss.backward()
    F.cross_entropy(ours(idx)[:, :-1].flatten(0, 1), idx[:, 1:].flatten()).backward()
    torch.testing.assert_close(
        ours.wte.weight.grad, theirs.transformer.wte.weight.grad, atol=1e-6, rtol=1e-4
    )
    torch.testing.assert_close(
        ours.blocks[0].attn.qkv.weight.grad,
        theirs.transformer.h[0].attn.c_attn.weight.grad.T, atol=1e-6, rtol=1e-4,
    )  # fmt: skip


# ---- promises ------------------------------------------------------------------------------------


@few
@given(st.integers(1, 15), st.sampled_from([TINY, SMALL, replace(TINY, init="copy")]))
def test_a_later_token_changes_no_earlier_logit(t, config):
    model = gpt(config, scale=2)
    idx = ids(2, 16)
    changed = idx.clone()
    changed[:, t:] = (changed[:, t:] + 1) % 37
    with torch.no_grad():
        before, after = model(idx), model(changed)
    assert torch.equal(before[:, :t], after[:, :t])
    assert not torch.allclose(before[:, t:], after[:, t:])


@few
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_padding_changes_nothing(n_pad):
    model = gpt(scale=2)
    width = 10
    rows = [ids(1, width - n, below=36) for n in n_pad]
    padded = torch.cat([F.pad(row, (n, 0), value=36) for row, n in zip(rows, n_pad)])
    with torch.no_grad():
        together = model(padded, n_pad=torch.tensor(n_pad))
        assert not together.isnan().any()
        for row, n, logits in zip(rows, n_pad, together):
            torch.testing.assert_close(logits[n:], model(row)[0], atol=1e-5, rtol=1e-5)


def test_padding_leaves_gradients_finite():
    model = gpt(SMALL)
    model(ids(2, 6), n_pad=torch.tensor([0, 5]))[:, -1].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_positions_and_padding_mask_by_hand():
    n_pad = torch.tensor([0, 2])
    assert positions(4, 0, n_pad).tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert positions(2, 3, n_pad).tolist() == [[3, 4], [1, 2]]
    mask = padding_mask(4, 4, n_pad)
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].tolist() == torch.ones(4, 4).tril().bool().tolist()
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert mask[1, 0].int().tolist() == expected
    assert padding_mask(1, 4, n_pad)[1, 0].int().tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("cuts", [[1] * 12, [5, 7], [6, 1, 1, 4]])
@pytest.mark.parametrize("n_pad", [None, [0, 3]])
def test_pieces_with_a_cache_equal_the_whole(cuts, n_pad):
    model, idx = gpt(scale=2), ids(2, 12)
    n_pad = None if n_pad is None else torch.tensor(n_pad)
    cache = ListCache(TINY.n_layer)
    with torch.no_grad():
        pieces = [model(piece, cache, n_pad) for piece in idx.split(cuts, dim=1)]
        whole = model(idx, n_pad=n_pad)
    for row, start in enumerate([0, 0] if n_pad is None else n_pad.tolist()):
        torch.testing.assert_close(
            torch.cat(pieces, dim=1)[row, start:], whole[row, start:], atol=1e-5, rtol=1e-5
        )


def test_positions_matter():
    model, idx = gpt(scale=2), ids(1, 8)
    order = [3, 1, 4, 0, 2, 6, 5, 7]
    assert not torch.allclose(model(idx)[0, -1], model(idx[:, order])[0, -1], atol=1e-3)


def test_hidden_is_what_the_head_reads():
    model, idx = gpt(), ids(2, 5)
    torch.testing.assert_close(model.head(model.hidden(idx)), model(idx))


def test_dropout_only_in_training():
    model = gpt(replace(TINY, dropout=0.5))
    idx = ids(2, 8)
    assert torch.equal(model(idx), model(idx))
    model.train()
    assert not torch.equal(model(idx), model(idx))


# ---- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "count"),
    [("small", 124_439_808), ("medium", 354_823_168), ("large", 774_030_080),
     ("xl", 1_557_611_200)],
)  # fmt: skip
def test_published_sizes(size, count):
    config = GPTConfig.gpt2(size)
    with torch.device("meta"):
        model = GPT(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert count_parameters(config) == count


@few
@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 3), st.integers(1, 3),
       st.integers(1, 5), st.booleans(), st.booleans())  # fmt: skip
def test_the_count_by_hand_is_the_model(vocab, context, n_layer, n_head, d, bias, tied):
    config = GPTConfig(vocab, context, n_layer, n_head, n_head * d, bias=bias, tied=tied)
    with torch.device("meta"):
        model = GPT(config)
    assert count_parameters(config) == sum(parameter.numel() for parameter in model.parameters())


def test_a_model_without_bias_has_none():
    assert not [n for n, _ in gpt(replace(TINY, bias=False)).named_parameters() if "bias" in n]


@pytest.mark.parametrize("config", [TINY, SMALL, replace(TINY, init="copy")])
def test_meta_device_runs_forward(config):
    with torch.device("meta"):
        logits = GPT(config)(torch.zeros(2, 8, dtype=torch.long), n_pad=torch.zeros(2).long())
    assert logits.device.type == "meta"
    assert logits.shape == (2, 8, 37)


def test_names_of_the_parameters():
    names = set(GPT(SMALL).state_dict())
    expected = {"wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias", "head.weight"} | {
        f"blocks.{i}.{part}.{kind}"
        for i in range(3)
        for part in ("ln_1", "attn.qkv", "attn.proj", "ln_2", "mlp.fc", "mlp.proj")
        for kind in ("weight", "bias")
    }
    assert names == expected


# ---- tying and the start -------------------------------------------------------------------------


def test_tied_is_one_tensor_that_learns_from_both_uses():
    tied, untied = gpt(TINY), gpt(replace(TINY, tied=False))
    untied.load_state_dict(tied.state_dict())
    assert tied.head.weight is tied.wte.weight
    assert untied.head.weight is not untied.wte.weight
    for model in (tied, untied):
        model(ids(2, 8)).square().sum().backward()
    torch.testing.assert_close(
        tied.wte.weight.grad, untied.wte.weight.grad + untied.head.weight.grad
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("config", [
    GPTConfig(65, 64, 4, 4, 128),
    GPTConfig(19, 27, 2, 2, 64),
    GPTConfig(512, 128, 4, 4, 128),
    GPTConfig(19, 27, 2, 2, 64, tied=False, init="small"),
    GPTConfig(512, 128, 4, 4, 128, tied=False, init="small"),
    GPTConfig(311, 32, 2, 2, 64, init="copy"),
    GPTConfig(1024, 128, 3, 4, 80, init="copy"),
])  # fmt: skip
def test_a_fresh_model_admits_that_it_knows_nothing(config, seed):
    torch.manual_seed(seed)
    model = GPT(config).eval()
    idx = torch.randint(config.vocab_size, (16, config.context_length))
    with torch.no_grad():
        logits = model(idx)[:, :-1]
    loss = F.cross_entropy(logits.flatten(0, 1), idx[:, 1:].flatten()).item()
    assert loss == pytest.approx(math.log(config.vocab_size), rel=0.02)


def test_gpt2_start():
    model = GPT(GPTConfig(300, 64, 8, 4, 128))
    block = model.blocks[3]
    assert model.wte.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.03)
    for writer in (block.attn.proj, block.mlp.proj):
        assert writer.weight.std().item() == pytest.approx(0.02 / 4, rel=0.03)  # sqrt(2 * 8) = 4
        assert not writer.bias.any()
    assert block.ln_1.weight.eq(1).all()


def test_copying_start_compares_like_with_like_and_copies():
    model = gpt(replace(TINY, init="copy"))
    attn = model.blocks[0].attn
    query, key, value = attn.qkv.weight.chunk(3)
    assert torch.equal(query, key)
    through = attn.proj.weight @ value  # what is read arrives nearly unchanged
    assert through.diagonal().mean() > 3 * (through - through.diagonal().diag()).abs().mean()
    # the wave of one step looks the same everywhere: a product depends on the distance alone
    near = model.wpe.weight @ model.wpe.weight.T
    torch.testing.assert_close(near[:-1, :-1], near[1:, 1:], atol=1e-4, rtol=1e-4)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_embd": 30, "n_head": 4}, "n_embd = 30 is not divisible by n_head = 4"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"n_layer": 1.5}, "n_layer is 1.5"),
        ({"context_length": "64"}, "context_length is '64'"),
        ({"n_head": -2}, "n_head is -2"),
        ({"n_layer": True}, "n_layer is True"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"init": "xavier"}, "init is 'xavier': choose"),
        ({"init": "small", "tied": True}, "set tied=False"),
        ({"init": "copy", "tied": False}, "set tied=True"),
    ],
)
def test_a_shape_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_a_config_cannot_be_changed_unnoticed():
    with pytest.raises(FrozenInstanceError):
        TINY.n_embd = 7


def test_an_unknown_gpt2_is_refused():
    with pytest.raises(ValueError, match="no GPT-2 called 'huge': choose one of"):
        GPTConfig.gpt2("huge")


@pytest.mark.parametrize(
    ("idx", "message"),
    [
        (torch.zeros(1, 17, dtype=torch.long), "has 17 tokens but the model's context is 16"),
        (torch.zeros(1, 4), "must be integers"),
        (torch.zeros(4, dtype=torch.long), "shape .batch, time.*ids.None."),
        (torch.zeros(1, 0, dtype=torch.long), "at least one token"),
        (torch.tensor([[0, 37]]), "Token id 37 is outside the vocabulary 0 to 36"),
        (torch.tensor([[0, -1]]), "Token id -1 is outside"),
    ],
)
def test_wrong_ids_are_refused_in_one_sentence(idx, message):
    with pytest.raises(ValueError, match=message):
        gpt()(idx)


def test_the_cache_counts_towards_the_context():
    model, cache = gpt(), ListCache(TINY.n_layer)
    model(ids(1, 10), cache)
    with pytest.raises(ValueError, match="has 17 tokens"):
        model(ids(1, 7), cache)


def test_int32_ids_are_fine():
    model, idx = gpt(), ids(1, 5)
    assert torch.equal(model(idx.int()), model(idx))
