"""Real texts and weights: where each is published, what it must be, and how it is split.

`fetch(name)` gives the path of a set. It looks in the folder that the environment variable
COURSE_DATA names, then in the cache (`data` in the reader's own folder, which is on Google Drive
where that is mounted; COURSE_CACHE names another), and downloads what neither has. `find(name)`
looks without downloading. Files in COURSE_DATA are taken as they are; what is downloaded has to
have the size and the SHA-256 written here.

Nothing that a notebook needs to run from top to bottom depends on this module.
`python -m course_lib data` lists what there is, and fetches what will be needed without a network.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import course_lib
from course_lib.download import DownloadFailed, discard_archives, download
from course_lib.machine import CannotStart

__all__ = [
    "DATASETS",
    "DataUnavailable",
    "Dataset",
    "File",
    "Splits",
    "cache_folder",
    "fetch",
    "find",
    "gpt2_encoding",
    "main",
    "pairs",
    "shakespeare",
    "sms",
    "wikitext_2",
]


class DataUnavailable(CannotStart, ValueError):
    """A data set is not here and cannot be fetched; the message says what to do about it."""


@dataclass(frozen=True)
class File:
    """One file: its place in COURSE_DATA and in the cache, what it must be, where it is published.

    `urls` has the publisher's address first, then mirrors. One that ends in .zip leads to an
    archive, in which the file is called `member`.
    """

    path: str  # relative, with forward slashes
    size: int  # bytes
    sha256: str
    urls: tuple[str, ...]
    member: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A set of files that belong together, and how to name and to credit it."""

    name: str
    title: str
    licence: str
    citation: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """The size of all its files in bytes."""
        return sum(file.size for file in self.files)


# ---- what there is ------------------------------------------------------------------------------

# Sizes and hashes were computed from the files themselves, but for WikiText-2 and GPT-2's weights:
# theirs are those on which many public records agree. A mirror need not be trusted, nor does the
# publisher: a file that is not the one described here is never put in place.
GITHUB = "https://raw.githubusercontent.com"
GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
GPT2_PLACES = (  # the model's repository at one revision, and a mirror of the hub
    f"https://huggingface.co/openai-community/gpt2/resolve/{GPT2_REVISION}",
    f"https://hf-mirror.com/openai-community/gpt2/resolve/{GPT2_REVISION}",
)
GPT2_VOCABULARY = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
GPT2_CITATION = (
    "Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei and Ilya Sutskever. "
    "Language Models are Unsupervised Multitask Learners. OpenAI, 2019."
)
WIKITEXT_ARCHIVES = (
    "https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
    "https://huggingface.co/datasets/ggml-org/ci/resolve/"
    "927b3642933080f1b0e811e2f916e14c292992f9/wikitext-2-raw-v1.zip",
)


def gpt2_urls(name: str) -> tuple[str, ...]:
    """The addresses of one file of GPT-2 with 124 million parameters."""
    return tuple(f"{place}/{name}" for place in GPT2_PLACES)


def wikitext_file(part: str, size: int, sha256: str) -> File:
    """One of WikiText-2's three files, which are published in one archive."""
    name = f"wiki.{part}.raw"
    return File(
        f"wikitext-2/{name}", size, sha256, WIKITEXT_ARCHIVES, member=f"wikitext-2-raw/{name}"
    )


SHAKESPEARE = Dataset(
    "shakespeare",
    "Tiny Shakespeare",
    "public domain",
    "William Shakespeare; 40,000 lines of his plays, selected by Andrej Karpathy for char-rnn, "
    "2015. https://github.com/karpathy/char-rnn",
    (
        File(
            "tinyshakespeare.txt",
            1_115_394,
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            (
                f"{GITHUB}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                f"{GITHUB}/jcjohnson/torch-rnn/master/data/tiny-shakespeare.txt",
            ),
        ),
    ),
)

