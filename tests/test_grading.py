"""The machinery of the exercises: what it says, what it returns, what it never does."""

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch

from course_lib import machine
from course_lib.grading import compare, progress, quiz, reader, registry, runner, source, verdict
from course_lib.grading.probes import edge, mixed
from course_lib.grading.registry import Exercise, Mistake
from course_lib.grading.show import BLUE, Card

ROOT = Path(__file__).parent.parent
ID = "attention.causal_attention"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder of its own for every test, and a session in which nothing has happened."""
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.setattr(reader, "_session", {"current": None, "functions": {}, "hints": {}})
    monkeypatch.setattr(progress, "_memory", {})
    return tmp_path


def submit(id, text, keep=False, **names):
    """Do what running a cell with this text does; return what the reader's name is bound to."""
    function = source.build(textwrap.dedent(text), {"torch": torch, "math": math, **names}, "cell")
    return reader.exercise(id, keep)(function)


RIGHT = """
    def mine(q, k, v):
        n = q.shape[-2]
        s = q @ k.mT / math.sqrt(q.shape[-1])
        later = torch.ones(n, n, device=q.device).triu(1) > 0
        return s.masked_fill(later, -1e30).softmax(-1) @ v
"""


# ---- text of functions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, blanked",
    [
        ("x = f(1) + 2  #| why", "x = ____  # why"),
        ("return a @ b  #| mix", "return ____  # mix"),
        ("i += 2  #| how far?", "i += ____  # how far?"),
        ("out.append(i)  #| keep it", "____  # keep it"),
        ("a, b = 1, 2  #| both", "a, b = ____  # both"),
        ("x[i] = 3  #|", "x[i] = ____"),
        ("é = 'ü'  #| beyond ASCII", "é = ____  # beyond ASCII"),
        ("x: int = 3  #| typed", "x: int = ____  # typed"),
        ("return (a +\n            b)  #| two lines", "return ____  # two lines"),
        ("x = (\n            a\n        )  #| in brackets", "x = ____  # in brackets"),
    ],
)
def test_stub_of_a_line(line, blanked):
    stub = source.stub_text(f"def f(a, b, x, i, out):\n    before = 1\n    {line}\n    after = 2\n")
    assert stub == (f"def f(a, b, x, i, out):\n    before = 1\n    {blanked}\n    after = 2\n")


@pytest.mark.parametrize("head", ["if a > b:", "while a > b:", "for a in b:"])
def test_stub_of_a_header(head):
    stub = source.stub_text(f"def f(a, b):\n    {head}  #| when?\n        return a\n")
    words = head.split()
    start = f"{words[0]} a in" if words[0] == "for" else words[0]
    assert stub == f"def f(a, b):\n    {start} ____:  # when?\n        return a\n"


def test_solution_and_bare_text():
    text = 'def f(x):\n    """Doc # no comment."""\n    y = x  #| why\n\n    return "#"  # so\n'
    assert source.solution_text(text).splitlines()[2] == "    y = x  # why"
    assert source.bare(source.solution_text(text)) == (
        'def f(x):\n    """Doc # no comment."""\n    y = x\n    return "#"\n'
    )


def test_patch_must_match_exactly_once():
    assert source.patched("a + b", {"a": "c"}, {"b": "d"}) == "c + d"
    assert source.patched("a + b", {"a +": "c"}, {"+ b": "d"}) is None  # they overlap
    with pytest.raises(ValueError, match="exactly once, and 'a' occurs 2 times"):
        source.patched("a + a", {"a": "b"})
    with pytest.raises(ValueError, match="occurs 0 times"):
        source.patched("a", {"b": "c"})


def test_blanks_are_counted_in_the_source_and_never_run():
    function = source.build("def f(x):\n    ____()\n    return [____ for ____ in x]  # ____\n", {})
    assert source.count_blanks(function) == 4 - 1 + 0 or source.count_blanks(function) == 3
    namespace = {}
    exec("def g(x):\n    return ____ + x", namespace)  # no source to be found
    assert source.count_blanks(namespace["g"]) == 1


def test_function_text_leaves_decorators_out():
    text = "def deco(id):\n    return lambda f: f\n"
    function = source.build(
        "@deco('x')\n@deco('y')\ndef f(x):\n    # note\n    return x\n",
        {"deco": lambda i: lambda f: f},
    )
    assert source.function_text(function) == "def f(x):\n    # note\n    return x\n"
    assert source.first_function(text).name == "deco"


# ---- comparing -----------------------------------------------------------------------------------

T = torch.tensor


