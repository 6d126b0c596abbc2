"""Little World: exact probabilities, unambiguous texts, the same bytes everywhere."""

import hashlib
import math
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import world
from course_lib.world import KINDS, Choice, World, little_world, tiny_world

WORLDS = [little_world(), tiny_world()]
ROOT = Path(__file__).parents[1]
each_world = pytest.mark.parametrize("w", WORLDS, ids=lambda w: w.name.replace(" ", "-"))
seeds = st.integers(min_value=0, max_value=2**32)


@each_world
def test_logprob_is_the_sum_of_the_next_distributions(w: World):
    for seed in (0, 1):
        scene = w.scene(seed)
        total = 0.0
        for i, char in enumerate(scene.text):
            distribution = w.next_distribution(scene.text[:i])
            assert abs(sum(distribution.values()) - 1) < 1e-9
            assert all(p > 0 for p in distribution.values())
            total += math.log(distribution[char])
        assert total == pytest.approx(w.logprob(scene.text), abs=1e-9)
        assert total == pytest.approx(scene.logprob, abs=1e-9)


@each_world
@settings(max_examples=30, deadline=None)
@given(seed=seeds, cut=st.floats(min_value=0, max_value=1))
def test_distributions_sum_to_one_anywhere(w: World, seed: int, cut: float):
    text = w.scene(seed).text
    distribution = w.next_distribution(text[: int(cut * len(text))])
    assert abs(sum(distribution.values()) - 1) < 1e-9


@each_world
def test_mean_surprise_is_the_exact_entropy(w: World):
    surprise = [-scene.logprob for scene in w.scenes(20_000, seed=11)]
    error = statistics.stdev(surprise) / math.sqrt(len(surprise))
    assert abs(statistics.mean(surprise) - w.entropy()) <= max(3 * error, 1e-9)


def test_entropy_of_a_world_that_can_be_worked_out_by_hand():
    def program():
        first = yield Choice(("a", "b"), "free", weights=(3.0, 1.0), symmetric=False)
        if first == 0:
            yield Choice(("x\n", "y\n", "z\n"), "context")
        else:
            yield Choice(("\n",), "fixed")
        return world.Story("", "quiet")

    w = World("by hand", program)
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) + 0.75 * math.log(3)
    assert w.entropy() == pytest.approx(by_hand, abs=1e-12)
    assert w.logprob("ay\nb\n") == pytest.approx(math.log(0.75 / 3 * 0.25), abs=1e-12)
    assert w.next_distribution("") == {"a": 0.75, "b": 0.25}
    drawn = Counter(text[0] for text in w.corpus(4000, seed=3))
    assert 0.72 < drawn["a"] / 4000 < 0.78


@each_world
def test_symmetric_choices_really_leave_the_same_entropy(w: World):
    """`entropy` follows one option of a symmetric choice; sampled paths must agree with it."""

    def entropy_along(seed: int) -> float:
        text, program, position, total = w.scene(seed).text, w.program(), 0, 0.0
        choice = next(program)
        try:
            while True:
                index = choice.match(text, position)
                if choice.symmetric:
                    total += choice.entropy()
                position += len(choice.options[index])
                choice = program.send(index)
        except StopIteration:
            return total

    def shape(seed: int) -> tuple:
        """The options taken at the choices that are not symmetric."""
        text, program, position, taken = w.scene(seed).text, w.program(), 0, []
        choice = next(program)
        try:
            while True:
                index = choice.match(text, position)
                if not choice.symmetric:
                    taken.append(index)
                position += len(choice.options[index])
                choice = program.send(index)
        except StopIteration:
            return tuple(taken)

    by_shape: dict[tuple, set] = {}
    for seed in range(1500):
        by_shape.setdefault(shape(seed), set()).add(round(entropy_along(seed), 9))
    assert max(len(values) for values in by_shape.values()) == 1


@each_world
def test_no_option_begins_another(w: World):
    """Then every text has one derivation, and `logprob` need not sum over several."""
    for seed in range(400):
        text, program, position = w.scene(seed).text, w.program(), 0
        choice = next(program)
        try:
            while True:
                options = sorted(choice.options)
                clashes = [
                    (a, b) for a, b in zip(options, options[1:], strict=False) if b.startswith(a)
                ]
                assert not clashes
                assert sum(text.startswith(option, position) for option in options) == 1
                index = choice.match(text, position)
                position += len(choice.options[index])
                choice = program.send(index)
        except StopIteration:
            assert position == len(text)


@each_world
@settings(max_examples=50, deadline=None)
@given(seed=seeds, where=st.floats(min_value=0, max_value=0.999))
def test_impossible_text_is_minus_infinity_and_names_the_position(w: World, seed, where):
    text = w.scene(seed).text
    at = int(where * len(text))
    broken = text[:at] + "#" + text[at + 1 :]
    assert w.logprob(broken) == -math.inf
    assert w.impossible_at(broken) == at
    assert w.impossible_at(text) is None
    with pytest.raises(ValueError, match=f"at position {at}"):
        w.kinds(broken)
    with pytest.raises(ValueError, match=f"at position {at}"):
        w.next_distribution(broken)


