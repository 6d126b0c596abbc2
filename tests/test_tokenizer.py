"""Chapter 2's tokenizer against tiktoken, Hugging Face's tokenizers and its own slow trainer."""

import ast
import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
import regex
import tiktoken
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from course_lib import tokenizer as module
from course_lib.tokenizer import (
    SPLIT_PATTERN,
    Tokenizer,
    apply_merges,
    byte_characters,
    learn_merges,
    learn_merges_naive,
    merge,
    most_frequent,
    pair_counts,
    repair_surrogates,
    split_chunks,
)

DATA = Path(os.environ["COURSE_DATA"]) if os.environ.get("COURSE_DATA") else None
GPT2_FILES = DATA and (DATA / "gpt2" / "vocab.bpe", DATA / "gpt2" / "encoder.json")
needs_data = pytest.mark.skipif(
    DATA is None or not all(path.exists() for path in GPT2_FILES),
    reason="set COURSE_DATA to a folder with gpt2/vocab.bpe and gpt2/encoder.json",
)

SAMPLE = (
    "the cat sat on the mat, and the hat sat on the cat. It's 12,345 o'clock: they'll go!\n"
    "一只猫坐在垫子上。猫说：你好，世界！\n\n"
    "  def f(x):\n\treturn x  \n naïve café — 😀😀 👩‍👩‍👧\r\n"
) * 2

# Text of every kind: any assigned character, and runs of the few that decide where chunks end.
# Unassigned characters are left out, because the Unicode tables of `regex`, of tiktoken and of
# Hugging Face may be of different years and then differ about which newcomers are letters.
ANY_CHARACTER = st.characters(exclude_categories=["Cs", "Cn"])
TRICKY = st.sampled_from(
    "aabs'tlvedm  \n\t\r\x0b\x1c\x85\xa0\u2003\u3000019²Ⅷ.,!-_£é\u0301中文的😀\u200d\x00<|>"
)
TEXT = st.one_of(st.text(ANY_CHARACTER, max_size=60), st.text(TRICKY, max_size=60))
LONG_TEXT = st.text(st.one_of(ANY_CHARACTER, TRICKY), min_size=150, max_size=300)
quick = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module")
def small():
    return Tokenizer.train(SAMPLE, 330, ["<|end|>", "<|stop|>", "终"])


@pytest.fixture(scope="module")
def small_tiktoken(small):
    return small.to_tiktoken()


@pytest.fixture(scope="module")
def gpt2():
    return Tokenizer.from_gpt2(*GPT2_FILES)