@pytest.mark.parametrize(
    "got, want",
    [
        (1.0, T(1.0)), (T(1.0), 1.0), (2, 2.0), (2.0, 2), (T(2), 2), (True, 1),
        (T([1.0, 2.0]).double(), T([1.0, 2.0])), (T([1, 2]), T([1.0, 2.0])),
        ([1, 2], (1, 2)), ((1, 2), [1, 2]), (iter([1, 2]), [1, 2]), (T([1, 2]), [1, 2]),
        ([T(1.0), 2.0], (1.0, T(2.0))), (T([[1.0], [2.0]]), (T([1.0]), T([2.0]))),
        (Counter("aab"), {"a": 2, "b": 1}), (T([1.0], requires_grad=True), T([1.0])),
        (T([float("-inf"), 1.0]), T([float("-inf"), 1.0])), (1.00001, 1.0),
        (T([1e-9, 1.0]), T([0.0, 1.0])), (bytearray(b"a"), b"a"), (None, None),
        (T([float("nan")]), T([float("nan")])),
    ],
)  # fmt: skip
def test_same(got, want):
    assert compare.same(got, want)


@pytest.mark.parametrize(
    "got, want",
    [
        (None, 0), (1.001, 1.0), (T([1.0, 2.0]), T([[1.0, 2.0]])), ([1.0, 2.0], T([1.0, 2.0])),
        (T([1.0, 2.0]), T([1, 2])), (T([1, 0]), T([True, False])), ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"a": 1, "b": 0}), ("a", "b"), ("a", b"a"), (1, "1"), ("1", 1), (len, 1),
        (T([float("nan")]), T([0.0])), (T([1e9]), T([float("inf")])), (T([1.0]), 1.0),
        ([[1], [1, 2]], [[1], [2, 2]]),
    ],
)  # fmt: skip
def test_not_same(got, want):
    assert not compare.same(got, want)


M = T([[1.0, 2.0, 3.5], [4.0, 5.5, 7.0]])


@pytest.mark.parametrize(
    "got, want, key",
    [
        (None, M, "nothing"), (..., M, "ellipsis"), ("text", M, "wrong_type"),
        (M, [1], "wrong_shape"),
        (M.tolist(), M, "wrong_type"), (M * float("nan"), M, "not_a_number"),
        (M.T, M, "transposed"), (M[0], M, "wrong_shape"), (M[None], M, "wrong_shape"),
        (-M, M, "sign"), (3 * M, M, "factor"), (M + 2, M, "offset"), (M.exp(), M, "exponential"),
        (M.log(), M, "logarithm"), (T([1.0, 2.0, 3.0]), T([1, 2, 3]), "wrong_kind"),
        (T([9.0, 1, 2, 4]), T([1.0, 2, 4, 8]), "shifted"),
        (T([2.0, 4, 8, 9]), T([1.0, 2, 4, 8]), "shifted"),
        (T([4.0, 2, 1]), T([1.0, 2, 4]), "reversed"), (T([0.1, 0.2]), T([0.3, 0.7]), "rows"),
        (T([2.0, 1, 8, 4]), T([1.0, 2, 4, 8]), "order"), ((1, 5), (1, 2), "part"),
        ((2, 1), (1, 2), "part"),
        (M.argmax(-1), M, "places"), (M.sum(0), M, "added_up"), (M.mean(1), M, "added_up"),
        (M**2, M, "power"), (M.sqrt(), M, "power"), (1 / M, M, "power"), (0.04, 0.2, "power"),
        ((M - 4).abs(), M - 4, "absolute"), ((M - 4).relu(), M - 4, "absolute"),
        (M.floor(), M, "rounded"), (2, 2.7, "rounded"), (M.softmax(-1), M, "softmaxed"),
        (M.log_softmax(-1), M, "softmaxed"), ([1, 2, 3], [1, 2], "length"),
        ((M.T, M[:, :2].T), (M, M[:, :2]), "part"), ([M.T, M], (M, M), "part"),
        (T([1.0, -1e9]), T([1.0, -math.inf]), "not_infinite"),
        ([1], [1, 2], "length"), ({"a": 1}, {"b": 1}, "keys"),
        ({"a": 1}, Counter("b"), "keys"),
    ],
)  # fmt: skip
def test_relations(got, want, key):
    found = compare.relation([(got, want)])
    assert found is not None and found[0] == key, found


def test_a_list_that_is_right_so_far():
    said = compare.relation([(["a"], ["a", "b"])])[1]
    assert said.endswith("expected are 2. They are right, and the rest is missing.")
    assert compare.relation([(["c"], ["a", "b"])])[1].endswith("expected are 2.")


@pytest.mark.parametrize(
    "body, said",
    [
        ("return x", "You return `x` as it is."),
        ("return 3 * x + n", "Your result is the expected one *plus* `x`."),
        ("return (2 * x + n) * x", "Your result is the expected one *times* `x`."),
    ],
)
def test_relations_to_an_input(body, said):
    found = judged(body)
    assert (found.kind, found.keys, found.says) == ("relation", ("input",), [said])


def test_relations_to_an_input_inside_a_tuple():
    two = compare.to_inputs([((M - M, 1), (M, 1), {"x": M}), ((M * 0, 2), (M, 2), {"x": M})])
    assert two == (
        "input",
        "Number 1 of what you return is wrong, the rest right. "
        "Your result is the expected one *minus* `x`.",
    )


