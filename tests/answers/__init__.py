"""Answers to the exercises as readers write them: right ones, and wrong ones with what is wrong.

They are written in other styles and with other names than the references, from the task alone,
and they are the data of `tests/test_exercises.py` and of `python -m course_lib exercises report`.
"""


class Answers:
    """The answers of one chapter: RIGHT holds (id, function), WRONG (id, keys, function)."""

    def __init__(self, chapter: str):
        self.chapter, self.RIGHT, self.WRONG = chapter, [], []

    def right(self, name: str):
        """A right answer to this exercise."""

        def register(function):
            self.RIGHT.append((f"{self.chapter}.{name}", function))
            return function

        return register

    def wrong(self, name: str, *keys: str):
        """A wrong answer; the verdict must be among these named mistakes."""

        def register(function):
            self.WRONG.append((f"{self.chapter}.{name}", keys, function))
            return function

        return register