@pytest.fixture(scope="module")
def tiktoken_gpt2():
    """tiktoken's own gpt2, with its two addresses replaced by the two local files."""
    import tiktoken_ext.openai_public as public
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    def local(vocab_bpe_file, encoder_json_file, **hashes):
        return data_gym_to_mergeable_bpe_ranks(*map(str, GPT2_FILES), **hashes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(public, "data_gym_to_mergeable_bpe_ranks", local)
        return tiktoken.Encoding(**public.gpt2())


def hugging_face(tokenizer):
    """Hugging Face's fast byte-level BPE with the vocabulary of ours."""
    tokenizers = pytest.importorskip("tokenizers")
    ids, lines = tokenizer.to_gpt2()
    bpe = tokenizers.models.BPE(ids, [tuple(line.split(" ")) for line in lines])
    fast = tokenizers.Tokenizer(bpe)
    fast.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = tokenizers.decoders.ByteLevel()
    return fast


@pytest.fixture(scope="module")
def small_fast(small):
    return hugging_face(small)


# ---- cutting into chunks ----


def test_split_pattern_is_that_of_gpt2():
    import tiktoken_ext.openai_public as public

    assert SPLIT_PATTERN == public.r50k_pat_str


@quick
@given(TEXT)
def test_chunks_join_to_the_text_and_are_those_of_the_published_pattern(text):
    published = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    assert "".join(split_chunks(text)) == text
    assert split_chunks(text) == regex.findall(published, text)


def test_every_assigned_character_is_classified_as_tiktoken_does():
    single = {bytes([i]): i for i in range(256)}
    characters = map(chr, range(sys.maxunicode + 1))
    known = "".join(c for c in characters if unicodedata.category(c) not in ("Cs", "Cn", "Co"))
    for kind in (r"\p{L}", r"\p{N}", r"\s"):
        keep = tiktoken.Encoding("kind", pat_str=kind, mergeable_ranks=single, special_tokens={})
        theirs = keep.decode(keep.encode_ordinary(known))  # drops what does not match
        assert theirs == "".join(regex.findall(kind, known))


# ---- training ----


def test_merge_takes_the_left_pair_of_an_overlap():
    assert merge([7, 7, 7], (7, 7), 300) == [300, 7]
    assert merge([1, 2, 1, 2, 3], (1, 2), 300) == [300, 300, 3]
    assert merge([1], (1, 2), 300) == [1]
    assert merge([], (1, 2), 300) == []


def test_pairs_are_counted_inside_chunks_and_ties_go_to_the_smallest():
    counts = pair_counts([[1, 2, 1, 2], [2, 1], [5]])
    assert counts == {(1, 2): 2, (2, 1): 2}
    assert most_frequent(counts) == (1, 2)


@quick
@given(st.lists(st.one_of(TEXT, st.text("ab ", max_size=60)), max_size=4), st.integers(0, 60))
@example([SAMPLE], 200)
@example(["aaaaaaa aaaa aaa aa", "abababab aabb"], 60)
def test_fast_trainer_learns_the_merges_of_the_naive_one(texts, n_merges):
    assert learn_merges(texts, n_merges) == learn_merges_naive(texts, n_merges)


def test_trainer_learns_the_merges_of_hugging_face():
    """Their trainer numbers characters in order, so byte b is shown to it as the character
    0x4E00 + b; then its ties are broken like ours: by the smallest pair of ids."""
    tokenizers = pytest.importorskip("tokenizers")
    texts = [SAMPLE, "a text to be sure of ties: abc bcd cde def efg fgh"]
    if DATA is not None:
        texts.append((DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")[:60_000])
        texts.append((DATA / "cmn.txt").read_text(encoding="utf-8")[:20_000])
    alphabet = {chr(0x4E00 + byte): byte for byte in range(256)}
    chunks = [chunk.encode("utf-8") for text in texts for chunk in split_chunks(text)]
    shown = " ".join("".join(chr(0x4E00 + byte) for byte in chunk) for chunk in chunks)
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "removed")
    n_merges = 150
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + n_merges, initial_alphabet=list(alphabet), show_progress=False
    )
    theirs.train_from_iterator([shown], trainer)
    ids = theirs.get_vocab()
    assert {character: ids[character] for character in alphabet} == alphabet
    merges = json.loads(theirs.to_str())["model"]["merges"]
    assert learn_merges(texts, n_merges) == [(ids[left], ids[right]) for left, right in merges]


def test_training_is_the_same_for_one_text_and_for_its_parts_at_chunk_borders():
    assert learn_merges(["one two", " three two"], 20) == learn_merges("one two three two", 20)


def test_no_token_reaches_from_one_word_to_the_next(small):
    for data in list(small.tokens.values())[256:-3]:
        assert b" " not in data[1:] or not data.strip(b" \n\t\r")


def test_newline_between_scenes_is_a_token_of_its_own():
    scenes = [f"{name} has the kite. Who has the kite? {name}.\n" for name in ("Ann", "Ben", "Mia")]
    tokenizer = Tokenizer.train(scenes * 9, 270)
    for text in (scenes[0], "".join(scenes)):
        ids = tokenizer.encode(text)
        assert ids.count(10) == text.count("\n")
        assert all(b"\n" not in tokenizer.token_bytes(i) for i in ids if i != 10)


# ---- encoding and decoding ----


def test_token_ids_are_bytes_then_merges_then_special_tokens(small):
    assert [small.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert small.vocab_size == 330 == 256 + len(small.merges) + 3
    assert small.special_tokens == {"<|end|>": 327, "<|stop|>": 328, "终": 329}
    for i, (left, right) in enumerate(small.merges, start=256):
        assert small.token_bytes(i) == small.token_bytes(left) + small.token_bytes(right)


@quick
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 40))
def test_apply_merges_is_the_slow_loop_by_rank(ids, n_merges):
    """For any list of merges, learned or not."""
    pairs = [(left, right) for right in range(9) for left in range(9) if max(left, right) < 9]
    ranks = {pair: 4 + i for i, pair in enumerate(pairs[:n_merges]) if max(pair) < 4 + i}
    slow = list(ids)
    while known := [pair for pair in zip(slow, slow[1:]) if pair in ranks]:
        first = min(known, key=ranks.get)
        slow = merge(slow, first, ranks[first])
    assert apply_merges(ids, ranks) == slow


