"""Every exercise, prediction and question of the course, proven.

For each exercise: the reference passes, every named mistake is found and named, two at once never
pass, answers that people might write are judged rightly, and blind mutants of the reference are
rejected except for a reviewed list.
"""

import ast
import importlib
import itertools
import math
import random
import re
import warnings

import pytest
import torch
from answers.survivors import SURVIVORS

from course_lib.grading import mutants, quiz, registry, report, source, verdict
from course_lib.grading.registry import CHAPTERS, FOLDER, Parsons, Prediction, Question, find

T = torch.tensor
EXERCISES = registry.exercise_ids()
COURSE_NAMES = {"torch", "math", "F", "Counter", "merge"}  # what stubs may use; notebooks have them

pytestmark = pytest.mark.filterwarnings("ignore")  # mistakes and mutants make torch warn


@pytest.fixture(params=EXERCISES)
def item(request):
    return find(request.param)


# ---- the source of each exercise -----------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_has_enough(chapter):
    found = registry.listing(chapter)
    assert len(found["define"]) >= 5
    assert len(found["prediction"]) >= 2
    assert len(found["question"]) >= 2
    for kind in found.values():
        assert len(set(kind)) == len(kind)
        assert all(name.startswith(chapter + ".") for name in kind)


def test_listing_agrees_with_what_is_registered():
    registered = {id for kind, id in registry._items if kind is registry.Exercise}
    assert set(EXERCISES) <= registered | set(EXERCISES)
    for id in EXERCISES:
        assert find(id).id == id


def test_words_are_all_there(item):
    assert 1 <= item.level <= 3 and item.minutes >= 5
    assert len(item.hints) >= 2 and all(len(hint) > 15 for hint in item.hints)
    for words in (item.task, item.insight, *(m.message for m in item.mistakes)):
        assert len(words) > 15 and words.rstrip()[-1] in ".:!?`)", words
    assert len(item.mistakes) >= 3
    assert len({m.key for m in item.mistakes}) == len(item.mistakes)
    assert len({m.message for m in item.mistakes}) == len(item.mistakes)
    assert item.reference.__doc__


def test_stub_is_blank_and_runs_without_error(item):
    stub = source.stub_text(item.text)
    marks = len(re.findall(r"#\|", item.text))
    function = source.build(stub, item.namespace)
    found = verdict.judge(item, function)
    assert found.kind == "blanks" and found.blanks == marks >= 1
    assert "#|" not in stub and "#|" not in item.solution


def test_stub_keeps_the_answers_back(item):
    stub = source.stub_text(item.text)
    for line in item.text.splitlines():
        if "#|" in line:
            code = line.partition("#|")[0].strip()
            answer = code.partition(" = ")[2] or code.removeprefix("return ")
            assert answer not in stub or len(answer) < 3


