"""Chapter 1 against outside oracles: torch's cross-entropy, counts by hand, the world's floor."""

import json
import math
import re
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.next_token import (
    START,
    NeuralBigram,
    NGram,
    WindowMLP,
    WordVocabulary,
    bits_per_byte,
    count_followers,
    cross_entropy,
    entropy,
    fit_by_gradient,
    mean_by_kind,
    perplexity,
    split_words,
    surprise,
    windows,
    witten_bell,
)
from course_lib.world import little_world, tiny_world

token_lists = st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=6)


# ---- pieces ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text())
def test_pieces_join_to_the_text(text):
    assert "".join(split_words(text)) == text


def test_pieces_are_words_with_the_space_before_them():
    assert split_words("Mia has it, too.\n") == ["Mia", " has", " it", ",", " too", ".", "\n"]


def test_vocabulary_round_trips_and_is_the_same_for_any_order_of_texts():
    texts = little_world().corpus(20, seed=3)
    vocabulary = WordVocabulary(texts)
    assert all(vocabulary.decode(vocabulary.encode(text)) == text for text in texts)
    assert vocabulary.pieces == WordVocabulary(texts[::-1]).pieces
    assert sorted(vocabulary.ids.values()) == list(range(len(vocabulary)))


def test_unknown_piece_is_named():
    with pytest.raises(ValueError, match="no piece ' zebra'.*chapter 2"):
        WordVocabulary(["A horse."]).encode("A zebra.")


# ---- surprise, cross-entropy, entropy ------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 10_000), st.sampled_from([0.1, 1, 30]))
def test_cross_entropy_equals_torch(n, vocab_size, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, vocab_size, generator=generator, dtype=torch.float64) * scale
    targets = torch.randint(vocab_size, (n,), generator=generator)
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits, targets))
    each = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(surprise(logits, targets), each)


def test_cross_entropy_of_a_batch_and_its_gradient_equal_torch():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 4, 7, requires_grad=True), torch.randint(7, (3, 4))
    (ours,) = torch.autograd.grad(cross_entropy(logits, targets), logits)
    (theirs,) = torch.autograd.grad(F.cross_entropy(logits.view(-1, 7), targets.view(-1)), logits)
    torch.testing.assert_close(ours, theirs)


def test_huge_logits_do_not_overflow():
    assert cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([1])).item() == 1e4


def test_equal_logits_cost_ln_v():
    assert cross_entropy(torch.zeros(5, 314), torch.arange(5)).item() == pytest.approx(
        math.log(314)
    )


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.zeros(3, 5), torch.tensor([1, 2]), r"logits \(3, 5\) and targets \(2,\)"),
        (torch.zeros(2, 5), torch.tensor([1, 5]), "ids from 0 to 4"),
        (torch.zeros(2, 5), torch.tensor([-1, 0]), "ids from 0 to 4"),
    ],
)
def test_bad_targets_are_refused(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(logits, targets)


def test_entropy_against_torch_distributions_and_with_zeros():
    p = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]])
    torch.testing.assert_close(entropy(p), torch.distributions.Categorical(probs=p).entropy())
    assert entropy(torch.tensor([1.0, 0.0])).item() == 0.0


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 1000))
def test_no_prediction_beats_the_truth(logits, seed):
    """Gibbs: the expected loss of any q is at least the entropy of p."""
    p = torch.rand(len(logits), generator=torch.Generator().manual_seed(seed)) + 1e-3
    p = p / p.sum()
    q = torch.tensor(logits).softmax(-1)
    assert -(p * q.log()).sum() >= entropy(p) - 1e-5


def test_units():
    assert perplexity(math.log(6)) == pytest.approx(6)
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)
    with pytest.raises(ValueError, match="empty text"):
        bits_per_byte(1.0, 0)


def test_bits_per_byte_of_the_world_is_the_same_for_every_split():
    world, tiny = little_world(), tiny_world()
    for source in (world, tiny):
        texts = source.corpus(5, seed=1)
        total = sum(n for text in texts for n, _ in source.pieces(text, split_words(text)))
        n_bytes = sum(len(text.encode()) for text in texts)
        assert bits_per_byte(total, n_bytes) == pytest.approx(source.bits_per_byte(texts))


def test_mean_by_kind():
    assert mean_by_kind([1.0, 3.0, 5.0], ["free", "answer", "free"]) == {"answer": 3.0, "free": 3.0}


# ---- counting ------------------------------------------------------------------------------------


def test_followers_are_counted_per_sequence():
    counts = count_followers([[0, 1, 0, 1], [1]], order=2)
    assert counts == {
        (): {0: 2, 1: 3},
        (START,): {0: 1, 1: 1},
        (0,): {1: 2},
        (1,): {0: 1},
    }  # no pair joins the end of one sequence to the start of the next


def test_witten_bell_by_hand():
    """Text a b a c a b over {a, b, c, d}: what follows a?

    Alone:   a 3, b 2, c 1 of 6, three types: P(b) = (2 + 3 * 1/4) / 9 = 11/36, P(d) = 1/12.
    After a: b 2, c 1 of 3, two types:  P(b|a) = (2 + 2 * 11/36) / 5 = 47/90, P(d|a) = 1/30.
    """
    model = NGram(2, 4).fit([[0, 1, 0, 2, 0, 1]])
    assert NGram(1, 4).fit([[0, 1, 0, 2, 0, 1]]).probs([])[1].item() == pytest.approx(11 / 36)
    assert model.probs([0])[1].item() == pytest.approx(47 / 90)
    assert model.probs([0])[3].item() == pytest.approx(1 / 30)
    assert witten_bell(2, 3, 2, 11 / 36) == pytest.approx(47 / 90)
    # never followed by anything: the shorter context decides alone
    assert model.probs([3]).tolist() == pytest.approx(
        NGram(1, 4).fit([[0, 1, 0, 2, 0, 1]]).probs([]).tolist()
    )