def test_a_wrong_answer_is_impossible_and_a_right_one_certain():
    w = little_world()
    for seed in range(50):
        text = w.scene(seed).text
        match = re.search(r"What colour is the (\w+)\? It is (\w+)\.", text)
        if not match:
            continue
        other = "golden" if match[2] != "golden" else "black"
        wrong = text[: match.start(2)] + other + text[match.end(2) :]
        assert w.logprob(wrong) == -math.inf
        assert set(w.kinds(text)[match.start(2) : match.end(2)]) == {"answer"}


@each_world
def test_scenes_are_independent(w: World):
    a, b = w.corpus(2, seed=5)
    assert w.logprob(a + b) == pytest.approx(w.logprob(a) + w.logprob(b), abs=1e-9)
    assert w.next_distribution(a) == w.next_distribution("")
    assert w.logprob("") == 0


@each_world
def test_kinds_agree_with_the_probabilities(w: World):
    text = "".join(w.corpus(40, seed=2))
    steps = w.trace(text)
    assert "".join(step.char for step in steps) == text
    assert {step.kind for step in steps} <= set(KINDS)
    for step in steps:
        if step.kind in ("fixed", "answer"):
            assert step.probability == pytest.approx(1.0, abs=1e-12)
        else:
            assert step.probability < 1
    assert w.kinds(text) == [step.kind for step in steps]


@each_world
def test_pieces_add_up_to_the_text(w: World):
    text = "".join(w.corpus(10, seed=4))
    words = re.findall(r" ?\w+|[^\w]", text)
    pieces = w.pieces(text, words)
    assert len(pieces) == len(words)
    assert sum(nats for nats, _ in pieces) == pytest.approx(-w.logprob(text), abs=1e-9)
    with pytest.raises(ValueError, match="do not join"):
        w.pieces(text, ["?", *words])
    with pytest.raises(ValueError, match="pieces end"):
        w.pieces(text, words[:-1])


@each_world
def test_the_three_units_of_the_floor_agree(w: World):
    class Halves:
        def encode(self, text):
            return [text[i : i + 2] for i in range(0, len(text), 2)]

    texts = w.corpus(20, seed=6)
    total = w.nats(texts)
    characters = sum(len(text) for text in texts)
    tokens = sum(len(Halves().encode(text)) for text in texts)
    assert w.floor(texts) * characters == pytest.approx(total)
    assert w.floor(texts, Halves()) * tokens == pytest.approx(total)
    assert w.bits_per_byte(texts) * characters * math.log(2) == pytest.approx(total)  # ASCII


def test_little_world_is_rich():
    scenes = little_world().scenes(20_000, seed=1)
    words = set(re.findall(r"[A-Za-z]+", "".join(scene.text for scene in scenes)))
    assert len(words) >= 300
    assert {scene.mood for scene in scenes} == {"quiet", "happy", "sad", "proud"}
    assert len({scene.text for scene in scenes}) == len(scenes)
    assert any("eleven twelve." in scene.text for scene in scenes)
    assert all(scene.text.endswith("\n") and scene.text.count("\n") == 1 for scene in scenes)


def test_chinese_tells_the_same_story():
    for scene in little_world().scenes(200, seed=8):
        people = re.match(r"On (\w+), (\w+) is in the \w+ with (\w+)\.", scene.text)
        names = dict(world.PEOPLE)
        assert names[people[2]] in scene.chinese and names[people[3]] in scene.chinese
        assert dict(world.DAYS)[people[1]] in scene.chinese
        for thing in re.findall(r"has an? \w+ (\w+)\.", scene.text):
            assert dict(world.THINGS)[thing] in scene.chinese
        assert not re.search(r"[A-Za-z]", scene.chinese)


def test_words_have_one_translation_each():
    lists = [
        world.PEOPLE,
        world.DAYS,
        world.PLACES,
        world.COLOURS,
        world.THINGS,
        world.ANIMALS,
        world.JOBS,
        world.FOODS,
        world.NUMBERS,
        world.GIVES + world.LOSES,
        *world.MOODS.values(),
    ]
    for words in lists:
        assert len({english for english, _ in words}) == len(words)
        assert len({chinese for _, chinese in words}) == len(words)
    assert len(world.SHE) == len(world.HE)


@each_world
def test_the_split_shares_no_text(w: World):
    train, validation = w.split(2000, 300, seed=3)
    assert (len(train), len(validation)) == (2000, 300)
    assert not set(train) & set(validation)
    assert w.split(2000, 300, seed=3) == (train, validation)
    assert w.split(2000, 300, seed=4)[0] != train


def digest(seed: int) -> str:
    text = "".join(s.text + s.chinese + s.mood for w in WORLDS for s in w.scenes(200, seed))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


BYTES = "9eebeb131a3825d66f7f80bc55cd994c307f6fc15018e98946de5e6f63aabd7f"


def test_same_seed_same_bytes():
    assert digest(7) == BYTES


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_same_bytes_on_other_pythons(version: str):
    found = find_python(version)
    if found is None:
        pytest.skip(f"no Python {version} on this machine")
    code = (
        "import hashlib; from course_lib.world import *; "
        "t = ''.join(s.text + s.chinese + s.mood for w in (little_world(), tiny_world()) "
        "for s in w.scenes(200, 7)); print(hashlib.sha256(t.encode()).hexdigest())"
    )
    out = subprocess.run([found, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == BYTES


def find_python(version: str) -> str | None:
    if sys.version.startswith(version + "."):
        return sys.executable
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if installed:
        return str(installed[-1])
    return shutil.which(f"python{version}")