def test_exercise_uses_only_names_that_the_notebook_has(item):
    tree = ast.parse(item.text)
    known = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    known |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    builtin = set(dir(__builtins__)) | set(__builtins__ if isinstance(__builtins__, dict) else ())
    assert used - known - builtin - COURSE_NAMES == set()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_references_need_nothing_of_the_library(chapter):
    """So that a check grades the reader's code and nothing else."""
    tree = ast.parse((FOLDER / f"{chapter}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            package = node.module.partition(".")[0]
            assert package != "course_lib" or node.module == "course_lib.grading"


def test_no_exercise_takes_a_name_of_the_library():
    taken = {}
    for chapter in CHAPTERS:
        try:
            module = importlib.import_module(f"course_lib.{chapter}")
        except ModuleNotFoundError:
            continue
        taken |= dict.fromkeys(module.__all__, chapter)
    for id in EXERCISES:
        assert find(id).function_name not in taken, id


# ---- the check of each exercise ------------------------------------------------------------------


def test_reference_and_solution_pass(item):
    assert verdict.judge(item, item.reference).right
    assert verdict.judge(item, source.build(item.solution, item.namespace)).right


def test_every_mistake_is_named(item):
    for mistake in item.mistakes:
        for variant in mistake.variants:
            found = verdict.judge(item, item.variant(variant))
            assert (found.kind, found.keys) == ("mistake", (mistake.key,)), found.says
            assert found.says == [mistake.message]


def test_mistakes_differ_from_each_other_and_from_the_right_answer(item):
    right, outcomes = verdict.reference_outcomes(item), verdict.mistake_outcomes(item)
    assert len(outcomes) == sum(len(m.variants) for m in item.mistakes)  # none is endless
    for (first,), got in outcomes:
        assert got != right
        assert not all(o.error for o in got), (
            f"{first.key} raises everywhere: no value to tell it by"
        )
    for ((first,), one), ((second,), other) in itertools.combinations(outcomes, 2):
        assert first is second or one != other, (first.key, second.key)


def test_two_mistakes_at_once_never_pass(item):
    right = verdict.reference_outcomes(item)
    for mistakes, got in verdict.pair_outcomes(item):
        assert got != right, [m.key for m in mistakes]


def test_two_mistakes_at_once_are_named():
    """Both names, unless the pair cannot be told from a single mistake."""
    named, total = 0, 0
    for item in map(find, EXERCISES):
        singles = [got for _, got in verdict.mistake_outcomes(item)]
        for _, got in verdict.pair_outcomes(item)[::7]:
            if got in singles or all(o.error for o in got):
                continue
            want = verdict.reference_outcomes(item)
            wrong = [i for i, (a, b) in enumerate(zip(got, want)) if a != b]
            if len(wrong) <= 2 and verdict._edge(item, wrong) is not None:
                continue
            total += 1
            found = verdict._compare(item, item.reference, got, want)
            named += found.kind == "two"
            assert found.kind in ("two", "mistake")
    assert named == total > 30


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_answers_of_people(chapter):
    right, wrong = report.answers(chapter)
    for id, function in right:
        found = verdict.judge(find(id), function)
        assert found.right, (id, function.__code__.co_firstlineno, found)
    unnamed = [
        (id, keys, function.__code__.co_firstlineno)
        for id, keys, function in wrong
        if not report.named(find(id), keys, function)
    ]
    assert unnamed == []
    for id in registry.exercise_ids(chapter):
        assert sum(answer[0] == id for answer in right) >= 2
        assert sum(answer[0] == id for answer in wrong) >= 2


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_blind_mutants(chapter):
    """All are rejected but a reviewed list; a reason stands beside each entry of it."""
    rejected = total = 0
    for id in registry.exercise_ids(chapter):
        item, allowed = find(id), SURVIVORS.get(id, {})
        every = mutants.mutants(item)
        survivors = {words for words, text in every if mutants.survives(item, text)}
        assert survivors == set(allowed)
        assert all(len(reason) > 8 for reason in allowed.values())
        total += len(every)
        rejected += len(every) - len(survivors)
    assert rejected >= 0.95 * total


def test_checks_do_not_depend_on_a_seed():
    for id in EXERCISES:
        item = find(id)
        found = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            random.seed(seed)
            state = torch.get_rng_state()
            found.append(verdict.run(item, item.reference))
            assert torch.equal(state, torch.get_rng_state())
        assert found[0] == found[1]


def test_inputs_are_made_anew():
    """What one answer does to its inputs is not seen by the next."""
    for id in EXERCISES:
        first, second = find(id).probes(), find(id).probes()
        for a, b in zip(first, second):
            for x, y in zip(a, b):
                assert x is not y or not isinstance(x, (torch.Tensor, list, dict))


# ---- the references and the library --------------------------------------------------------------


def _library_adamw(lib, p, g, m, v, t, lr, b1, b2, eps, wd):
    """One step of the library's optimiser, started at the given state (a matrix, so it decays)."""
    shape = p.shape
    weight = torch.nn.Parameter(p.clone().reshape(len(p), -1))
    optimizer = lib.AdamW([("w", weight)], lr, (b1, b2), eps, wd)
    optimizer.t = t - 1
    optimizer.m["w"], optimizer.v["w"] = m.clone().view_as(weight), v.clone().view_as(weight)
    weight.grad = g.clone().view_as(weight)
    optimizer.step()
    after = weight.data, optimizer.m["w"], optimizer.v["w"]
    return tuple(x.reshape(shape) for x in after)


def _library_clip(lib, grads, max_norm):
    parameters = []
    for g in grads:
        parameters.append(torch.nn.Parameter(torch.zeros_like(g)))
        parameters[-1].grad = g.clone()
    lib.clip_gradients(parameters, max_norm)
    return [p.grad for p in parameters]


def _library_attention(lib, x, Wqkv, Wo, n_head):
    layer = lib.CausalSelfAttention(x.size(-1), n_head, bias=False)
    layer.qkv.weight.data, layer.proj.weight.data = Wqkv, Wo
    return layer(x)


def _library_count(lib, V, T, L, C):
    def count(layers):
        return lib.count_parameters(lib.GPTConfig(V, T, layers, 1, C))

    return count(L) if L else 2 * count(1) - count(2)  # the library wants a block


def _library_causal(lib, q, k, v):
    return lib.attend(q, k, v, lib.causal_mask(q.size(-2), k.size(-2)))


def _library_penalty(lib, logits, seen, penalty):
    marked = torch.zeros(len(logits), dtype=torch.bool)
    marked[seen] = True
    return lib.repetition_penalty(logits, marked, penalty)


def _library_cache(lib, q, k, v, past):
    room = (*k.shape[:2], past[0].size(2) + 1, k.size(3))
    cache = lib.LayerCache(torch.zeros(room), torch.zeros(room))
    cache.append(*past)
    keys, values = cache.append(k, v)
    return importlib.import_module("course_lib.attention").attend(q, keys, values), (keys, values)


LIBRARY = {
    "next_token.entropy": lambda lib, p: lib.entropy(p),
    "next_token.nll": lambda lib, probs, targets: lib.cross_entropy(probs.log(), targets),
    "tokenizer.pair_counts": lambda lib, words: lib.pair_counts(words),
    "tokenizer.merge": lambda lib, ids, pair, new_id: lib.merge(ids, pair, new_id),
    "tokenizer.encode": lambda lib, text, merges: lib.apply_merges(text.encode(), merges),
    "attention.causal_attention": _library_causal,
    "attention.split_heads": lambda lib, x, n_head: lib.split_heads(x, n_head),
    "attention.merge_heads": lambda lib, y: lib.merge_heads(y),
    "attention.multi_head_attention": _library_attention,
    "transformer.layer_norm": lambda lib, x, g, b, eps: lib.layer_norm(x, g, b, eps),
    "transformer.gelu": lambda lib, x: lib.gelu(x),
    "transformer.count_params": _library_count,
    "training.lm_loss": lambda lib, logits, idx: lib.lm_loss(logits[:, :-1], idx[:, 1:]),
    "training.adamw_step": _library_adamw,
    "training.lr_at": lambda lib, *schedule: lib.lr_at(*schedule),
    "training.clip_gradients": _library_clip,
    "sampling.with_temperature": lambda lib, z, t: lib.apply_temperature(z, t).softmax(-1),
    "sampling.top_k": lambda lib, logits, k: lib.top_k(logits, k),
    "sampling.nucleus": lambda lib, probs, p: lib.top_p(probs.log(), p).softmax(-1),
    "sampling.sample": lambda lib, probs, u: int(lib.draw(probs[None], T([u]))[0]),
    "sampling.repetition_penalty": _library_penalty,
    "sampling.attend_with_cache": _library_cache,
}


@pytest.mark.parametrize("id", LIBRARY)
def test_reference_equals_the_library(id):
    item = find(id)
    library = importlib.import_module(f"course_lib.{item.chapter}")
    own = verdict.run(item, lambda *arguments: LIBRARY[id](library, *arguments))
    assert own == verdict.reference_outcomes(item), [o.error for o in own]


def test_every_my_function_is_compared_with_the_library():
    for id in EXERCISES:
        item = find(id)
        if item.function_name.startswith("my_"):
            assert id in LIBRARY, id


# ---- predictions, questions, warm-ups ------------------------------------------------------------


@pytest.mark.parametrize("id", registry.ids("prediction"))
def test_truths_are_computed_and_stay(id):
    item = find(id, Prediction)
    truth = item.truth()
    assert truth == item.truth()
    assert math.isfinite(truth)
    assert len(item.question) > 40 and item.question.endswith("?") and len(item.why) > 40
    card = quiz.revealed(item, truth)
    assert card.colour == "#009E73"
    assert quiz.revealed(item, truth * 1.5 + 1).colour == "#D55E00"


@pytest.mark.parametrize("id", registry.ids("question"))
def test_questions(id):
    item = find(id, Question)
    assert item.id == id and item.question
    assert len(item.choices) >= 3
    assert [right for _, right, _ in item.choices].count(True) == 1
    assert len({text for text, _, _ in item.choices}) == len(item.choices)
    assert all(len(reason) > 15 for _, _, reason in item.choices)
    if item.truth is not None:
        numbers = [float(re.sub(r"[^\d.]", "", text)) for text, _, _ in item.choices]
        right = next(n for n, (_, right, _) in zip(numbers, item.choices) if right)
        assert right == item.truth() and numbers.count(right) == 1


def test_right_answers_stand_in_balanced_places():
    questions = [find(id, Question) for id in registry.ids("question")]
    places = [[right for _, right, _ in q.choices].index(True) for q in questions]
    for place in range(4):
        assert abs(places.count(place) - len(questions) / 4) <= 2, places
    longest = [max(range(len(q.choices)), key=lambda i: len(q.choices[i][0])) for q in questions]
    assert sum(a == b for a, b in zip(longest, places)) <= len(questions) * 0.6


@pytest.mark.parametrize("id", [f"{c}.{n}" for c in CHAPTERS[1:] for n in (1, 2, 3)])
def test_find_the_bug(id):
    item, mistake, text, wrong = quiz.bug(id)
    chapter = id.partition(".")[0]
    assert CHAPTERS.index(item.chapter) < CHAPTERS.index(chapter)
    good = item.bare.splitlines()
    differing = [n for n, (a, b) in enumerate(zip(text.splitlines(), good), 1) if a != b]
    assert differing == wrong and len(wrong) == 1
    found = verdict.judge(item, source.build(text, item.namespace))
    assert found.keys == (mistake.key,)
    assert quiz.bug(id)[:2] == (item, mistake)  # always the same one
    card, right = quiz.bug_card(id, wrong[0])
    assert right
    assert mistake.message.replace("*", "") in " ".join(repr(card).split()).replace("*", "")
    assert quiz.bug_card(id, wrong[0] + 1)[1] is False


def test_warm_ups_of_a_chapter_differ():
    for chapter in CHAPTERS[1:]:
        items = [quiz.bug(f"{chapter}.{n}")[0].id for n in (1, 2, 3)]
        assert len(set(items)) == 3 or chapter == "tokenizer", items


class _TwoBatches:
    """What the lines of the training step work on: a tiny model, two batches, plain descent."""

    def __init__(self):
        self.model = torch.nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.model.weight.copy_(torch.tensor([[0.5, -0.25]]))
        x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
        self.space = {
            "batches": iter([(x, x[:, :1] * 2), (x * 0.5, x[:, 1:]), (x + 1, x[:, :1])]),
            "model": self.model,
            "lm_loss": torch.nn.functional.mse_loss,
            "clip_gradients": lambda p, max_norm: torch.nn.utils.clip_grad_norm_(p, max_norm),
            "optimizer": torch.optim.SGD(self.model.parameters(), lr=0.1),
        }

    def run(self, lines):
        """Three rounds of the lines; the weights after each of them, or None for an error."""
        weights = []
        try:
            for _ in range(3):
                for line in lines:
                    exec(line, self.space)
                weights.append([round(w, 5) for w in self.model.weight.flatten().tolist()])
        except (NameError, RuntimeError, StopIteration):
            return None
        return weights


def test_order_of_the_training_step():
    """The rules accept exactly the orders that compute what the right order computes."""
    item = find("training.step", Parsons)
    assert sorted(item.shuffled) == list(range(len(item.lines)))
    right = _TwoBatches().run(item.lines)
    assert right is not None
    orders = list(itertools.permutations(range(len(item.lines))))
    fits = [o for o in orders if all(t(_places(o)) for t, _ in item.rules)]
    assert len(fits) == 5
    for order in fits + orders[::17]:
        same = _TwoBatches().run([item.lines[i] for i in order]) == right
        assert same == (order in fits), [item.lines[i] for i in order]


def _places(order):
    return {line: place for place, line in enumerate(order)}


def test_every_reason_of_the_training_step_is_given_for_some_order():
    item = find("training.step", Parsons)
    given = set()
    for order in itertools.permutations(range(len(item.lines))):
        broken = [reason for fits, reason in item.rules if not fits(_places(order))]
        given.update(broken[:1])
    assert given == {reason for _, reason in item.rules}


def test_report():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [report.row(chapter, with_mutants=False) for chapter in CHAPTERS[:2]]
    assert [r.exercises for r in rows] == [5, 5]
    text = report.table(rows)
    assert "next_token" in text and text.splitlines()[-1].startswith("all")