SMS = Dataset(
    "sms",
    "SMS Spam Collection",
    "CC BY 4.0",
    "Tiago A. Almeida and José María Gómez Hidalgo. SMS Spam Collection. UCI Machine Learning "
    "Repository, 2011. https://doi.org/10.24432/C5CC84",
    (
        File(
            "sms.tsv",
            477_907,
            "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
            (
                "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
                f"{GITHUB}/justmarkham/pycon-2016-tutorial/master/data/sms.tsv",
            ),
            member="SMSSpamCollection",
        ),
    ),
)

PAIRS = Dataset(
    "pairs",
    "English-Chinese sentence pairs",
    "CC BY 2.0 FR, attribution in every line",
    "Sentences of the Tatoeba project, https://tatoeba.org, as pairs by Charles Kelly, "
    "https://www.manythings.org/anki",
    (
        # The publisher's archive grows and will hold another version one day. The mirror is fixed
        # at one commit, and has as many characters as this file.
        File(
            "cmn.txt",
            4_151_383,
            "aa264a2447b26ab7c9d413f8321f9e2a779fd134b5118306b6e26a3499b3926e",
            (
                "https://www.manythings.org/anki/cmn-eng.zip",
                f"{GITHUB}/13luoyu/Transformer-machine-translation/"
                "b172d4aa468126c16f51dbf75797aaff77cf787e/cmn.txt",
            ),
            member="cmn.txt",
        ),
    ),
)

WIKITEXT_2 = Dataset(
    "wikitext-2",
    "WikiText-2, raw",
    "CC BY-SA 3.0 and GFDL",
    "Stephen Merity, Caiming Xiong, James Bradbury and Richard Socher. Pointer Sentinel Mixture "
    "Models. 2016. arXiv:1609.07843",
    (
        wikitext_file(
            "train",
            10_940_747,
            "6707892fa3788b5ab9ed78ab5ff37d9fe825f6011a2ad4fcd6a6d467f0e7da57",
        ),
        wikitext_file(
            "valid",
            1_146_846,
            "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7",
        ),
        wikitext_file(
            "test",
            1_290_590,
            "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
        ),
    ),
)

VOCABULARY = Dataset(
    "gpt2-vocabulary",
    "GPT-2's vocabulary",
    "modified MIT",
    GPT2_CITATION,
    (
        File(
            "gpt2/vocab.bpe",
            456_318,
            "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            (f"{GPT2_VOCABULARY}/vocab.bpe", *gpt2_urls("merges.txt")),
        ),
        File(
            "gpt2/encoder.json",
            1_042_301,
            "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
            (f"{GPT2_VOCABULARY}/encoder.json", *gpt2_urls("vocab.json")),
        ),
    ),
)

WEIGHTS = Dataset(
    "gpt2-weights",
    "GPT-2's weights, 124 million parameters",
    "modified MIT",
    GPT2_CITATION,
    (
        File(
            "gpt2/config.json",
            665,
            "0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4",
            gpt2_urls("config.json"),
        ),
        File(
            "gpt2/model.safetensors",
            548_105_171,
            "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
            gpt2_urls("model.safetensors"),
        ),
    ),
)

DATASETS = {each.name: each for each in (SHAKESPEARE, SMS, PAIRS, WIKITEXT_2, VOCABULARY, WEIGHTS)}


# ---- finding and fetching -----------------------------------------------------------------------


def known(name: str) -> Dataset:
    """The data set of that name; ValueError where there is none."""
    if name not in DATASETS:
        raise ValueError(f"There is no data set {name!r}: choose one of {', '.join(DATASETS)}.")
    return DATASETS[name]


def cache_folder() -> Path:
    """Where downloads are kept: COURSE_CACHE, or `data` in the reader's own folder."""
    chosen = os.environ.get("COURSE_CACHE")
    return Path(chosen).expanduser() if chosen else course_lib.user_folder() / "data"


def place(root: Path, dataset: Dataset) -> Path:
    """What `fetch` returns: the path of the set's only file, or the folder that holds its files."""
    first = root / dataset.files[0].path
    return first if len(dataset.files) == 1 else first.parent


def whole(path: Path, file: File) -> bool:
    """Whether a file of the cache is there in its full length; its hash was checked on arrival."""
    return path.is_file() and path.stat().st_size == file.size


