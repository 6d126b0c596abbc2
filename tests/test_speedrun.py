"""The speedrun's recipe held against others' code and against formulas. What it reaches, and how
fast, is measured by `python -m course_lib bench speedrun`."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from course_lib.attention import causal_mask, split_heads
from course_lib.bench import recipe as r
from course_lib.bench import speedrun
from course_lib.bench.measure import CannotMeasure, Options
from course_lib.bench.recipe import INGREDIENTS, Muon, Recipe, Run
from course_lib.data import DataUnavailable
from course_lib.training import lm_loss
from course_lib.transformer import count_parameters

TINY = Recipe(steps=40, n_layer=2, n_head=2, n_embd=16, context_length=16, batch_size=8)
VOCAB = 11


def text(length=2_000):
    """Ids in which each follows from the one before, most of the time."""
    torch.manual_seed(5)
    noise = torch.rand(length) < 0.2
    other = torch.randint(VOCAB, (length,))
    ids = [0]
    for n in range(1, length):
        ids.append(int(other[n]) if noise[n] else (3 * ids[-1] + 1) % VOCAB)
    return torch.tensor(ids)


# ---- Muon --------------------------------------------------------------------------------------


def by_singular_values(matrix, steps):
    """The reference: a full decomposition, and the polynomial on each singular value."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 32)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_newton_schulz_changes_singular_values_only_and_as_the_polynomial_says(shape, steps):
    torch.manual_seed(1)
    matrices = torch.randn(3, *shape)
    turned = r.newton_schulz(matrices, steps)
    for before, after in zip(matrices, turned):
        torch.testing.assert_close(
            after.double(), by_singular_values(before, steps), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("shape", [(24, 8), (8, 32)])
def test_newton_schulz_comes_close_to_the_orthogonal_matrix(shape):
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = r.newton_schulz(matrix[None], steps=5)[0]
    assert torch.linalg.matrix_norm(turned - u @ v, ord=2) < 0.35  # singular values 0.65 to 1.35
    cosine = (turned * (u @ v)).sum() / turned.norm() / (u @ v).norm()
    assert cosine > 0.98


def test_muons_step_is_the_formula():
    torch.manual_seed(2)
    lr, momentum, decay = 0.1, 0.8, 0.05
    p = torch.nn.Parameter(torch.randn(12, 4))
    wanted, average = p.detach().clone(), torch.zeros(12, 4)
    muon = Muon([(p, 3)], lr, momentum, decay)
    for _ in range(3):
        p.grad = torch.randn(12, 4)
        average = momentum * average + (1 - momentum) * p.grad
        ahead = momentum * average + (1 - momentum) * p.grad
        turn = torch.cat([by_singular_values(part, 3) for part in ahead.split(4)]).float()
        wanted = wanted * (1 - lr * decay) - lr * turn
        muon.step()
        torch.testing.assert_close(p.detach(), wanted, rtol=0, atol=1e-4)


def test_muon_treats_weights_of_one_shape_together_and_others_apart():
    torch.manual_seed(3)
    weights = [
        torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 4), (12, 4), (4, 4), (8, 4))
    ]
    parts = [1, 3, 1, 1]
    alone = [w.detach().clone().requires_grad_() for w in weights]
    together = Muon(list(zip(weights, parts)), lr=0.1)
    for w, single, n in zip(weights, alone, parts):
        w.grad = torch.randn_like(w)
        single.grad = w.grad.clone()
        Muon([(single, n)], lr=0.1).step()
    together.step()
    for w, single in zip(weights, alone):
        torch.testing.assert_close(w, single, rtol=0, atol=1e-5)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_muon_agrees_with_torchs(monkeypatch):
    torch.manual_seed(4)
    monkeypatch.setattr(r.newton_schulz, "__defaults__", (5,))  # torch's own number of steps
    ours = torch.nn.Parameter(torch.randn(24, 8))
    theirs = torch.nn.Parameter(ours.detach().clone())
    muon = Muon([(ours, 1)], lr=0.1, momentum=0.9)
    peer = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.0)
    for _ in range(3):
        ours.grad = torch.randn(24, 8)
        theirs.grad = ours.grad.clone()
        muon.step()
        peer.step()
    # Theirs computes in bfloat16, which has three digits.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.01)