@quick
@given(TEXT)
@example("")
@example("你好 <|end|> 🙂")
def test_text_survives_and_equals_both_libraries(
    small, small_tiktoken, small_fast, text
):
    ids = small.encode(text)
    assert small.decode(ids) == text
    assert ids == small_tiktoken.encode(text, disallowed_special=())
    assert ids == small_fast.encode(text).ids


@quick
@given(st.binary(max_size=60), st.lists(st.integers(0, 329), max_size=20))
@example("中".encode()[:2], [228, 184])
def test_any_bytes_survive_and_any_ids_decode(small, small_tiktoken, data, ids):
    assert small.decode_bytes(small.encode_bytes(data)) == data
    assert isinstance(small.decode(ids), str)
    assert small.decode(ids) == small_tiktoken.decode(ids)


@quick
@given(TEXT)
def test_bytes_of_text_are_encoded_like_the_text(small, text):
    assert small.encode_bytes(text.encode("utf-8")) == small.encode(text)


@quick
@given(TEXT, st.lists(st.sampled_from("\ud83d\ude00\udc80"), max_size=3))
def test_lone_surrogates_become_what_tiktoken_makes_of_them(small, small_tiktoken, text, lone):
    text = text[:10] + "".join(lone) + text[10:]
    assert small.encode(text) == small_tiktoken.encode(text, disallowed_special=())
    assert small.decode(small.encode(text)) == repair_surrogates(text)


def test_part_of_a_character_decodes_to_the_replacement_mark(small):
    whole = small.encode("😀")
    assert [small.decode(whole[:n]) for n in range(1, len(whole))] == ["\ufffd"] * (len(whole) - 1)
    assert small.decode(whole) == "😀"


def test_ids_may_be_tensors(small):
    torch = pytest.importorskip("torch")
    ids = small.encode(SAMPLE)
    assert small.decode(torch.tensor(ids)) == SAMPLE


def test_a_chunk_of_a_hundred_thousand_bytes_is_no_trouble(small, small_tiktoken):
    for text in ("ab" * 50_000, "一只猫" * 11_000):
        ids = small.encode(text)
        assert ids == small_tiktoken.encode(text)


def test_encoding_is_the_same_cold_and_from_the_cache(small):
    cold = Tokenizer(small.merges, list(small.special_tokens))
    assert cold.encode(SAMPLE) == small.encode(SAMPLE) == small.encode(SAMPLE)


# ---- special tokens ----


def test_special_tokens_are_plain_text_unless_allowed(small):
    text = "a<|end|>b"
    assert small.special_tokens["<|end|>"] not in small.encode(text)
    assert small.encode(text, allowed_special={"<|end|>"}) == [97, 327, 98]
    assert small.encode(text, allowed_special="all") == [97, 327, 98]
    assert small.encode(text, ["终"]) == small.encode(text)
    assert Tokenizer([], ["<|a|>", "<|a|>b"]).encode("<|a|>bb", "all") == [257, 98]  # the longest
    assert small.encode("终终", "all") == [329, 329]


@quick
@given(st.lists(st.one_of(TEXT, st.sampled_from(["<|end|>", "<|stop|>", "终"])), max_size=6))
def test_allowed_special_tokens_equal_tiktoken_and_survive(small, small_tiktoken, parts):
    text = "".join(parts)
    for allowed in ({"<|end|>"}, {"<|end|>", "终"}):
        ids = small.encode(text, allowed_special=allowed)
        assert ids == small_tiktoken.encode(text, allowed_special=allowed, disallowed_special=())
        assert small.decode(ids) == text


# ---- GPT-2 ----


def test_byte_characters_are_256_printable_ones():
    characters = byte_characters()
    assert sorted(characters) == list(range(256)) and len(set(characters.values())) == 256
    assert [characters[byte] for byte in b" \nA"] == ["Ġ", "Ċ", "A"]
    assert not any(c.isspace() or unicodedata.category(c) == "Cc" for c in characters.values())


