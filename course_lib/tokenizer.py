"""Chapter 2, the tokenizer: text becomes whole numbers, and comes back without loss.

Text is UTF-8 bytes, a fixed pattern cuts it into chunks (words, mostly), and inside each chunk the
pairs of neighbours that were most frequent in the training text are merged, most frequent first.
That is byte-pair encoding (Sennrich et al. 2015, 1508.07909) on bytes, with the pattern of GPT-2
(Radford et al. 2019). There are two trainers, one that cannot be misread and one that is fast, and
they learn the same merges. `Tokenizer` is what the later chapters import.
"""

import heapq
import json
import operator
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain, pairwise
from pathlib import Path

import regex

__all__ = [
    "SPLIT_PATTERN",
    "split_chunks",
    "repair_surrogates",
    "merge",
    "pair_counts",
    "most_frequent",
    "learn_merges_naive",
    "chunk_table",
    "index_pairs",
    "merge_everywhere",
    "learn_merges",
    "apply_merges",
    "encode_chunk",
    "token_table",
    "check_parts",
    "split_special",
    "BytePairs",
    "write_atomically",
    "write_parts",
    "read_parts",
    "byte_characters",
    "read_gpt2",
    "gpt2_parts",
    "tiktoken_encoding",
    "Tokenizer",
]

SPLIT_PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)"  # the end of a contraction: it's, we'll
    r"| ?\p{L}++"  # letters of any script, with the space before them
    r"| ?\p{N}++"  # digits and other numerals
    r"| ?[^\s\p{L}\p{N}]++"  # punctuation and symbols
    r"|\s++$|\s+(?!\S)|\s"  # white space; its last character is left for the word after it
)


def split_chunks(text: str) -> list[str]:
    """Cut text into the chunks inside which bytes may merge; joined, they are the text again."""
    return regex.findall(SPLIT_PATTERN, text)


def repair_surrogates(text: str) -> str:
    """Make text that UTF-8 can hold: pairs of surrogates become one character, lone ones U+FFFD."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def merge(ids: Sequence[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Replace every occurrence of `pair` in `ids` by `new_id`, from left to right."""
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new_id)
            i += 2  # both halves are used up
        else:
            out.append(ids[i])
            i += 1
    return out


def pair_counts(chunks: Iterable[Sequence[int]]) -> Counter:
    """Count the pairs of neighbours inside each chunk; none reaches from one chunk to the next."""
    counts = Counter()
    for ids in chunks:
        counts.update(pairwise(ids))
    return counts