def test_relations_must_hold_everywhere():
    assert compare.relation([(-M, M), (M + 1, M)]) is None
    assert compare.relation([(-M, M), (-M, M)])[0] == "sign"
    assert compare.relation([(2 * M, M), (3 * M, M)])[0] == "factor"
    assert compare.relation([(M.T, M), (M[:1].T, M[:1])])[0] == "transposed"
    endless = T([5.0, math.inf])
    assert compare.relation([(T([1.0, 2.0]), endless)]) is None


def test_shape_sentences():
    def say(got, want):
        return compare.relation([(got, want)])[1]

    assert "only an axis of size 1" in say(M[None], M)
    assert "right order" in say(M.view(3, 2), M) or "transposed" in say(M.view(3, 2), M)
    assert "first axis is gone" in say(M[0], M)
    assert say((M.T, M[:, 1:].T), (M, M[:, 1:])).startswith(
        "In each of the 2 things you return: Your"
    )
    assert "is wrong and the rest is right. Every number has" in say((M, -M), (M, M))


def test_worst_entry():
    wrong = M.clone()
    wrong[1, 2] = 9
    assert compare.worst(wrong, M) == "At [1, 2]: yours 9, expected 7. 1 of 6 numbers are wrong."
    assert compare.worst(3, 4) == "Yours is 3, expected 4."
    assert compare.worst([1, 5], [1, 2]).startswith("At [1]: yours 5, expected 2")
    assert (
        compare.worst("abd", "abc")
        == "Up to position 2 it is right. Yours: 'abd'. Expected: 'abc'."
    )
    assert compare.worst({"a": 1}, {"a": 2}) == "At 'a': yours 1, expected 2."
    extra = compare.worst({"a": 1, "b": 3}, {"a": 1})
    assert extra == "At 'b': yours 3, and nothing is expected there."
    assert compare.worst([[1], "x"], [[1], "y"]).startswith("The first wrong entry is number 1")


def test_short_values():
    assert compare.short(M) == "[[1.000, 2.000, 3.500],\n [4.000, 5.500, 7.000]]"
    assert compare.short(torch.zeros(100)) == "numbers of shape (100,)"
    assert compare.short(T(-0.0)) == compare.short(-0.0) == "0"
    assert compare.short([T([1.0]), "a"]) == "[[1.000], 'a']"
    assert compare.short("x" * 500).endswith("...")


# ---- the time limit ------------------------------------------------------------------------------