@needs_data
def test_gpt2_equals_tiktoken_and_hugging_face_on_100000_characters(gpt2, tiktoken_gpt2):
    fast, seen = hugging_face(gpt2), 0

    @settings(
        max_examples=700,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(LONG_TEXT)
    def compare(text):
        nonlocal seen
        seen += len(text)
        ids = gpt2.encode(text)
        assert ids == tiktoken_gpt2.encode(text, disallowed_special=())
        assert ids == fast.encode(text).ids
        assert gpt2.decode(ids) == text

    compare()
    assert seen > 100_000


@needs_data
@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "sms.tsv", "cmn.txt"])
def test_gpt2_equals_tiktoken_and_hugging_face_on_real_text(gpt2, tiktoken_gpt2, name):
    text = (DATA / name).read_text(encoding="utf-8")
    ids = gpt2.encode(text)
    assert ids == tiktoken_gpt2.encode_ordinary(text)
    lines = text.splitlines(keepends=True)
    theirs = [encoding.ids for encoding in hugging_face(gpt2).encode_batch(lines)]
    assert [gpt2.encode(line) for line in lines] == theirs
    assert gpt2.decode(ids) == text


@needs_data
def test_gpt2_knows_its_special_token_and_comes_back_as_its_files(gpt2, tiktoken_gpt2):
    assert gpt2.vocab_size == 50257 and gpt2.special_tokens == {"<|endoftext|>": 50256}
    text = "one<|endoftext|>two"
    assert gpt2.encode(text, "all") == tiktoken_gpt2.encode(text, allowed_special="all")
    assert gpt2.encode("Hello world") == [15496, 995]
    assert [gpt2.token_bytes(i) for i in range(50256)] == [
        tiktoken_gpt2.decode_single_token_bytes(i) for i in range(50256)
    ]
    ids, lines = gpt2.to_gpt2()
    assert ids == json.loads(GPT2_FILES[1].read_text(encoding="utf-8"))
    assert lines == GPT2_FILES[0].read_text(encoding="utf-8").split("\n")[1:-1]
    assert gpt2.to_tiktoken().encode(SAMPLE) == gpt2.encode(SAMPLE)