def most_frequent(counts: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """Return the pair that occurs most often; of equally frequent pairs, the smallest."""
    return min(counts, key=lambda pair: (-counts[pair], pair))


def learn_merges_naive(texts: str | list[str], n_merges: int) -> list[tuple[int, int]]:
    """Learn up to `n_merges` merges by counting the whole text again before each one."""
    texts = [texts] if isinstance(texts, str) else texts
    chunks = [list(chunk.encode("utf-8")) for text in texts for chunk in split_chunks(text)]
    merges = []
    while len(merges) < n_merges and (counts := pair_counts(chunks)):
        pair = most_frequent(counts)
        chunks = [merge(ids, pair, 256 + len(merges)) for ids in chunks]
        merges.append(pair)
    return merges


def chunk_table(texts: str | list[str]) -> dict[bytes, int]:
    """Count how often each chunk occurs: a merge then visits equal chunks only once."""
    table = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        table.update(split_chunks(repair_surrogates(text)))
    return {chunk.encode("utf-8"): count for chunk, count in table.items()}


def index_pairs(chunks: list[list[int]], times: list[int]) -> tuple[dict, dict]:
    """For every pair: how often it occurs, and the numbers of the chunks it occurs in.

    `times[c]` says how often chunk number c stands in the text.
    """
    counts, where = defaultdict(int), defaultdict(set)
    for c, ids in enumerate(chunks):
        for pair in pairwise(ids):
            counts[pair] += times[c]
            where[pair].add(c)
    return counts, where


def merge_everywhere(pair, new_id, chunks, times, counts, where) -> set[tuple[int, int]]:
    """Merge `pair` in the chunks that hold it, keep `counts` and `where` right, return new pairs.

    In ... a left right b ... the merge ends the pairs (a, left) and (right, b) and begins
    (a, new_id) and (new_id, b). No other count changes, so no other chunk is looked at.
    """
    left, right = pair
    born = set()
    for c in where.pop(pair):
        ids, n, i = chunks[c], times[c], 0
        while i + 1 < len(ids):
            if ids[i] == left and ids[i + 1] == right:
                ids[i : i + 2] = [new_id]
                if i > 0:
                    new_pair = (ids[i - 1], new_id)
                    counts[ids[i - 1], left] -= n
                    counts[new_pair] += n
                    where[new_pair].add(c)
                    born.add(new_pair)
                if i + 1 < len(ids):
                    new_pair = (new_id, ids[i + 1])
                    counts[right, ids[i + 1]] -= n
                    counts[new_pair] += n
                    where[new_pair].add(c)
                    born.add(new_pair)
            i += 1
    del counts[pair]
    return born


def learn_merges(texts: str | list[str], n_merges: int) -> list[tuple[int, int]]:
    """Learn the merges of `learn_merges_naive` without ever counting the text again.

    Every pair stands in a heap with the count it had when it was put there. A count can only
    have fallen since, so a pair that comes out on top with its true count is the most frequent.
    """
    table = chunk_table(texts)
    chunks, times = [list(chunk) for chunk in table], list(table.values())
    counts, where = index_pairs(chunks, times)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < n_merges:
        count, pair = heapq.heappop(heap)
        if counts[pair] == 0:
            continue  # other merges have used up every occurrence
        if counts[pair] != -count:
            heapq.heappush(heap, (-counts[pair], pair))  # it has fallen: back to its place
            continue
        born = merge_everywhere(pair, 256 + len(merges), chunks, times, counts, where)
        merges.append(pair)
        for new_pair in born:
            heapq.heappush(heap, (-counts[new_pair], new_pair))
    return merges


def apply_merges(ids: Iterable[int], ranks: Mapping[tuple[int, int], int]) -> list[int]:
    """Merge the pair that was learned first, wherever it stands, until no known pair is left.

    `ranks` maps a pair to its new id; the smaller id was learned first. Merged-away places hold
    None and `before` and `after` step over them: n log n steps, however long the chunk.
    """
    ids = list(ids)
    n = len(ids)
    before, after = list(range(-1, n)), list(range(1, n + 1))
    heap = [(ranks[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        new_id, i = heapq.heappop(heap)
        j = after[i]
        if j == n or ranks.get((ids[i], ids[j])) != new_id:
            continue  # an earlier merge has taken one of the two halves
        ids[i], ids[j] = new_id, None
        h, k = before[i], after[j]
        after[i], before[k] = k, i
        if h >= 0 and (ids[h], new_id) in ranks:
            heapq.heappush(heap, (ranks[ids[h], new_id], h))
        if k < n and (new_id, ids[k]) in ranks:
            heapq.heappush(heap, (ranks[new_id, ids[k]], i))
    return [token for token in ids if token is not None]


def encode_chunk(chunk: str, byte_ids: bytes, ranks: Mapping) -> tuple[int, ...]:
    """Encode one piece of `split_chunks`; `byte_ids[b]` is the id of byte b."""
    data = chunk.encode("utf-8", "surrogateescape")  # see BytePairs.encode_bytes
    return tuple(apply_merges(data.translate(byte_ids), ranks))


def token_table(merges, special_tokens=(), byte_order=range(256)) -> dict[int, bytes]:
    """Map every id to its bytes: 256 single bytes, then the merges, then the special tokens."""
    table = {i: bytes([byte]) for i, byte in enumerate(byte_order)}
    for left, right in merges:
        table[len(table)] = table[left] + table[right]
    for name in special_tokens:
        table[len(table)] = name.encode("utf-8")
    return table


def check_parts(merges, special_tokens, byte_order) -> None:
    """Raise a ValueError that names the first thing wrong with the parts of a tokenizer."""
    if any(type(byte) is not int for byte in byte_order) or sorted(byte_order) != [*range(256)]:
        raise ValueError("byte_order must hold every byte value from 0 to 255 exactly once")
    for new_id, pair in enumerate(merges, start=256):
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not is_pair or any(type(i) is not int or not 0 <= i < new_id for i in pair):
            raise ValueError(f"merge {new_id} must join two earlier ids, but it is {pair!r}")
    if len({tuple(pair) for pair in merges}) != len(merges):
        raise ValueError("merges must be different pairs, but one of them stands there twice")
    for name in special_tokens:
        if not isinstance(name, str) or not name or name != repair_surrogates(name):
            raise ValueError(f"special token {name!r} is not a string of at least one character")
    if isinstance(special_tokens, str) or len(set(special_tokens)) != len(special_tokens):
        raise ValueError("special_tokens must be a list of different strings")


def split_special(text: str, names: Iterable[str]) -> list[str]:
    """Cut text at the special tokens `names`: text, special, text, ..., text (maybe empty)."""
    if not names:
        return [text]
    longest_first = sorted(names, key=len, reverse=True)
    return regex.split("(" + "|".join(map(regex.escape, longest_first)) + ")", text)


class BytePairs:
    """Encodes and decodes; ids are 256 bytes, then the merges in order, then special tokens."""

    def __init__(self, merges, special_tokens=(), byte_order=range(256)):
        check_parts(merges, special_tokens, byte_order)
        self.merges, self.byte_order = [tuple(pair) for pair in merges], list(byte_order)
        self.tokens = token_table(merges, special_tokens, byte_order)
        self.vocab_size = len(self.tokens)
        first = 256 + len(merges)
        self.special_tokens = {name: first + i for i, name in enumerate(special_tokens)}
        ranks = {pair: 256 + i for i, pair in enumerate(self.merges)}
        byte_ids = bytes(self.byte_order.index(byte) for byte in range(256))
        slowly = partial(encode_chunk, byte_ids=byte_ids, ranks=ranks)
        self.encode_chunk = lru_cache(maxsize=2**17)(slowly)  # a chunk seen before is looked up

    def encode(self, text: str, allowed_special: Iterable[str] = ()) -> list[int]:
        """Ids of text. A special token counts as one only where allowed (or "all" are)."""
        names = self.special_tokens if allowed_special == "all" else allowed_special
        if unknown := set(names) - set(self.special_tokens):
            raise ValueError(f"{unknown} in allowed_special: not special tokens of this tokenizer")
        ids = []
        for i, part in enumerate(split_special(repair_surrogates(text), names)):
            chunks = chain.from_iterable(map(self.encode_chunk, split_chunks(part)))
            ids.extend([self.special_tokens[part]] if i % 2 else chunks)
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes; those that are not UTF-8 travel through the text as surrogates."""
        chunks = split_chunks(data.decode("utf-8", "surrogateescape"))
        return list(chain.from_iterable(map(self.encode_chunk, chunks)))

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return b"".join(map(self.tokens.__getitem__, map(operator.index, ids)))
        except KeyError as error:
            raise ValueError(f"no token {error}: ids run from 0 to {self.vocab_size - 1}") from None

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; bytes that are no whole character (yet) show as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")


def write_atomically(path: str | Path, text: str) -> None:
    """Write text so that `path` holds either all of it or what it held before, never a part."""
    path = Path(path)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(scratch, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it takes the name
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_parts(path: str | Path, merges, special_tokens, byte_order) -> None:
    """Write the three parts of a tokenizer as JSON."""
    parts = {
        "format": "next-token tokenizer 1",
        "byte_order": list(byte_order),
        "merges": [list(pair) for pair in merges],
        "special_tokens": list(special_tokens),
    }
    write_atomically(path, json.dumps(parts, ensure_ascii=False) + "\n")


def read_parts(path: str | Path) -> tuple[list, list, list]:
    """Read merges, special tokens and byte order back; ValueError where that is not possible."""
    try:
        parts = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not JSON ({error}): save it again") from None
    if not isinstance(parts, dict) or parts.get("format") != "next-token tokenizer 1":
        raise ValueError(f"{path} is JSON, but not a tokenizer saved by Tokenizer.save")
    found = [parts.get(key) for key in ("merges", "special_tokens", "byte_order")]
    if not all(isinstance(part, list) for part in found):
        raise ValueError(f"{path} lacks merges, special_tokens or byte_order: save it again")
    return tuple(found)


def byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte; the order of the keys is GPT-2's order of ids.

    The 188 bytes that are visible characters in Latin-1 stand for themselves and come first. The
    others (space, control characters, ...) are shown as the characters from U+0100 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


def read_gpt2(vocab_bpe: str | Path, encoder_json: str | Path) -> tuple[list, list, list]:
    """Read GPT-2's two published files into merges, special tokens and byte order."""
    lines = Path(vocab_bpe).read_text(encoding="utf-8").split("\n")
    ids = json.loads(Path(encoder_json).read_text(encoding="utf-8"))
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    try:
        merges = [(ids[left], ids[right]) for left, right in pairs]
        order = sorted(byte_characters(), key=lambda byte: ids[byte_characters()[byte]])
        in_step = all(ids[a + b] == 256 + i for i, (a, b) in enumerate(pairs))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{vocab_bpe} and {encoder_json} do not fit together: {error}") from None
    special = sorted(ids, key=ids.get)[256 + len(merges) :]
    if not in_step or sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"{encoder_json} does not number the merges of {vocab_bpe} in order")
    return merges, special, order


def gpt2_parts(tokens, merges, special_tokens) -> tuple[dict[str, int], list[str]]:
    """Spell tokens and merges in `byte_characters`, as `encoder.json` and `vocab.bpe` do."""
    characters = byte_characters()
    spelled = {i: "".join(characters[byte] for byte in data) for i, data in tokens.items()}
    ids = {spelled[i]: i for i in tokens if i < 256 + len(merges)} | special_tokens
    return ids, [f"{spelled[left]} {spelled[right]}" for left, right in merges]


def tiktoken_encoding(name: str, merges, special_tokens, byte_order):
    """Build a `tiktoken.Encoding`, which knows a token by its bytes and not by its pair.

    That is the same thing only when the bytes of every token merge back into that token, as they
    do when the merges were learned by counting. Otherwise a ValueError names the first that fails.
    """
    import tiktoken  # nothing else in this module needs it

    tokens = token_table(merges, (), byte_order)
    ranks = {tuple(pair): 256 + i for i, pair in enumerate(merges)}
    byte_ids = bytes(list(byte_order).index(byte) for byte in range(256))
    for i, data in tokens.items():
        if apply_merges(data.translate(byte_ids), ranks) != [i]:
            raise ValueError(f"token {i} ({data!r}) never occurs here, but in tiktoken it would")
    return tiktoken.Encoding(
        name,
        pat_str=SPLIT_PATTERN,
        mergeable_ranks={data: i for i, data in tokens.items()},
        special_tokens=special_tokens,
    )


class Tokenizer(BytePairs):
    """A `BytePairs` that can be trained, saved, loaded and handed to other libraries."""

    @classmethod
    def train(cls, texts: str | list[str], vocab_size: int, special_tokens=()) -> "Tokenizer":
        """Learn merges from text until there are `vocab_size` ids, special tokens included."""
        least = 256 + len(special_tokens)
        if vocab_size < least:
            raise ValueError(f"vocab_size is {vocab_size}: bytes and special tokens need {least}")
        merges = learn_merges(texts, vocab_size - least)
        if (most := least + len(merges)) < vocab_size:
            raise ValueError(f"this text has pairs for vocab_size {most}: ask for less or add text")
        return cls(merges, special_tokens)

    def token_bytes(self, token: int) -> bytes:
        return self.decode_bytes([token])

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all."""
        write_parts(path, self.merges, self.special_tokens, self.byte_order)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read what `save` wrote; ValueError when the file is damaged or foreign."""
        return cls(*read_parts(path))

    @classmethod
    def from_gpt2(cls, vocab_bpe: str | Path, encoder_json: str | Path) -> "Tokenizer":
        """GPT-2's tokenizer from its published `vocab.bpe` and `encoder.json`."""
        return cls(*read_gpt2(vocab_bpe, encoder_json))

    def to_gpt2(self) -> tuple[dict[str, int], list[str]]:
        """What GPT-2's two files hold: ids by printable token, and the lines of the merges."""
        return gpt2_parts(self.tokens, self.merges, self.special_tokens)

    def to_tiktoken(self, name: str = "next_token"):
        """The same tokenizer as a `tiktoken.Encoding`, equal id for id."""
        return tiktoken_encoding(name, self.merges, self.special_tokens, self.byte_order)
