"""Predictions, questions, find the bug, and lines to put in order: the words for each answer."""

import hashlib
import math
import textwrap

from course_lib.grading import source
from course_lib.grading.registry import CHAPTERS, Exercise, Parsons, Prediction, Question, find, ids
from course_lib.grading.show import AMBER, BLUE, GREEN, GREY, RED, Card

LETTERS = "abcdefgh"


# Predictions -------------------------------------------------------------------------------------


def asked(item: Prediction, value) -> Card:
    """The card after a prediction; `value` is None while none is made."""
    title = f"Prediction {item.id}"
    choices = "one of " + ", ".join(repr(c) for c in item.choices) if item.choices else "a number"
    if value is None:
        return Card(
            AMBER,
            f"{title}: not yet",
            item.question,
            f"Write your guess ({choices}) in place of `____` and run the cell again. A "
            "guess that turns out wrong teaches most.",
        )
    return Card(
        BLUE,
        f"{title}: noted",
        item.question,
        f"You say: {_number(value)}. Go on; `reveal` comes after the experiment.",
    )


def acceptable(item: Prediction, value) -> bool:
    """Is this a guess at all?"""
    if item.choices:
        return value in item.choices
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def revealed(item: Prediction, guess) -> Card:
    """The truth, computed now, beside the guess."""
    truth = item.truth()
    card = Card(GREY, f"Prediction {item.id}", item.question, f"It is **{_number(truth)}**.")
    if guess is None:
        card.say(
            "You made no prediction. Next time, guess first: what you expected is what you "
            "remember."
        )
    elif item.choices:
        card.colour = GREEN if guess == truth else RED
        card.say(f"You said {guess}" + (", and so it is." if guess == truth else "."))
    else:
        card.colour = GREEN if abs(guess - truth) <= item.tolerance * abs(truth) + 1e-12 else RED
        off = f"off by {_number(abs(guess - truth))}"
        card.say(
            f"You said {_number(guess)}: "
            + ("close enough." if card.colour == GREEN else f"{off}.")
        )
    return card.say(item.why)