def find(name: str) -> Path | None:
    """The path of a data set that is on this machine already, or None. Downloads nothing.

    A file where the set has one, else the folder that holds its files. ValueError for an unknown
    name.
    """
    dataset = known(name)
    if given := os.environ.get("COURSE_DATA"):
        folder = Path(given).expanduser()
        if all((folder / file.path).is_file() for file in dataset.files):
            return place(folder, dataset)
    cache = cache_folder()
    if all(whole(cache / file.path, file) for file in dataset.files):
        return place(cache, dataset)
    return None


def fetch(name: str) -> Path:
    """The path of a data set, downloaded first where it is not on this machine.

    Returns what `find` returns. Programs that fetch the same set at once wait for each other.
    Raises DataUnavailable, with what to do; ValueError for an unknown name.
    """
    dataset = known(name)
    if path := find(name):
        return path
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with turn(cache, dataset):
            for file in dataset.files:
                target = cache / file.path
                if not whole(target, file):  # another program may have fetched it by now
                    target.parent.mkdir(parents=True, exist_ok=True)
                    title = target.name
                    download(file.urls, target, file.size, file.sha256, file.member, title)
            for file in dataset.files:
                discard_archives((cache / file.path).parent, file.urls)
    except DownloadFailed as error:
        raise DataUnavailable(missing(dataset, f"could not be downloaded ({error})")) from None
    except OSError as error:
        raise DataUnavailable(
            f"{dataset.title} cannot be kept in {cache} ({error.strerror or error}): make room or "
            "set COURSE_CACHE to a folder that you may write to."
        ) from None
    return place(cache, dataset)


def turn(cache: Path, dataset: Dataset):
    """Hold the lock of a set in a cache, across threads and processes; say so if that takes time.

    A context manager. The system takes the lock back from a program that dies. It is a file in this
    machine's temporary folder, because Google Drive and network disks may know no locks.
    """
    from filelock import FileLock, Timeout  # torch brings it

    key = hashlib.sha256(f"{cache.resolve()} {dataset.name}".encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"next-token-{key}.lock")
    try:
        return lock.acquire(timeout=1)
    except Timeout:
        print(f"Waiting for another program that is fetching {dataset.title}", flush=True)
        return lock.acquire()


def missing(dataset: Dataset, what: str) -> str:
    """The one sentence that tells a reader how to come by a data set."""
    names = " and ".join(file.path for file in dataset.files)
    return (
        f"{dataset.title} ({dataset.size / 1e6:,.1f} MB) is not on this machine and {what}: run "
        f"this again with a network, or set COURSE_DATA to a folder that holds {names}."
    )


# ---- texts, and their splits --------------------------------------------------------------------


class Splits(NamedTuple):
    """The three parts of a data set; what each is a list of, its loader says."""

    train: list
    validation: list
    test: list


def divide(groups: dict[str, list], validation: float, test: float) -> Splits:
    """Deal whole groups of rows to the three parts until each has its share of the rows.

    The order is that of the keys' hashes, so a row's part depends on no generator, and hardly on
    what else the file holds.
    """
    total = sum(map(len, groups.values()))
    goals = [round(test * total), round(validation * total), total + 1]
    parts = [[], [], []]
    which = 0
    for key in sorted(groups, key=lambda key: hashlib.sha256(key.encode("utf-8")).digest()):
        while len(parts[which]) >= goals[which]:
            which += 1
        parts[which] += groups[key]
    return Splits(*reversed(parts))


def rows(text: str, columns: int) -> Iterable[list[str]]:
    """The first columns of every line of a tab-separated text; ValueError where a line has less."""
    for number, line in enumerate(text.rstrip("\n").split("\n"), start=1):
        row = line.split("\t")
        if len(row) < columns:
            raise ValueError(f"Line {number} has {len(row)} of {columns} columns: {line[:60]!r}.")
        yield row[:columns]


def shakespeare() -> tuple[str, str]:
    """Tiny Shakespeare: its first 90 % to train on, and the rest to validate with."""
    text = fetch("shakespeare").read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    return text[:cut], text[cut:]