@settings(max_examples=60, deadline=None)
@given(token_lists, st.integers(1, 4), st.lists(st.integers(0, 5), max_size=5))
def test_probabilities_sum_to_one_and_none_is_zero(sequences, order, context):
    p = NGram(order, 6).fit(sequences).probs(context)
    assert p.shape == (6,)
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert p.min() > 0


@settings(max_examples=40, deadline=None)
@given(token_lists, st.integers(1, 4), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_surprises_are_minus_log_probs(sequences, order, text):
    model = NGram(order, 6).fit(sequences)
    expected = [-model.probs(text[:t])[token].log().item() for t, token in enumerate(text)]
    assert model.surprises(text) == pytest.approx(expected, abs=1e-4)
    assert model.nats([text]) == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_nats_is_a_mean_over_tokens_not_over_sequences():
    model = NGram(2, 3).fit([[0, 1, 2], [0, 0]])
    every = model.surprises([0, 1, 2, 1, 1]) + model.surprises([2])
    assert model.nats([[0, 1, 2, 1, 1], [2]]) == pytest.approx(sum(every) / 6)


def test_counts_of_a_high_order_serve_the_lower_ones():
    sequences = [[0, 1, 2, 0, 1], [2, 1, 0], [1, 1, 2]]
    high = NGram(4, 3).fit(sequences)
    for order in (1, 2, 3):
        high.order = order
        assert high.nats(sequences) == pytest.approx(NGram(order, 3).fit(sequences).nats(sequences))


def test_bad_order_is_refused():
    with pytest.raises(ValueError, match="start at 1"):
        NGram(0, 10)


def test_no_counting_model_reaches_the_floor_and_more_context_helps_at_first():
    world = little_world()
    train, validation = world.split(400, 60)
    vocabulary = WordVocabulary(train + validation)
    train_ids = [vocabulary.encode(text) for text in train]
    validation_ids = [vocabulary.encode(text) for text in validation]
    floor = world.floor(validation, vocabulary)
    losses = [
        NGram(order, len(vocabulary)).fit(train_ids).nats(validation_ids) for order in (1, 2, 3)
    ]
    assert losses[0] > losses[1] > losses[2] > 1.5 * floor


# ---- networks ------------------------------------------------------------------------------------


def test_neural_bigram_starts_in_ignorance_and_its_gradient_is_zero_at_the_counts():
    prev, nxt = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 2, 0, 2, 0])
    model = NeuralBigram(3)
    assert cross_entropy(model(prev), nxt).item() == pytest.approx(math.log(3))
    counts = torch.zeros(3, 3).index_put_((prev, nxt), torch.ones(6), accumulate=True)
    with torch.no_grad():
        model.table.copy_((counts / counts.sum(1, keepdim=True)).log().clamp(min=-50))
    cross_entropy(model(prev), nxt).backward()
    assert model.table.grad.abs().max().item() < 1e-6


def test_windows_pair_every_token_with_those_before_it():
    x, y = windows([[3, 4, 5], [6]], size=2, padding=9)
    assert x.tolist() == [[9, 9], [9, 3], [3, 4], [9, 9]]
    assert y.tolist() == [3, 4, 5, 6]


def test_window_mlp_sees_its_window_only_and_refuses_another():
    torch.manual_seed(0)
    model = WindowMLP(5, size=3, n_embd=4, n_hidden=8)
    assert model(torch.tensor([[5, 0, 1], [2, 3, 4]])).shape == (2, 5)
    with pytest.raises(ValueError, match="hold 2 tokens, the model takes 3"):
        model(torch.tensor([[0, 1]]))


def test_fit_by_gradient_learns_a_copy():
    torch.manual_seed(0)
    x = torch.randint(4, (200, 2))
    model = WindowMLP(4, size=2, n_embd=8, n_hidden=16)
    losses = fit_by_gradient(model, x, x[:, 0], steps=150, batch_size=64, learning_rate=1e-2)
    assert len(losses) == 150
    assert losses[0] > 1 and losses[-1] < 0.05


# ---- the figure that the README shows ------------------------------------------------------------


def test_ladder_figure_shows_what_the_notebook_measured():
    """The numbers of figures/next_token-ladder.svg are those that the notebook prints."""
    root = Path(__file__).parent.parent
    notebook = json.loads((root / "notebooks" / "01_next_token.ipynb").read_text(encoding="utf-8"))
    printed = {
        cell["id"]: "".join("".join(output.get("text", "")) for output in cell["outputs"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }
    figure = runpy.run_path(str(root / "figures" / "next_token.py"))
    wall = dict(re.findall(r"order (\d+): ([\d.]+)", printed["wall"]))
    (ignorance,) = re.findall(r"ignorance ([\d.]+)", printed["ignorance"])
    (network,) = re.findall(r"window of 8: ([\d.]+)", printed["mlp-score"])
    (floor,) = re.findall(r"floor ([\d.]+)", printed["floor"])
    measured = [ignorance, wall["1"], wall["2"], wall["10"], wall["3"], wall["4"], network]
    assert [f"{value:.2f}" for value in figure["LADDER"].values()] == measured
    assert f"{figure['FLOOR']:.2f}" == floor
    assert min(wall, key=lambda order: float(wall[order])) == "4", "the figure names the 4-gram"