LOOPS = {
    "plain": "while True:\n        pass",
    "catches exceptions": (
        "while True:\n        try:\n            x = 1\n        except Exception:\n            pass"
    ),
    "catches everything": (
        "for _ in range(10**9):\n        try:\n            x = 1\n        except:\n            pass"
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_endless_loops_are_stopped(loop):
    function = source.build(f"def f():\n    {LOOPS[loop]}\n", {})
    before = threading.active_count()
    with pytest.raises(runner.Endless) as caught:
        runner.limited(function, seconds=0.2)
    assert any(name == function.__code__.co_filename for name, _ in caught.value.places)
    assert not caught.value.alive
    for _ in range(50):
        if threading.active_count() == before:
            break
        time.sleep(0.05)
    assert threading.active_count() == before


def test_limit_lets_everything_else_through():
    assert runner.limited(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        runner.limited(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        runner.limited(lambda: sys.exit(3))


def test_deep_recursion_is_an_exception_and_no_crash():
    function = source.build("def f(n):\n    return f(n + 1)\n", {})
    with pytest.raises(RecursionError):
        runner.limited(lambda: function(0))


# ---- the verdicts, in their order ----------------------------------------------------------------


def toy(reference_text, probes, *mistakes, meta=True, gradient=True, beyond=list):
    """An exercise that is not part of the course."""
    reference = source.build(textwrap.dedent(reference_text), {"torch": torch})
    reference.__module__ = __name__
    words = ("Do it.", ("One.", "Two."), "Good.")
    return Exercise(reference, *words, probes, mistakes, 1, 5, meta, gradient, beyond)


TOY = toy(
    """
    def double_and_add(x, n):
        y = x * 2  #| twice
        return y + n  #| and n more
    """,
    lambda: [(T([1.0, 2.0, 4.0]), 3), (T([[0.5, 5.0], [1.5, 2.5]]), 1), (T([3.0, 8.0]), 7)],
    Mistake("no_double", "You do not double.", {"x * 2": "x"}),
    Mistake("minus", "You subtract.", {"y + n": "y - n"}),
    Mistake("n_twice", "You add n twice.", {"+ n": "+ 2 * n"}),
)


def judged(body, item=TOY, **names):
    """The verdict on a function with this body."""
    text = "def mine(x, n):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return verdict.judge(item, source.build(text, {"torch": torch, **names}))


def test_verdict_blanks():
    found = judged("y = ____\nreturn ____")
    assert (found.kind, found.blanks) == ("blanks", 2)


def test_verdict_right():
    assert judged("return x + x + n").right
    assert judged("return torch.stack([2 * row + n for row in x])").right


def test_verdict_mistake():
    assert judged("return n + x").keys == ("no_double",)


def test_verdict_two_at_once():
    found = judged("return x - n")
    assert found.kind == "two" and found.keys == ("no_double", "minus")
    assert found.says == ["You do not double.", "You subtract."]


def test_verdict_looks_like():
    found = judged("return x * 2 - n if x.dim() == 1 else x * 7")
    assert (found.kind, found.keys) == ("like", ("minus",))


def test_verdict_error_with_own_line_and_shapes():
    found = judged("rows = x.flatten()\nreturn rows @ torch.ones(2, n)")
    assert found.kind == "error" and found.keys == ("RuntimeError",)
    text = "\n".join(found.says)
    assert "In your line: `return rows @ torch.ones(2, n)`" in text
    assert "`rows` has shape (3,)" in text and "`n` is 3" in text


def test_verdict_error_on_some_inputs():
    found = judged("return x @ x.T * 0 + x * 3 + n if x.dim() == 2 and n > 5 else x[9]")
    assert found.kind == "error"
    assert "IndexError" in found.says[0] and "last entry of n is number n - 1" in found.says[-1]


def test_verdict_missing_import_is_explained():
    assert any("run the cell with the imports" in s for s in judged("return math.sqrt(n) * x").says)


def test_verdict_endless(monkeypatch):
    monkeypatch.setattr(runner, "LIMIT", 0.3)
    found = judged("while n > 0:\n    n += 1\nreturn x")
    assert found.kind == "endless"
    assert "does not come to an end" in found.says[0]
    assert found.says[1] in ("It was in this line: `n += 1`", "It was in this line: `while n > 0:`")


def test_verdict_changed_in_place():
    found = judged("x *= 2\nreturn x + n")
    assert (found.kind, found.keys) == ("changed", ("x",))
    assert "`x = x + ...` makes one" in found.says[0]


def test_changed_in_place_after_mistakes():
    assert judged("x += n\nreturn x").keys == ("no_double",)


def test_a_right_answer_for_the_cpu_alone_is_told_so():
    found = judged("return x * 2 + torch.full((1,), float(n))")
    assert found.right and "on a GPU it would crash" in found.says[1]
    assert "In your line: `return x * 2 + torch.full((1,), float(n))`" in found.says[2]
    away = judged("return torch.zeros(x.shape) + 2 * torch.ones(x.shape) + n - 2"
                  " if x.device.type == 'meta' else 2 * x + n")  # fmt: skip
    assert away.right and "the result is on the CPU" in away.says[1]
    made = judged("out = torch.zeros(x.shape)\nfor i, a in enumerate(x.tolist()):\n"
                  "    out[i] = torch.tensor(a) * 2 + n\nreturn out")  # fmt: skip
    assert made.right  # .tolist() is fine, only not possible on `meta`
    right = judged("return x * 2 + torch.full((1,), float(n), device=x.device)")
    assert right.right and right.says == ["Good."]


def test_a_right_answer_without_gradients_is_told_so():
    found = judged("return torch.tensor(x.tolist()) * 2 + n")
    assert found.right and "no gradient passes through" in found.says[1]
    assert judged("return x * 2 + n").says == ["Good."]


def test_gradients_are_not_asked_for_where_an_exercise_says_so():
    silent = dataclasses.replace(TOY, gradient=False, cache={})
    assert judged("return torch.tensor(x.tolist()) * 2 + n", silent).says == ["Good."]


def test_the_look_for_gradients_warns_of_nothing():
    scalar = toy("def f(x, n):\n    return x + n  #| add\n", lambda: [(T(1.0), 2), (T(3.0), 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judged("return torch.tensor(x.item()) + n + 0 * float(x)", scalar)
    assert found.right and "no gradient passes through" in found.says[1]


def test_device_advice_fits_any_constructor():
    found = judged("return x * 2 + torch.arange(n, n + 1)")
    assert "give it `device=x.device`" in found.says[1] and "torch." not in found.says[1]


@pytest.mark.parametrize(
    "body",
    [
        "return x * 2 + n + torch.rand(1)",
        "return (x + 1) * torch.randint(2**20, x.shape)",
        "calls.append(n)\nreturn x * 2 + n if len(calls) <= 3 else x",  # right at first
    ],
)
def test_verdict_random(body):
    found = judged(body, calls=[])
    assert found.kind == "random" and not found.right
    assert "Two calls with the same input gave different results" in found.says[0]


def test_a_result_that_stays_the_same_is_not_random():
    seeded = "torch.manual_seed(n)\nreturn x * 2 + n + torch.rand(x.shape)"
    assert judged(seeded).kind == "value"
    assert judged("return x * float('nan')").keys == ("not_a_number",)
    assert judged("print(n)\nreturn x * 2 + n").evidence[-1][1].splitlines() == ["3", "1", "7"]


def test_a_slow_answer_runs_once():
    calls = []
    body = "calls.append(n)\ntime.sleep(0.4)\nreturn x * 2 + n"
    slow = dataclasses.replace(TOY, meta=False, cache={})
    assert judged(body, slow, calls=calls, time=time).right
    assert len(calls) == 3


def test_a_like_verdict_needs_most_of_the_inputs():
    """A mistake that goes wrong on many more inputs than the answer is not the answer's."""
    numbers = [-4.0, -3.0, -2.0, -1.0, 1.0, 2.0]
    item = toy(
        "def f(x, n):\n    return x + n  #| add\n",
        lambda: [(T([x]), 1) for x in numbers],
        Mistake("minus", "You subtract.", {"x + n": "x - n"}),
    )
    assert judged("return x - n if x < 0 else x * 9", item).keys == ("minus",)
    assert judged("return x - n if x > 1 else x + n", item).kind != "like"
    few = judged("return x - n if x < -2 else x * 9 if x == 1 else x + n", item)
    assert few.kind != "like"


def test_verdict_relation_and_value():
    assert judged("return -(x * 2 + n)").keys == ("sign",)
    assert judged("pass").keys == ("nothing",)
    found = judged("return x * 2 + n + 0.1 * x**3")
    assert found.kind == "value" and found.says[0].startswith("At [2]: yours")


def test_a_mistake_can_be_a_function():
    item = toy(
        "def f(x, n):\n    return x + n  #| add\n",
        lambda: [(T([1.0, 2.0]), 3), (T([0.5, 4.0]), 2)],
        Mistake("minus", "You subtract.", {"x + n": "x - n"}),
        Mistake("power", "You raise it to a power.", lambda x, n: x**n),
    )
    assert judged("return torch.pow(x, n)", item).keys == ("power",)
    assert judged("return -(n - x)", item).keys == ("minus",)


def test_an_answer_that_fails_at_an_edge_only_is_told_which():
    item = toy(
        "def f(x, n):\n    return x / n if n else x * 0  #| divide\n",
        lambda: [
            (T([1.0, 2.0]), 3),
            (T([4.0, 1.0]), 2),
            edge("zero", "Nothing is 0.", T([1.0]), 0),
        ],
        Mistake("times", "You multiply.", {"x / n": "x * n"}),
    )
    found = judged("return T([x.tolist()[0] // n]) if n == 0 else x / n", item, T=T)
    assert (found.kind, found.keys) == ("mistake", ("zero",))
    assert found.says == ["`ZeroDivisionError`: float floor division by zero", "Nothing is 0."]
    assert judged("return x / n if n else x", item).says == ["Nothing is 0."]
    both = dataclasses.replace(item, cache={}, probes=lambda: [
        *item.probes(), mixed(T([4.0, 2.0]), 0)])  # fmt: skip
    assert judged("return x / n if n else x", both).keys == ("zero",)
    assert judged("return x / n if n else x * (len(x) - 1)", both).kind != "mistake"
    assert judged("return x * n if n else x", item).keys == ("times",)  # not at the edge alone


def test_a_right_answer_hears_of_edges_that_nobody_demands():
    item = toy(
        "def f(x, n):\n    return (x - x).exp() * n  #| n\n",
        lambda: [(T([1.0, 2.0]), 3), (T([4.0, 1.0]), 2)],
        beyond=lambda: [edge("large", "Large numbers overflow.", T([300.0]), 2)],
    )
    assert judged("return x.exp() / x.exp() * n", item).says == [
        "Good.", "One remark: Large numbers overflow."]  # fmt: skip
    assert judged("return 0 * x + n", item).says == ["Good."]


def test_exit_and_interrupts_are_only_wrong_answers():
    assert judged("raise SystemExit").kind == "error"
    assert judged("raise KeyboardInterrupt").kind == "error"


@pytest.mark.parametrize(
    "value",
    [
        "torch",
        "torch.Tensor",
        "torch.Tensor.sum",
        "lambda: 1",
        "iter([x])",
        "object()",
        "[[]]",
        "{1: x}",
        "x.to_sparse()",
        "x + 1j",
        "float('nan')",
        "...",
    ],  # fmt: skip
)
def test_strange_values_are_wrong_answers(value):
    assert judged(f"return {value}").kind in ("relation", "value", "error")


def test_what_was_printed_is_shown():
    found = judged("print('shape', tuple(x.shape))\nreturn x")
    assert ("What your function printed", "shape (3,)\nshape (2, 2)\nshape (2,)") in found.evidence


def test_evidence_shows_input_expected_and_yours():
    title, text = judged("return x + n").evidence[0]
    assert "number 1" in title
    assert "x = [1.000, 2.000, 4.000]" in text and "expected:\n[5.000, 7.000, 11.000]" in text


# ---- cards ---------------------------------------------------------------------------------------


def every_card():
    item = registry.find(ID)
    kinds = ["blanks", "right", "mistake", "two", "like", "error", "endless", "changed", "random"]
    for kind, tries in itertools.product(kinds, (1, 3)):
        found = verdict.Verdict(kind, ["Use `a < b` & *not* **this**."], (), [("fold", "1 < 2")], 2)
        yield reader.card(item, found, tries)
    for id in registry.ids("question"):
        question = registry.find(id, registry.Question)
        yield quiz.posed(question)
        yield from (quiz.answered(question, letter)[0] for letter in "abcd")
    yield quiz.bug_card("transformer.1", None)[0]
    yield quiz.order_card(registry.find("training.step", registry.Parsons), None)[0]
    yield reader.progress_card()


def test_html_needs_nothing():
    for card in every_card():
        html = card._repr_html_()
        for forbidden in ("<script", "<style", "class=", " id=", "onclick", "javascript", "<svg"):
            assert forbidden not in html
        assert html.count("<div") == html.count("</div>")
        assert html.count("<details") == html.count("</details>")
        colours = [part.split(";")[0].split("'")[0] for part in html.split("color:")[1:]]
        assert all(c == "inherit" or "background-" not in c for c in colours)
        assert "color:#" not in html.replace("border-left", "").replace("background", "")


def test_text_is_complete_and_html_escaped():
    card = Card(BLUE, "a < b", "Say `x < y` & *this* **now**.").fold("more", "1 < 2").code("p & q")
    text, html = repr(card), card._repr_html_()
    for part in ("a < b", "Say `x < y` & this now.", "more:", "1 < 2", "p & q"):
        assert part in text
    assert "a &lt; b" in html and "<details" in html and "1 &lt; 2" in html
    assert "<b>now</b>" in html and "<i>this</i>" in html and "<code" in html
    assert "w * h * d" in repr(Card(BLUE, "t", "w * h * d"))


def test_text_lines_are_not_too_long():
    for card in every_card():
        assert max(map(len, repr(card).splitlines())) <= 110


def test_unfilled_text_is_the_same_for_everybody(capsys):
    stub = reader.stub_source(ID).partition("\n")[2]
    submit(ID, stub)
    first = capsys.readouterr().out
    submit(ID, RIGHT)
    capsys.readouterr()
    submit(ID, stub)
    assert capsys.readouterr().out == first
    assert first == (
        "○ attention.causal_attention: not yet: 5 blanks left\n"
        "  Difficulty ●●○, about 10 min. Replace each `____` and run the cell again. "
        "`hint()` helps.\n"
        "  Until then, the cells below use the course's version.\n"
    )


# ---- the reader's side ---------------------------------------------------------------------------


def test_run_all_never_stops(capsys):
    reference = registry.find(ID).reference
    assert submit(ID, reader.stub_source(ID).partition("\n")[2]) is reference
    assert submit(ID, "def mine(q, k, v):\n    return q.nonsense") is reference
    assert submit(ID, "def mine():\n    return 1") is reference
    assert "Until it is right, the cells below use the course's version." in capsys.readouterr().out


def test_right_answer_is_used_kept_and_brought_back(capsys, home):
    mine = submit(ID, RIGHT)
    assert mine.__name__ == "mine"
    out = capsys.readouterr().out
    assert "right" in out and "The course's own solution:" in out and "causality" in out
    saved = home / "my_gpt" / "attention" / "causal_attention.py"
    text = saved.read_text(encoding="utf-8")
    assert "import math\nimport torch\n" in text and "later = torch.ones" in text
    again = reader.yours(ID)
    assert again.__code__.co_filename == str(saved)
    assert capsys.readouterr().out == f"{ID}: your own version.\n"
    code = "from my_gpt.attention.causal_attention import mine; print(mine.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True)
    assert done.stdout == "mine\n"


def test_yours_checks_again(capsys, home):
    reference = registry.find(ID).reference
    assert reader.yours(ID) is reference
    assert "the course's version (you have not solved it yet)" in capsys.readouterr().out
    submit(ID, RIGHT)
    saved = home / "my_gpt" / "attention" / "causal_attention.py"
    saved.write_text(saved.read_text().replace("triu(1)", "triu(2)"))
    capsys.readouterr()
    assert reader.yours(ID) is reference
    assert "your saved one no longer passes" in capsys.readouterr().out
    saved.write_text("this is no Python")
    assert reader.yours(ID) is reference


def test_an_answer_for_the_cpu_is_not_used_on_a_gpu(capsys, home, monkeypatch):
    submit(ID, RIGHT)
    monkeypatch.setattr(machine, "device", lambda: "cuda")
    capsys.readouterr()
    assert reader.yours(ID).__name__ == "mine"
    submit(ID, RIGHT.replace("device=q.device", ""))
    assert "on a GPU it would crash" in capsys.readouterr().out
    assert reader.yours(ID) is registry.find(ID).reference
    assert "yours makes tensors on the CPU, and the model is on a GPU" in capsys.readouterr().out
    monkeypatch.setattr(machine, "device", lambda: "cpu")
    assert reader.yours(ID).__name__ == "mine"


def test_helpers_are_saved_with_the_answer():
    space = {"torch": torch, "SCALE": 0.5, "wide": {1: 2}}
    helper = source.build(
        "def weights(q, k):\n    return (q @ k.mT * q.shape[-1]**-SCALE)\n", space
    )
    text = """
        def mine(q, k, v):
            hidden = torch.ones(q.shape[-2], q.shape[-2], device=q.device).triu(1).bool()
            return F.softmax(weights(q, k).masked_fill(hidden, -1e30), dim=-1) @ v
    """
    submit(ID, text, weights=helper, F=torch.nn.functional)
    assert reader.yours(ID).__name__ == "mine"
    saved = reader.own.path(registry.find(ID)).read_text(encoding="utf-8")
    assert "import torch.nn.functional as F" in saved and "SCALE = 0.5" in saved


def test_keep_returns_a_wrong_answer(capsys):
    wrong = RIGHT.replace("triu(1)", "triu(2)")
    assert submit(ID, wrong, keep=True).__name__ == "mine"
    assert "You keep your version: watch what it does below." in capsys.readouterr().out
    assert (
        submit(ID, "def mine(q, k, v):\n    return ____", keep=True) is registry.find(ID).reference
    )


def test_tries_count_different_texts(capsys):
    wrong = RIGHT.replace("triu(1)", "triu(2)")
    for _ in range(4):
        submit(ID, wrong)
    assert progress.entry("exercises", ID)["tries"] == 1
    assert "solution()" not in capsys.readouterr().out
    submit(ID, wrong.replace("1e30", "1e20"))
    submit(ID, wrong.replace("1e30", "1e10"))
    assert "`solution()` shows the course's own" in capsys.readouterr().out


def test_hints_come_one_at_a_time(capsys):
    submit(ID, RIGHT)
    capsys.readouterr()
    hints = registry.find(ID).hints
    for n, text in enumerate(hints, 1):
        reader.hint()
        out = " ".join(capsys.readouterr().out.split())
        assert f"hint {n} of {len(hints)}" in out and text in out
        assert all(other not in out for other in hints if other != text)
    reader.hint()
    assert "those were all the hints" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Did you mean 'attention.causal_attention'"):
        reader.hint("attention.causal_atention")


def test_solution_check_and_reset(capsys, home):
    reader.hint()  # nothing was run: the course's first exercise
    assert "next_token.bigram_counts: hint 1" in capsys.readouterr().out
    reader.solution(ID)
    out = capsys.readouterr().out
    assert "You have not tried yet" in out and "return weights @ v  # mix the values" in out
    reader.check(ID)
    assert "nothing to check yet" in capsys.readouterr().out
    submit(ID, RIGHT)
    reader._session["functions"].clear()
    capsys.readouterr()
    reader.check(ID)  # the saved one
    assert "right" in capsys.readouterr().out.splitlines()[0]
    reader.check(ID, lambda q, k, v: q)
    assert "not right yet" in capsys.readouterr().out
    reader.reset()
    assert reader.stub_source(ID).splitlines()[0] in capsys.readouterr().out
    assert progress.entry("exercises", ID) == {}
    assert not (home / "my_gpt" / "attention" / "causal_attention.py").exists()


def test_a_fault_of_the_checker_does_not_stop_the_reader(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("oops")

    monkeypatch.setattr(verdict, "judge", fail)
    assert submit(ID, RIGHT) is registry.find(ID).reference
    assert "a fault of the course and not of your answer" in " ".join(
        capsys.readouterr().out.split()
    )


def test_predict_and_reveal(capsys):
    id = "attention.share_of_the_future"
    reader.predict(id, reader.____)
    assert "not yet" in capsys.readouterr().out
    for nonsense in ("a lot", None, True, float("nan")):
        reader.predict(id, nonsense)
        assert "not yet" in capsys.readouterr().out
    reader.reveal(id)
    assert "It is 0.875." in (out := capsys.readouterr().out) and "You made no prediction" in out
    reader.predict(id, torch.tensor(0.5))
    assert "noted" in capsys.readouterr().out
    reader.reveal(id)
    assert "You said 0.5: off by 0.375." in capsys.readouterr().out
    reader.predict(id, 0.87)
    reader.reveal(id)
    assert "close enough" in capsys.readouterr().out


def test_quiz_has_a_reason_for_every_choice(capsys):
    id = "attention.why_scale"
    question = registry.find(id, registry.Question)
    reader.quiz(id)
    out = capsys.readouterr().out
    assert all(text[:40] in out for text, _, _ in question.choices)
    assert not any(reason[:40] in out for _, _, reason in question.choices)
    for letter, (_, right, reason) in zip("ABCD", question.choices):
        reader.quiz(id, letter)
        out = capsys.readouterr().out
        assert reason[:40] in out and ("is right" in out) == right
        assert progress.entry("questions", id)["right"] == (letter in "BCD")
    reader.quiz(id, "z")
    assert "There is no choice 'z'." in capsys.readouterr().out


def test_find_the_bug_and_order_lines(capsys):
    line = quiz.bug("transformer.1")[3][0]
    reader.find_the_bug("transformer.1")
    assert "One line does not do" in capsys.readouterr().out
    reader.find_the_bug("transformer.1", line)
    assert f"line {line} it is" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no warm-up"):
        reader.find_the_bug("next_token.1")
    reader.order_lines("training.step")
    assert "a   loss.backward()" in capsys.readouterr().out
    reader.order_lines("training.step", "abc")
    assert "Use each of the letters abcdefg once" in capsys.readouterr().out
    reader.order_lines("training.step", "d b g e a f c")
    assert "In order" in capsys.readouterr().out
    reader.order_lines("training.step", "dbgaefc")
    assert "throws away" in capsys.readouterr().out
    assert progress.entry("questions", "training.step")["right"] is True  # once is enough


def test_progress_table(capsys):
    submit(ID, RIGHT)
    reader.predict("attention.share_of_the_future", 0.5)
    reader.quiz("attention.why_scale", "b")
    capsys.readouterr()
    reader.show_progress()
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ["exercises", "predictions", "questions"]
    assert rows[2].split("  ")[-1] == "1 of 3" and len(rows[2]) == len(head)
    assert rows[2].split() == "3 attention □□■□□□ 1 of 6 1 of 2 1 of 3".split()


# ---- the record ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"exercises": []}', b'{"exercises": {"a": 1}}'],
)
def test_a_damaged_record_is_put_aside(home, damage):
    (home / "progress.json").write_bytes(damage)
    assert progress.entry("exercises", "a") == {}
    progress.update("exercises", "a", tries=1)
    assert progress.entry("exercises", "a") == {"tries": 1}
    assert (home / "progress.damaged.json").read_bytes() == damage


def test_record_is_replaced_in_one_step(home, monkeypatch):
    progress.update("exercises", "a", tries=1)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    progress.update("exercises", "a", tries=2)
    monkeypatch.undo()
    assert json.loads((home / "progress.json").read_text())["exercises"] == {"a": {"tries": 1}}
    assert [p.name for p in home.iterdir()] == ["progress.json"]  # nothing half-written is left


def test_record_without_a_folder_lasts_as_long_as_the_session(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "file" / "below"))
    assert submit(ID, RIGHT).__name__ == "mine"
    assert progress.entry("exercises", ID)["solved"] is True
    assert "`yours(" not in capsys.readouterr().out  # it could not be saved
    reader.show_progress()
    assert "□□■□□□" in capsys.readouterr().out


def test_unknown_entries_of_the_record_stay(home):
    (home / "progress.json").write_text(
        '{"version": 1, "exercises": {"x.y": {"tries": 2}}, "mine": 7}'
    )
    progress.update("questions", "q", right=True)
    record = json.loads((home / "progress.json").read_text())
    assert record["mine"] == 7 and record["exercises"] == {"x.y": {"tries": 2}}


# ---- light, and everywhere -----------------------------------------------------------------------


def test_torch_comes_only_when_it_is_needed(home):
    code = """
        import sys
        from course_lib.exercises import ____, exercise, predict, progress, quiz
        progress()
        @exercise("tokenizer.merge")
        def my_merge(ids, pair, new_id):
            return ids
        quiz("tokenizer.unknown_text", "b")
        assert "torch" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "COURSE_HOME": str(home), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tokenizer.merge: not right yet" in done.stdout


def test_public_names():
    from course_lib import exercises

    for name in exercises.__all__:
        assert hasattr(exercises, name)
    assert exercises.stub_source(ID).startswith(
        '@exercise("attention.causal_attention")\ndef causal_'
    )
    assert exercises.task_text(ID).startswith(
        "### Exercise · `causal_attention`\n\n*Difficulty ●●○"
    )


def test_command_line(capsys):
    from course_lib.exercises import main

    assert main([]) == 0
    assert "0 of 41 exercises solved" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "causal_attention" in capsys.readouterr().out
    assert main(["stub", ID]) == 0
    assert capsys.readouterr().out == reader.stub_source(ID) + "\n"
    assert main(["solution", ID]) == 0
    assert "weights @ v" in capsys.readouterr().out
    assert main(["stub", "attention.nothing"]) == 2
    assert "Did you mean" in capsys.readouterr().err