def test_every_parameter_has_exactly_one_optimiser():
    for recipe in (TINY, TINY.without("Muon"), TINY.without("rotary positions")):
        model = recipe.model(VOCAB)
        matrices, rest = r.optimizers(model, recipe)
        if isinstance(matrices, Muon):
            first = [p for group in matrices.groups.values() for p, _ in group]
            # Queries, keys and values are three matrices: each is made orthogonal by itself.
            assert set(matrices.groups) == {(16, 16), (64, 16), (16, 64)}
        else:
            first = list(matrices.params.values())
        both = first + list(rest.params.values())
        wanted = [p for p in model.parameters() if p.requires_grad]
        assert sorted(map(id, both)) == sorted(map(id, wanted))
        assert len(first) == 4 * recipe.n_layer


# ---- the model's ingredients -------------------------------------------------------------------


def test_rotation_is_that_of_transformers():
    torch.manual_seed(1)
    q, k = torch.randn(2, 2, 3, 10, 8)
    rates = 1 / 200.0 ** (torch.arange(0, 8, 2) / 8)
    angle = torch.outer(torch.arange(10.0), rates).repeat(1, 2)[None]  # (1, T, d)
    theirs = apply_rotary_pos_emb(q, k, angle.cos(), angle.sin())
    for ours, wanted in zip((q, k), theirs):
        torch.testing.assert_close(r.rotate(ours, 200.0), wanted)


def test_rotated_products_depend_on_the_distance_only():
    q, k = torch.randn(2, 1, 1, 1, 8).expand(-1, -1, -1, 12, -1)  # the same at every position
    products = (r.rotate(q, 200.0) @ r.rotate(k, 200.0).mT)[0, 0]
    for distance in range(12):
        along = products.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-5)


def test_rotary_attention_is_torchs_attention_on_rotated_queries_and_keys():
    torch.manual_seed(1)
    attention, x = r.RotaryAttention(16, 2, bias=False), torch.randn(3, 9, 16)
    q, k, v = (split_heads(part, 2) for part in attention.qkv(x).chunk(3, dim=-1))
    q, k = r.rotate(q, 200.0), r.rotate(k, 200.0)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_mask(9, 9))
    wanted = attention.proj(y.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), wanted)
    with pytest.raises(ValueError, match="no mask and no cache"):
        attention(x, mask=causal_mask(9, 9))


def test_token_shift_by_hand():
    x = torch.arange(12.0).view(1, 3, 4)
    assert r.TokenShift()(x)[0].tolist() == [[0, 0, 2, 3], [0, 1, 6, 7], [4, 5, 10, 11]]


def test_squared_relu_is_the_formula():
    torch.manual_seed(1)
    mlp, x = r.SquaredReLU(8), torch.randn(2, 3, 8)
    torch.testing.assert_close(mlp(x), mlp.proj(torch.relu(mlp.fc(x)) ** 2))


@pytest.mark.parametrize("left_out", [None, *INGREDIENTS])
def test_no_position_sees_a_later_one(left_out):
    torch.manual_seed(1)
    recipe = TINY if left_out is None else TINY.without(left_out)
    model = recipe.model(VOCAB)
    for p in model.parameters():  # not at the start, where every block is the identity
        p.data.add_(0.1 * torch.randn_like(p))
    x = torch.randint(VOCAB, (2, 16))
    changed = x.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % VOCAB
    before, after = model(x), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_with_zero_outputs_every_block_begins_as_the_identity():
    x = torch.randint(VOCAB, (2, 16))
    model = TINY.model(VOCAB)
    torch.testing.assert_close(model(x), model.head(model.ln_f(model.wte(x))))
    other = TINY.without("zero outputs").model(VOCAB)
    assert not torch.allclose(other(x), other.head(other.ln_f(other.wte(x))))


def test_the_recipe_keeps_the_weights_that_the_model_started_with():
    torch.manual_seed(7)
    plain = replace(TINY, ingredients=("untied embeddings of std 0.5",)).model(VOCAB)
    torch.manual_seed(7)
    changed = TINY.without("zero outputs").model(VOCAB)
    for name in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"):
        for ours, wanted in zip(changed.blocks, plain.blocks):
            assert torch.equal(
                ours.get_submodule(name).weight, wanted.get_submodule(name).weight
            ), name


def test_leaving_out_an_ingredient_leaves_out_that_one_only():
    for name in INGREDIENTS:
        assert set(INGREDIENTS) - set(TINY.without(name).ingredients) == {name}
    with pytest.raises(ValueError, match="'salt' is not in the recipe"):
        TINY.without("salt")


# ---- training ----------------------------------------------------------------------------------