def test_own_tokenizer_comes_back_through_gpt2_files(small, tmp_path):
    ids, lines = small.to_gpt2()
    (tmp_path / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8")
    again = Tokenizer.from_gpt2(tmp_path / "merges.txt", tmp_path / "vocab.json")
    assert again.tokens == small.tokens and again.merges == small.merges
    assert again.special_tokens == small.special_tokens


@quick
@given(TEXT)
def test_another_order_of_bytes_renumbers_the_ids_and_nothing_else(small, text):
    """GPT-2 numbers the bytes in the order of `byte_characters`."""
    order = list(byte_characters())
    new_id = {byte: i for i, byte in enumerate(order)}
    merges = [(new_id.get(left, left), new_id.get(right, right)) for left, right in small.merges]
    other = Tokenizer(merges, list(small.special_tokens), order)
    ids = other.encode(text)
    assert ids == [new_id.get(i, i) for i in small.encode(text)]
    assert other.decode(ids) == text
    assert ids == other.to_tiktoken().encode(text, disallowed_special=())


def test_gpt2_files_that_do_not_belong_together_are_refused(small, tmp_path):
    ids, lines = small.to_gpt2()
    vocab, bpe = tmp_path / "encoder.json", tmp_path / "vocab.bpe"
    for wrong_ids, wrong_lines in (
        (ids, lines[::-1]),
        (ids, [*lines, "zz zz"]),
        (ids, [*lines, "a b c"]),
        ({token: i for token, i in ids.items() if token != "A"}, lines),
        ({token: i + 1 for token, i in ids.items()}, lines),
        ([1, 2], lines),
        ({**ids, "A": None}, lines),
    ):
        vocab.write_text(json.dumps(wrong_ids), encoding="utf-8")
        bpe.write_text("\n".join(["#version: 0.2", *wrong_lines]), encoding="utf-8")
        with pytest.raises(ValueError, match="encoder.json"):
            Tokenizer.from_gpt2(bpe, vocab)


# ---- saving and loading ----


def test_saved_and_loaded_is_the_same(small, tmp_path):
    path = tmp_path / "tokenizer.json"
    small.save(path)
    again = Tokenizer.load(path)
    assert again.tokens == small.tokens and again.special_tokens == small.special_tokens
    assert again.encode(SAMPLE, "all") == small.encode(SAMPLE, "all")
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_interrupted_save_keeps_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    small.save(path)
    before = path.read_bytes()

    def pulled_plug(*args):
        raise KeyboardInterrupt

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, pulled_plug)
            with pytest.raises(KeyboardInterrupt):
                Tokenizer([], ["<|other|>"]).save(path)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def damaged_files():
    good = {
        "format": "next-token tokenizer 1",
        "byte_order": list(range(256)),
        "merges": [[97, 98], [256, 99]],
        "special_tokens": ["<|end|>"],
    }

    def but(**changes):
        return json.dumps({**good, **changes})

    yield "cut off", json.dumps(good)[:-30], "damaged or not JSON"
    yield "not text", "\udcff\udcfe", "damaged or not JSON"
    yield "nested", "[" * 100_000, "damaged or not JSON"
    yield "empty", "", "damaged or not JSON"
    yield "other JSON", "[1, 2, 3]", "not a tokenizer"
    yield "other format", but(format="next-token model 1"), "not a tokenizer"
    yield "no merges", but(merges=None), "lacks merges"
    yield "merge of the future", but(merges=[[97, 257]]), "merge 256 must join two earlier ids"
    yield "negative", but(merges=[[97, -1]]), "merge 256 must join two earlier ids"
    yield "a float", but(merges=[[97.0, 98]]), "merge 256 must join two earlier ids"
    yield "a truth value", but(merges=[[True, 98]]), "merge 256 must join two earlier ids"
    yield "three", but(merges=[[97, 98, 99]]), "merge 256 must join two earlier ids"
    yield "a number", but(merges=[5]), "merge 256 must join two earlier ids"
    yield "twice", but(merges=[[97, 98], [97, 98]]), "twice"
    yield "byte missing", but(byte_order=[0] * 256), "every byte value"
    yield "bytes as text", but(byte_order=["0"] * 256), "every byte value"
    yield "special twice", but(special_tokens=["x", "x"]), "different strings"
    yield "special empty", but(special_tokens=[""]), "at least one character"
    yield "special number", but(special_tokens=[3]), "at least one character"
    yield "special list", but(special_tokens=[[]]), "special token"


@pytest.mark.parametrize(("name", "text", "message"), list(damaged_files()))
def test_damaged_and_foreign_files_are_named(tmp_path, name, text, message):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(path)


def test_merges_that_tiktoken_cannot_express_are_refused():
    never = Tokenizer([(97, 98), (98, 99), (97, 257)])  # in "abc", ab is merged before bc
    assert never.encode("abc") == [256, 99]
    with pytest.raises(ValueError, match="token 258"):
        never.to_tiktoken()


# ---- bad input ----


def test_bad_input_is_answered_with_a_sentence(small):
    with pytest.raises(ValueError, match="vocab_size is 257: bytes and special tokens need 258"):
        Tokenizer.train(SAMPLE, 257, ["a", "b"])
    with pytest.raises(ValueError, match="pairs for vocab_size 258: ask for less"):
        Tokenizer.train("abc", 300)
    with pytest.raises(ValueError, match="pairs for vocab_size 256"):
        Tokenizer.train("", 300)
    with pytest.raises(ValueError, match="different strings"):
        Tokenizer.train(SAMPLE, 300, "<|end|>")
    with pytest.raises(ValueError, match="ids run from 0 to 329"):
        small.decode([330])
    with pytest.raises(ValueError, match="no token -1"):
        small.decode([-1])
    with pytest.raises(ValueError, match="not special tokens of this tokenizer"):
        small.encode("a", allowed_special={"<|nope|>"})
    with pytest.raises(ValueError, match="not special tokens of this tokenizer"):
        small.encode("a", allowed_special="<|end|>")


# ---- the module itself ----


def test_every_definition_is_public_and_fits_a_cell():
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert node.name in module.__all__
            assert node.end_lineno - node.lineno < 40, node.name