def sms() -> Splits:
    """The SMS Spam Collection as (label, message), with 80 %, 10 % and 10 % of each label.

    A label is "ham" or "spam". Copies of a message, which many are, are on one side of the split;
    differences in case and white space do not count.
    """
    groups = {"ham": defaultdict(list), "spam": defaultdict(list)}
    sides = {}  # a message's label decides where its copies go, even if one is labelled otherwise
    for number, (label, message) in enumerate(
        rows(fetch("sms").read_text(encoding="utf-8"), columns=2)
    ):
        if label not in groups:
            raise ValueError(f"Line {number + 1}: {label!r} is neither ham nor spam.")
        key = " ".join(message.casefold().split())
        groups[sides.setdefault(key, label)][key].append((number, label, message))
    each = [divide(of_label, validation=0.1, test=0.1) for of_label in groups.values()]
    together = [sorted(part for parts in same for part in parts) for same in zip(*each)]
    return Splits(*([(label, message) for _, label, message in part] for part in together))


def pairs() -> Splits:
    """English-Chinese sentence pairs as (English, Chinese), 90 %, 5 % and 5 % of them.

    A sentence often has several translations, and they have others: all pairs that hang together
    by a shared sentence are on one side of the split. A pair that stands there twice is kept once.
    """
    text = fetch("pairs").read_text(encoding="utf-8-sig")
    distinct = list(dict.fromkeys(map(tuple, rows(text, columns=2))))
    parent = {}  # of every sentence; the root of its tree stands for all that hang together

    def root(sentence: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(sentence, sentence) != sentence:
            parent[sentence] = sentence = parent[parent[sentence]]
        return sentence

    for english, chinese in distinct:
        parent[root(("en", english))] = root(("zh", chinese))
    groups = defaultdict(list)
    for number, (english, chinese) in enumerate(distinct):
        groups[root(("en", english))].append((number, english, chinese))
    # A group is known by its first pair in the file, however the trees have grown.
    named = {"\t".join(group[0][1:]): group for group in groups.values()}
    parts = divide(named, validation=0.05, test=0.05)
    return Splits(*([(en, zh) for _, en, zh in sorted(part)] for part in parts))


def wikitext_2() -> tuple[str, str, str]:
    """WikiText-2 as it is published: the raw texts for training, validation and test.

    A line is a paragraph or a heading such as ` = = History = = `; words and marks are set apart
    by spaces, and ` @-@ `, ` @,@ ` and ` @.@ ` stand for marks inside a word or a number.
    """
    folder = fetch("wikitext-2")
    paths = [folder / f"wiki.{part}.raw" for part in ("train", "valid", "test")]
    return tuple(path.read_text(encoding="utf-8") for path in paths)


def gpt2_encoding():
    """GPT-2's own `tiktoken.Encoding`, from our files: `tiktoken.get_encoding` would download."""
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext.openai_public import ENDOFTEXT, r50k_pat_str

    folder, (merges, ids) = fetch("gpt2-vocabulary"), VOCABULARY.files
    ranks = data_gym_to_mergeable_bpe_ranks(
        str(folder / "vocab.bpe"), str(folder / "encoder.json"), merges.sha256, ids.sha256
    )
    return tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=len(ranks) + 1,
        pat_str=r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={ENDOFTEXT: len(ranks)},
    )


# ---- the command --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """The command. Returns 0, or 1 where a data set is unknown or could not be fetched."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib data",
        description="List the real texts and weights, or fetch some of them.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to fetch: {', '.join(DATASETS)}, or all (default: only list them)",
    )
    names = parser.parse_args(argv).names
    try:
        for name in DATASETS if names == ["all"] else names:
            print(f"{name}: {fetch(name)}\n    {known(name).citation}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for name, dataset in DATASETS.items() if not names else ():
        size = f"{dataset.size / 1e6:,.1f} MB"
        print(f"{name:<16}{size:>10}  {dataset.title} ({dataset.licence})")
        print(f"{'':>28}{find(name) or 'not on this machine'}")
    return 0