def test_windows_are_the_stream_and_what_follows():
    ids = torch.arange(100)
    batches = r.random_windows(ids, 8, 5, seed=1)
    x, y = next(batches)
    assert x.shape == y.shape == (5, 8)
    assert torch.equal(y, x + 1) and torch.equal(x[:, 1:], x[:, :-1] + 1)
    assert torch.equal(x, next(r.random_windows(ids, 8, 5, seed=1))[0])
    assert not torch.equal(x, next(batches)[0])
    starts = torch.cat([next(batches)[0][:, 0] for _ in range(400)])
    assert starts.min() == 0 and starts.max() == 91  # the last window's last target is 99


def test_the_schedule_stays_and_then_falls_to_nothing():
    shares = [r.plateau(step, 10) for step in range(11)]
    assert shares == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0])
    assert r.cosine(0, 10) == 1 and r.cosine(10, 10) == pytest.approx(0)


@pytest.mark.parametrize("left_out", [None, *INGREDIENTS])
def test_every_variant_learns_what_the_pair_of_letters_tells(left_out):
    recipe = TINY if left_out is None else TINY.without(left_out)
    run = Run(recipe, text(), VOCAB, seed=1)
    losses = [run.step() for _ in range(recipe.steps)]
    assert losses[0] == pytest.approx(math.log(VOCAB), abs=0.15)
    assert sum(losses[-5:]) / 5 < 1.9  # ln 11 is 2.40, and the floor about 0.95


def test_a_run_is_decided_by_its_seed():
    first, again, other = (Run(TINY, text(), VOCAB, seed) for seed in (1, 1, 2))
    losses = [[run.step() for _ in range(5)] for run in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_bfloat16_stays_within_its_tolerance():
    """Autocast changes the loss by less than a hundredth, and no gradient turns away."""
    torch.manual_seed(1)
    model, (x, y) = TINY.model(VOCAB), next(r.random_windows(text(), 16, 8, 1))
    for p in model.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    losses, gradients = [], []
    for short in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            logits = model(x)
        losses.append(lm_loss(logits, y))
        losses[-1].backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
        )
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.01)
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
    assert not torch.equal(*gradients)


# ---- the race ----------------------------------------------------------------------------------


def test_the_preset_is_nanogpts():
    run = speedrun.preset(text(), 65, seed=1)
    config = run.model.config
    # 0.80 million without the positions is what nanoGPT reports for it.
    assert round((count_parameters(config) - 64 * 128) / 1e6, 2) == 0.80
    assert (config.tied, config.bias, config.dropout) == (True, False, 0.0)
    assert run.config.steps == 2000 and run.config.betas == (0.9, 0.99)
    x, _ = next(run.batches)
    assert x.shape == (12, 64)


@pytest.fixture
def little(monkeypatch):
    """The race in miniature, on a text of our own."""
    chars = "".join(chr(97 + i) for i in text().tolist())
    monkeypatch.setattr(speedrun, "shakespeare", lambda: (chars[:1800], chars[1800:]))
    monkeypatch.setattr(speedrun, "PRESET_STEPS", 4)
    monkeypatch.setattr(speedrun, "SHORT", replace(TINY, steps=3, context_length=64))
    monkeypatch.setattr(speedrun, "LONG", replace(TINY, steps=4, context_length=64))


def test_the_race_gives_every_goal_a_row(little):
    rows = speedrun.run(Options(runs=2))
    assert [row.unit for row in rows] == ["s", "nats", "s", "nats", "nats"]
    assert [len(row.ours) for row in rows] == [2, 2, 2, 3, 1]
    assert rows[0].goal.limit == 15 and rows[1].goal.limit == 1.886 and rows[3].goal.limit == 1.65
    assert all(loss > 0.9 for row in rows if row.unit == "nats" for loss in row.ours)


def test_the_ablation_leaves_out_each_ingredient_in_turn(little):
    rows = speedrun.run(Options(runs=1, ablate=True))
    assert [row.what for row in rows if row.unit == "nats"] == [f"without {i}" for i in INGREDIENTS]
    assert all(len(row.ours) == 3 for row in rows)


def test_without_the_text_the_speedrun_says_what_to_do(monkeypatch):
    def nothing():
        raise DataUnavailable("There is no network, and no copy of the text.")

    monkeypatch.setattr(speedrun, "shakespeare", nothing)
    with pytest.raises(CannotMeasure, match="no copy of the text"):
        speedrun.run(Options())
