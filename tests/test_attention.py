"""Chapter 3 against outside oracles: torch's attention, finite differences, a FLOP counter."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention import (
    CausalSelfAttention,
    attend,
    attention_flops,
    attention_weights,
    causal_mask,
    merge_heads,
    split_heads,
)

small = settings(max_examples=30, deadline=None, derandomize=True)


def qkv(*shape: int, n_key: int | None = None, dtype=torch.float32):
    """Random q (..., Tq, d), k and v (..., Tk, d)."""
    *batch, n_query, d = shape
    n_key = n_key or n_query
    sizes = [(*batch, n, d) for n in (n_query, n_key, n_key)]
    return [torch.randn(size, dtype=dtype) for size in sizes]


def oracle(layer: CausalSelfAttention, x, mask=None):
    """The layer's parameters, computed by torch's own kernels from end to end."""
    b, t, c = x.shape
    packed = F.linear(x, layer.qkv.weight, layer.qkv.bias).view(b, t, 3, layer.n_head, -1)
    q, k, v = packed.permute(2, 0, 3, 1, 4)
    kind = {"is_causal": True} if mask is None else {"attn_mask": mask}
    y = F.scaled_dot_product_attention(q, k, v, **kind)
    return F.linear(y.permute(0, 2, 1, 3).flatten(2), layer.proj.weight, layer.proj.bias)


class ListCache:
    """The smallest thing with `append`: glue the new keys and values to the old ones."""

    def __init__(self):
        self.k = self.v = None

    def append(self, k, v):
        self.k = k if self.k is None else torch.cat([self.k, k], dim=-2)
        self.v = v if self.v is None else torch.cat([self.v, v], dim=-2)
        return self.k, self.v


# ---- against torch -------------------------------------------------------------------------------


@small
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(1, 8),
    st.booleans(),
)
def test_attend_equals_torch(n_batch, n_head, n_query, n_more, d, masked):
    torch.manual_seed(n_query * 31 + d)
    q, k, v = qkv(n_batch, n_head, n_query, d, n_key=n_query + n_more)
    mask = causal_mask(n_query, n_query + n_more) if masked else None
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected)


def test_attend_equals_torch_far_from_the_usual_scale():
    torch.manual_seed(0)
    q, k, v = qkv(2, 7, 4)
    mask = causal_mask(7, 7)
    for scale in (1e-4, 1e2, 1e4):
        expected = F.scaled_dot_product_attention(q * scale, k * scale, v, attn_mask=mask)
        torch.testing.assert_close(attend(q * scale, k * scale, v, mask), expected)


@pytest.mark.parametrize("n_embd, n_head", [(8, 1), (8, 2), (12, 3), (48, 12), (6, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_equals_torch(n_embd, n_head, bias):
    torch.manual_seed(n_embd + n_head)
    layer = CausalSelfAttention(n_embd, n_head, bias=bias)
    x = torch.randn(3, 11, n_embd)
    torch.testing.assert_close(layer(x), oracle(layer, x))


def test_layer_gradients_equal_torch():
    torch.manual_seed(1)
    layer = CausalSelfAttention(12, 3)
    x = torch.randn(2, 9, 12)
    target = torch.randn(2, 9, 12)
    ours = torch.autograd.grad((layer(x) * target).sum(), list(layer.parameters()))
    theirs = torch.autograd.grad((oracle(layer, x) * target).sum(), list(layer.parameters()))
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its)


def test_layer_equals_torch_multihead_attention():
    torch.manual_seed(2)
    layer = CausalSelfAttention(12, 4)
    other = torch.nn.MultiheadAttention(12, 4, batch_first=True)
    other.in_proj_weight.data = layer.qkv.weight.data
    other.in_proj_bias.data = layer.qkv.bias.data
    other.out_proj.load_state_dict(layer.proj.state_dict())
    x = torch.randn(2, 7, 12)
    expected, _ = other(x, x, x, attn_mask=~causal_mask(7, 7), need_weights=False)
    torch.testing.assert_close(layer(x), expected)


def test_gradient_against_finite_differences():
    torch.manual_seed(3)
    q, k, v = (part.requires_grad_() for part in qkv(2, 4, 3, dtype=torch.float64))
    mask = causal_mask(4, 4)
    mask[1] = False  # a row that may look at nothing has a gradient too: zero
    assert torch.autograd.gradcheck(lambda *parts: attend(*parts, mask), (q, k, v))
    layer = CausalSelfAttention(6, 2).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


# ---- causality -----------------------------------------------------------------------------------


@small
@given(
    st.integers(1, 3), st.integers(1, 12), st.sampled_from([1, 2, 4]), st.integers(1, 3), st.data()
)
def test_a_token_changes_no_output_before_it(n_batch, n_tokens, n_head, width, data):
    changed = data.draw(st.integers(0, n_tokens - 1))
    torch.manual_seed(n_tokens)
    layer = CausalSelfAttention(n_head * width, n_head)
    x = torch.randn(n_batch, n_tokens, n_head * width)
    y = x.clone()
    y[:, changed] += 5 + torch.rand(n_head * width)
    before, after = layer(x), layer(y)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed], after[:, changed])


def test_every_later_output_can_see_a_change():
    torch.manual_seed(4)
    layer = CausalSelfAttention(8, 2)
    x = torch.randn(1, 6, 8)
    y = x.clone()
    y[:, 2] += 1
    moved = (layer(x) != layer(y)).any(-1)[0]
    assert moved.tolist() == [False, False, True, True, True, True]


def test_the_future_has_no_gradient():
    torch.manual_seed(5)
    layer = CausalSelfAttention(8, 4)
    x = torch.randn(2, 6, 8, requires_grad=True)
    layer(x)[:, 3].sum().backward()
    assert (x.grad[:, 4:] == 0).all()
    assert (x.grad[:, :4] != 0).any(-1).all()


def test_without_a_mask_attention_is_a_set_operation():
    torch.manual_seed(6)
    layer = CausalSelfAttention(8, 2)
    x = torch.randn(2, 7, 8)
    order = torch.randperm(7)
    everyone = torch.ones(7, 7, dtype=torch.bool)
    torch.testing.assert_close(layer(x[:, order], everyone), layer(x, everyone)[:, order])
    assert not torch.allclose(layer(x[:, order]), layer(x)[:, order])


# ---- masks ---------------------------------------------------------------------------------------


@small
@given(st.integers(1, 12), st.integers(0, 6))
def test_causal_mask(n_query, n_more):
    n_key = n_query + n_more
    mask = causal_mask(n_query, n_key)
    assert mask.shape == (n_query, n_key)
    assert mask.dtype == torch.bool
    for i in range(n_query):
        for j in range(n_key):
            assert bool(mask[i, j]) == (j <= i + n_more)


@small
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 999))
def test_weights_are_shares_of_what_is_allowed(n_query, n_key, seed):
    torch.manual_seed(seed)
    q, k, _ = qkv(2, n_query, 4, n_key=n_key)
    mask = torch.rand(n_query, n_key) < 0.6
    mask[:, 0] = True
    weights = attention_weights(q, k, mask)
    assert weights.shape == (2, n_query, n_key)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, n_query))
    assert (weights[:, ~mask] == 0).all()
    assert (weights[:, mask] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_row_that_may_look_at_nothing_reads_zeros_and_spoils_nothing(dtype):
    torch.manual_seed(7)
    q, k, v = (part.requires_grad_() for part in qkv(2, 5, 4, dtype=dtype))
    mask = causal_mask(5, 5)
    mask[:, :2] = False  # two left padding tokens: rows 0 and 1 see nothing at all
    y = attend(q, k, v, mask)
    assert (y[:, :2] == 0).all()
    assert not y.isnan().any()
    torch.testing.assert_close(y[:, 2:], attend(q[:, 2:], k[:, 2:], v[:, 2:], causal_mask(3, 3)))
    y.sum().backward()
    for part in (q, k, v):
        assert not part.grad.isnan().any()
        assert (part.grad[:, :2] == 0).all()


def test_empty_rows_equal_torch():
    torch.manual_seed(8)
    q, k, v = qkv(2, 5, 4)
    mask = causal_mask(5, 5)
    mask[:, :2] = False
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected)


def test_left_padding_does_not_reach_the_real_tokens_through_two_layers():
    torch.manual_seed(9)
    one, two = CausalSelfAttention(8, 2), CausalSelfAttention(8, 2)
    x = torch.randn(2, 6, 8)
    real = torch.arange(6) >= torch.tensor([0, 3])[:, None]  # (B, T): row 1 has 3 pads
    mask = causal_mask(6, 6) & real[:, None, None, :]  # (B, 1, T, T)
    padded = two(one(x, mask), mask)
    assert not padded.isnan().any()
    torch.testing.assert_close(padded[0], two(one(x[:1]))[0])
    torch.testing.assert_close(padded[1, 3:], two(one(x[1:, 3:]))[0])


def test_a_mask_given_to_the_layer_replaces_the_causal_one():
    torch.manual_seed(10)
    layer = CausalSelfAttention(8, 2)
    x = torch.randn(2, 6, 8)
    everyone = torch.ones(6, 6, dtype=torch.bool)
    torch.testing.assert_close(layer(x, everyone), oracle(layer, x, everyone))
    per_row = torch.rand(2, 1, 6, 6) < 0.5
    per_row |= torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(layer(x, per_row), oracle(layer, x, per_row))


# ---- heads ---------------------------------------------------------------------------------------


@small
@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 5), st.integers(1, 4))
def test_split_heads_splits_features_and_merge_undoes_it(n_batch, n_tokens, n_head, d):
    x = torch.arange(n_batch * n_tokens * n_head * d).view(n_batch, n_tokens, n_head * d)
    heads = split_heads(x, n_head)
    assert heads.shape == (n_batch, n_head, n_tokens, d)
    for h in range(n_head):
        assert torch.equal(heads[:, h], x[:, :, h * d : (h + 1) * d])
    assert torch.equal(merge_heads(heads), x)


def test_split_heads_takes_a_slice_of_a_larger_tensor():
    x = torch.randn(2, 5, 24)
    middle = x.chunk(3, dim=-1)[1]
    assert torch.equal(split_heads(middle, 2), split_heads(middle.contiguous(), 2))


def test_heads_do_not_mix_before_the_projection():
    torch.manual_seed(11)
    layer = CausalSelfAttention(8, 2)
    layer.proj.weight.data = torch.eye(8)
    layer.proj.bias.data.zero_()
    x = torch.randn(1, 5, 8)
    changed = copy.deepcopy(layer)
    changed.qkv.weight.data[8 + 4 : 16] += 1  # the keys of head 1
    before, after = layer(x), changed(x)
    assert torch.equal(before[..., :4], after[..., :4])
    assert not torch.allclose(before[..., 4:], after[..., 4:])


# ---- cache, dropout, devices, cost ---------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 3], [7], [4, 3]])
def test_a_cache_gives_the_same_as_all_at_once(pieces):
    torch.manual_seed(12)
    layer, cache = CausalSelfAttention(12, 3), ListCache()
    x = torch.randn(2, 7, 12)
    parts = [layer(part, cache=cache) for part in x.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x))


def test_dropout_only_in_training():
    torch.manual_seed(13)
    layer = CausalSelfAttention(8, 2, dropout=0.5)
    x = torch.randn(2, 6, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer(x), oracle(layer, x))


def test_dropout_keeps_the_mean():
    torch.manual_seed(14)
    q, k, v = qkv(1, 4, 3)
    mean = torch.stack([attend(q, k, v, dropout=0.3) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, attend(q, k, v), atol=0.1, rtol=0)


def test_parameters():
    layer = CausalSelfAttention(16, 4)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "qkv.weight": (48, 16), "qkv.bias": (48,), "proj.weight": (16, 16), "proj.bias": (16,)
    }  # fmt: skip
    assert not list(layer.buffers())
    assert {name for name, _ in CausalSelfAttention(16, 4, bias=False).named_parameters()} == {
        "qkv.weight", "proj.weight"
    }  # fmt: skip


def test_everything_is_made_on_the_device_of_the_input():
    x = torch.randn(2, 5, 8, device="meta")
    layer = CausalSelfAttention(8, 2).to("meta")
    assert layer(x).shape == (2, 5, 8)
    assert layer(x).device.type == "meta"
    mask = causal_mask(5, 5, device="meta")
    assert mask.device.type == "meta"
    assert layer(x, mask).device.type == "meta"
    assert attend(*(x, x, x), causal_mask(5, 5, "meta")).device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_equals_cpu():
    torch.manual_seed(15)
    layer, x = CausalSelfAttention(32, 4), torch.randn(2, 9, 32)
    expected = layer(x)
    torch.testing.assert_close(layer.cuda()(x.cuda()).cpu(), expected, atol=1e-4, rtol=1e-4)


def test_autocast():
    torch.manual_seed(16)
    layer, x = CausalSelfAttention(32, 4), torch.randn(2, 9, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    torch.testing.assert_close(low.float(), layer(x), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("n_tokens, n_embd, n_head", [(7, 12, 3), (16, 32, 1), (5, 8, 8)])
def test_flops_equal_torch_counter(n_tokens, n_embd, n_head):
    from torch.utils.flop_counter import FlopCounterMode

    layer = CausalSelfAttention(n_embd, n_head)
    with FlopCounterMode(display=False) as counter:
        layer(torch.randn(1, n_tokens, n_embd))
    assert sum(attention_flops(n_tokens, n_embd).values()) == counter.get_total_flops()


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_embd, n_head", [(10, 3), (8, 0), (4, 8), (0, 1), (8, -2)])
def test_heads_that_cannot_share_the_features(n_embd, n_head):
    with pytest.raises(ValueError, match=rf"n_embd={n_embd} .* n_head={n_head} .*divides"):
        CausalSelfAttention(n_embd, n_head)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 7])
def test_dropout_that_is_no_share(dropout):
    with pytest.raises(ValueError, match="0 <= dropout < 1"):
        CausalSelfAttention(8, 2, dropout=dropout)


def test_split_heads_that_do_not_divide():
    for n_head in (3, 0):
        with pytest.raises(ValueError, match=f"8 features .* shared equally by {n_head} heads"):
            split_heads(torch.randn(1, 2, 8), n_head)


@pytest.mark.parametrize("n_query, n_key", [(3, 2), (0, 3), (-1, 1)])
def test_more_queries_than_keys(n_query, n_key):
    with pytest.raises(ValueError, match="pass 1 <= n_query <= n_key"):
        causal_mask(n_query, n_key)


def test_mask_that_is_not_bool():
    q, k, v = qkv(1, 3, 4)
    with pytest.raises(ValueError, match="pass bool, True where a query may look"):
        attend(q, k, v, torch.zeros(3, 3))


def test_sizes_that_do_not_fit():
    q, k, v = qkv(1, 3, 4)
    with pytest.raises(ValueError, match="A query has 4 numbers and a key 3"):
        attend(q, k[..., :3], v)
    with pytest.raises(ValueError, match="3 keys and 2 values"):
        attend(q, k, v[:, :2])
    with pytest.raises(ValueError, match=r"shape \(2, 3\) does not fit .* \(1, 3, 3\)"):
        attend(q, k, v, torch.ones(2, 3, dtype=torch.bool))


def test_input_of_the_wrong_width():
    with pytest.raises(ValueError, match=r"\(2, 5, 7\).* n_embd=8"):
        CausalSelfAttention(8, 2)(torch.randn(2, 5, 7))
    with pytest.raises(ValueError, match=r"\(5, 8\).* n_embd=8"):
        CausalSelfAttention(8, 2)(torch.randn(5, 8))