def _number(value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


# Questions ---------------------------------------------------------------------------------------


def posed(item: Question) -> Card:
    """The question and its choices."""
    lines = "\n".join(
        f"**{letter}**  {text}" for letter, (text, _, _) in zip(LETTERS, item.choices)
    )
    return Card(
        AMBER,
        f"Question {item.id}",
        item.question,
        lines,
        f'Answer with a letter: `quiz("{item.id}", "a")`.',
    )


def answered(item: Question, answer) -> tuple[Card, bool | None]:
    """The reason that belongs to a choice, and whether it was the right one (None: no choice)."""
    letter = str(answer).strip().strip(".)").lower()
    if letter not in LETTERS[: len(item.choices)] or not letter:
        return posed(item).say(f"There is no choice {str(answer)!r}."), None
    text, right, reason = item.choices[LETTERS.index(letter)]
    title = f"Question {item.id}: {letter} is {'right' if right else 'not it'}"
    card = Card(GREEN if right else RED, title, item.question, f"**{letter}**  {text}", reason)
    if right:
        others = [
            textwrap.fill(f"{x}  {t}", 88) + "\n" + textwrap.indent(textwrap.fill(r, 84), "   ")
            for x, (t, ok, r) in zip(LETTERS, item.choices)
            if not ok
        ]
        card.fold("Why not the others", "\n".join(others))
    else:
        card.say("Choose again.")
    return card, right


# Find the bug ------------------------------------------------------------------------------------


def bug(id: str) -> tuple[Exercise, object, str, list[int]]:
    """A find-the-bug question: exercise, mistake, program, and the numbers of the wrong lines.

    `id` is "transformer.1": the first question at the start of that chapter. It is drawn from the
    mistakes of all earlier chapters, always the same, the last chapter's most often, and the
    questions of one chapter come from different exercises.
    """
    chapter, _, number = str(id).partition(".")
    if chapter not in CHAPTERS[1:] or not number.isdigit():
        raise ValueError(f'There is no warm-up {id!r}: write for example "attention.1".')
    earlier = CHAPTERS[: CHAPTERS.index(chapter)]
    order = [x for name in reversed(earlier[-2:]) for x in _shuffled(ids("define", name), chapter)]
    order += [x for name in earlier[:-2] for x in ids("define", name)]
    candidates = [(item, found) for item in map(find, order) if (found := _bugs(item))]
    item, found = candidates[(int(number) - 1) % len(candidates)]
    mistake, text, wrong = found[_hash(id) % len(found)]
    return item, mistake, text, wrong


def _bugs(item: Exercise) -> list[tuple]:
    """The mistakes of an exercise that can be seen in one place of its text."""
    good, found = item.bare.splitlines(), []
    if len(good) < 6:  # a head, a docstring and three lines: there is nothing to search
        return []
    for mistake in item.mistakes:
        if callable(mistake.variants[0]):
            continue
        bad = source.patched(item.bare, mistake.variants[0]).splitlines()
        wrong = [i + 1 for i, (a, b) in enumerate(zip(bad, good)) if a != b]
        if len(bad) == len(good) and len(wrong) == 1:
            found.append((mistake, "\n".join(bad), wrong))
    return found


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _shuffled(items: list[str], salt: str) -> list[str]:
    return sorted(items, key=lambda x: _hash(salt + x))


def bug_card(id: str, line) -> tuple[Card, bool | None]:
    """Ask the question, or judge the line number given."""
    item, mistake, text, wrong = bug(id)
    numbered = "\n".join(f"{n:2}  {row}" for n, row in enumerate(text.splitlines(), 1))
    card = Card(
        AMBER,
        f"Find the bug: {item.function_name}, from chapter {item.chapter}",
        "One line does not do what the description promises. It runs without complaint on many "
        "inputs.",
    ).code(numbered)
    if line is None:
        return card.say(f'Answer with the number of the line: `find_the_bug("{id}", 3)`.'), None
    right = line in wrong
    card.colour = GREEN if right else RED
    card.title += f": line {line} {'it is' if right else 'is not the one'}"
    if not right:
        return card.say(
            "Say for every line what it gives on a tiny input; then answer again."
        ), False
    card.say(mistake.message)
    return card.fold("The right line", item.bare.splitlines()[wrong[0] - 1].strip()), True


# Lines in order ----------------------------------------------------------------------------------


def order_card(item: Parsons, answer) -> tuple[Card, bool | None]:
    """Show the shuffled lines, or judge an order given as letters ("cab...")."""
    shown = [item.lines[i] for i in item.shuffled]
    width = len(item.lines)
    card = Card(AMBER, f"Put the lines in order: {item.id}", item.question)
    card.code("\n".join(f"{letter}   {line}" for letter, line in zip(LETTERS, shown)))
    if answer is None:
        example = LETTERS[:width]
        return card.say(
            f'Answer with the letters in your order: `order_lines("{item.id}", "{example}")`.'
        ), None
    letters = [c for c in str(answer).lower() if c.isalnum()]
    if sorted(letters) != sorted(LETTERS[:width]):
        return card.say(
            f"Use each of the letters {LETTERS[:width]} once; you wrote {answer!r}."
        ), None
    place = {item.shuffled[LETTERS.index(c)]: n for n, c in enumerate(letters)}
    card.parts = card.parts[:1]
    card.code("\n".join(shown[LETTERS.index(c)] for c in letters))
    for fits, reason in item.rules:
        if not fits(place):
            card.colour, card.title = RED, f"Not yet in order: {item.id}"
            return card.say(reason, "Try again."), False
    card.colour, card.title = GREEN, f"In order: {item.id}"
    return card.say("Every line has what it needs before it runs."), True
