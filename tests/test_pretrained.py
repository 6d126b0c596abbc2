"""Pretrained weights: parity with Hugging Face's GPT-2 both ways, and files that are wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from safetensors.torch import load_file, save_file

from course_lib import sync
from course_lib.kernel import kernel_environment, run_notebook
from course_lib.pretrained import (
    config_from_hf,
    config_to_hf,
    is_turned,
    load_pretrained,
    our_name,
    save_pretrained,
    their_name,
)
from course_lib.sampling import Sampling, generate, left_pad
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import GPT, GPTConfig

GREEDY = Sampling(temperature=0)
SHAPES = {  # vocabulary, context, layers, heads, width, factor on the weights
    "one layer": (97, 64, 1, 1, 16, 1),
    "twelve layers": (211, 64, 12, 4, 24, 1),
    "odd heads": (101, 64, 2, 3, 33, 1),
    "large weights": (89, 64, 3, 2, 32, 10),
}


def hugging_face(vocab, context, n_layer, n_head, n_embd, factor, **more):
    transformers = pytest.importorskip("transformers", reason="no transformers")
    torch.manual_seed(n_layer)
    config = transformers.GPT2Config(
        vocab_size=vocab, n_positions=context, n_layer=n_layer, n_head=n_head, n_embd=n_embd,
        bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains that are not 0 and 1, too
            noise = (0.3 if factor == 1 else 0.05) * torch.randn_like(parameter)
            parameter.add_(noise).mul_(factor)
    return model


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest logit."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def ids(vocab: int, batch: int = 3, length: int = 40) -> torch.Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path):
    """A small folder that is right, to be spoilt."""
    torch.manual_seed(0)
    save_pretrained(GPT(GPTConfig(50, 16, 2, 2, 8)), tmp_path / "good")
    return tmp_path / "good"


# ---- parity ------------------------------------------------------------------------------------


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def pair(request, tmp_path):
    """A random GPT-2 of Hugging Face's, and ours, loaded from the folder that theirs wrote."""
    theirs = hugging_face(*request.param)
    theirs.save_pretrained(tmp_path / "theirs")
    return theirs, load_pretrained(tmp_path / "theirs")


@torch.no_grad()
def test_logits_equal_hugging_face(pair):
    """Within 1e-12 in float64, and in float32 within 1e-5 or what rounding makes of such logits.

    Weights that are ten times as large give scores that a softmax is very sensitive to: Hugging
    Face's float32 logits are then 2e-5 away from their own float64 ones.
    """
    theirs, ours = pair
    idx = ids(ours.config.vocab_size)
    mine, reference = ours(idx), theirs(idx).logits
    exact = theirs.double()(idx).logits
    assert apart(ours.double()(idx), exact) < 1e-12
    rounding = apart(reference.double(), exact)
    assert rounding < 1e-4
    assert apart(mine, reference) < max(1e-5, 2 * rounding)


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
def test_greedy_text_equals_hugging_face(pair, use_cache):
    theirs, ours = pair
    prompt = ids(ours.config.vocab_size, 2, 8)
    expected = theirs.generate(
        prompt, max_new_tokens=50, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert expected[:, 8:].unique().numel() > 4  # and not one token fifty times
    assert generate(ours, prompt, 50, GREEDY, use_cache=use_cache).tolist() == expected.tolist()


@torch.no_grad()
def test_prompts_of_unequal_lengths(pair):
    """One batch of ours, padded on the left, against Hugging Face's texts one by one."""
    theirs, ours = pair
    texts = [[5, 6, 7], [1, 2, 3, 4, 8, 9], [11]]
    idx, n_pad = left_pad(texts, pad=0)
    logits = ours.double()(idx, n_pad=n_pad)[:, -1]
    theirs.double()
    for row, text in zip(logits, texts):
        assert apart(row, theirs(torch.tensor([text])).logits[0, -1]) < 1e-12
    rows = generate(ours, idx, 50, GREEDY, n_pad=n_pad)
    for row, pad, text in zip(rows, n_pad, texts):
        expected = theirs.generate(
            torch.tensor([text]), max_new_tokens=50, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert row[pad:].tolist() == expected[0].tolist()


@torch.no_grad()
def test_there_and_back_again(pair, tmp_path):
    """From Hugging Face to us and back: every one of their tensors returns bit for bit."""
    transformers = pytest.importorskip("transformers", reason="no transformers")
    theirs, ours = pair
    save_pretrained(ours, tmp_path / "ours")
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").eval()
    assert again.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    idx = ids(ours.config.vocab_size)
    assert torch.equal(again(idx).logits, theirs(idx).logits)


@torch.no_grad()
def test_the_two_gelus_are_told_apart(tmp_path):
    theirs = hugging_face(*SHAPES["one layer"], activation_function="gelu")
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="activation_function = 'gelu'"):
        load_pretrained(tmp_path)
    entries = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(entries | {"activation_function": "gelu_new"}))
    assert apart(load_pretrained(tmp_path)(ids(97)), theirs(ids(97)).logits) > 1e-5


def test_logits_depend_on_every_parameter_but_the_biases_of_the_keys():
    """So a comparison of logits proves every number, if the text is as long as the context."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(31, 12, 2, 2, 8)).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    logits = model(ids(31, 1, 12))
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in model.named_parameters():
        parts = [parameter.grad]
        if name.endswith("qkv.bias"):
            query, key, value = parameter.grad.chunk(3)
            assert key.abs().max() < 1e-12
            parts = [query, value]
        assert all(part.abs().min() > 1e-9 for part in parts), name


@torch.no_grad()
def test_own_head(tmp_path):
    theirs = hugging_face(*SHAPES["odd heads"], tie_word_embeddings=False)
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    assert not ours.config.tied
    assert apart(ours(ids(101)), theirs(ids(101)).logits) < 1e-5


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_hugging_face_opens_ours(bias, tied, tmp_path):
    transformers = pytest.importorskip("transformers", reason="no transformers")
    torch.manual_seed(3)
    ours = GPT(GPTConfig(71, 32, 2, 3, 24, bias=bias, tied=tied)).eval()
    for parameter in ours.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    save_pretrained(ours, tmp_path)
    theirs, report = transformers.GPT2LMHeadModel.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    idx = ids(71, length=20)
    assert apart(ours(idx), theirs.eval()(idx).logits) < 1e-5
    assert apart(load_pretrained(tmp_path)(idx), ours(idx)) < 1e-6


@pytest.mark.parametrize("special", [(), ("<|endoftext|>",)])
def test_hugging_face_opens_the_tokenizer(special, tmp_path):
    transformers = pytest.importorskip("transformers", reason="no transformers")
    text = "The quick brown fox jumps over the lazy dog. 猫が好き! " * 3
    ours = Tokenizer.train(text, 290 + len(special), special)
    config = GPTConfig(ours.vocab_size, 16, 1, 1, 4)
    save_pretrained(GPT(config), tmp_path, ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == ours.encode(text)
    assert theirs.decode(ours.encode(text)) == text
    again = Tokenizer.from_gpt2(tmp_path / "merges.txt", tmp_path / "vocab.json")
    assert again.encode(text) == ours.encode(text)
    assert again.special_tokens == ours.special_tokens


@pytest.mark.parametrize("special", [(), ("<|endoftext|>",)])
def test_transformers_stops_at_our_special_token_and_warns_of_nothing(special, tmp_path, caplog):
    transformers = pytest.importorskip("transformers", reason="no transformers")
    tokenizer = Tokenizer.train("The quick brown fox. " * 9, 260 + len(special), special)
    model = GPT(GPTConfig(tokenizer.vocab_size, 32, 1, 1, 8))
    with torch.no_grad():  # whatever it reads, the last token is the likeliest
        model.ln_f.weight.zero_()
        model.ln_f.bias.fill_(1)
        model.wte.weight[-1] = 1
    save_pretrained(model, tmp_path, tokenizer)
    with caplog.at_level("WARNING"):
        transformers.logging.enable_propagation()
        try:
            theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
        finally:
            transformers.logging.disable_propagation()
    assert caplog.messages == []
    batch = transformers.AutoTokenizer.from_pretrained(tmp_path)("The fox", return_tensors="pt")
    new = theirs.generate(**batch, max_new_tokens=5, do_sample=False, pad_token_id=0)
    new = new[0, batch["input_ids"].size(1) :].tolist()
    assert new == [tokenizer.vocab_size - 1] * (1 if special else 5)


def test_a_model_is_not_put_beside_another_ones_tokenizer(tmp_path):
    """And nothing that was there is lost."""
    save_pretrained(GPT(GPTConfig(256, 16, 1, 1, 4)), tmp_path, Tokenizer.train("ab", 256))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="holds a tokenizer, perhaps of another model"):
        save_pretrained(GPT(GPTConfig(50, 16, 1, 1, 4)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_weights_are_on_the_disk_before_they_take_the_name(folder, monkeypatch):
    """And a computer that stops before that leaves the old file and no other."""
    steps, before = [], (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda number: steps.append(os.fstat(number).st_size))

    def stop(source, target):
        assert steps == [Path(source).stat().st_size] and steps[0] > 1000
        raise OSError("the power is cut")

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(OSError, match="power"):
        save_pretrained(GPT(GPTConfig(50, 16, 2, 2, 8)), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


# ---- names, and what files may hold ------------------------------------------------------------


def test_names_there_and_back():
    for name, _ in GPT(GPTConfig(11, 8, 2, 1, 4, tied=False)).named_parameters():
        assert our_name(their_name(name)) == name
        assert our_name(their_name(name).removeprefix("transformer.")) == name
    assert our_name("h.0.attn.bias") is None and our_name("h.3.attn.masked_bias") is None
    assert our_name("h.0.attn.c_attn.bias") == "blocks.0.attn.qkv.bias"
    assert not is_turned("wte.weight") and is_turned("blocks.0.attn.proj.weight")


@pytest.mark.parametrize("size", ["small", "medium", "large", "xl"])
def test_published_sizes(size):
    assert config_from_hf(config_to_hf(GPTConfig.gpt2(size))) == GPTConfig.gpt2(size)


def test_published_layout_with_masks_and_half_precision(folder):
    """The published file has no prefix and holds masks; float16 becomes float32."""
    before = load_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("transformer."): t.half() for name, t in tensors.items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    tensors["h.1.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    after = load_pretrained(folder)
    assert after.wte.weight.dtype == torch.float32
    torch.testing.assert_close(after(ids(50, 1, 9)), before(ids(50, 1, 9)), atol=1e-2, rtol=0)


def spoil(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_missing_and_unexpected_tensors_are_named_together(folder):
    def change(tensors):
        tensors["transformer.h.0.mlp.c_up.weight"] = tensors.pop("transformer.h.0.mlp.c_fc.weight")

    spoil(folder, change)
    with pytest.raises(ValueError, match=r"lacks .*h\.0\.mlp\.c_fc\.weight.*no place for .*c_up"):
        load_pretrained(folder)


def test_a_parameter_that_is_there_twice(folder):
    spoil(folder, lambda tensors: tensors.update({"wte.weight": torch.ones(50, 8)}))
    with pytest.raises(ValueError, match=r"holds \S*wte\.weight and \S*wte\.weight.*one of them"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("transformer.h.0.attn.c_attn.weight", "h.0.attn.qkv.weight"),
        ("transformer.h.1.mlp.c_fc.bias", "blocks.1.mlp.fc.bias"),
        ("transformer.ln_f.bias", "transformer.transformer.ln_f.bias"),
    ],
)
def test_names_that_no_published_file_has(folder, theirs, ours):
    spoil(folder, lambda tensors: tensors.update({ours: tensors.pop(theirs)}))
    complaint = f"lacks {re.escape(theirs)}; our model has no place for {re.escape(ours)}"
    with pytest.raises(ValueError, match=complaint):
        load_pretrained(folder)


def test_our_name_for_the_head_is_no_published_name_either(folder):
    spoil(folder, lambda tensors: tensors.update({"head.weight": torch.ones(50, 8)}))
    with pytest.raises(ValueError, match="no place for head.weight"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(torch.int32, "I32"), (torch.bool, "BOOL"), (torch.complex64, "C64"), (torch.int8, "I8")],
)
def test_numbers_of_the_wrong_kind(folder, dtype, kind):
    name = "transformer.ln_f.weight"
    spoil(folder, lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
    with pytest.raises(ValueError, match=f"{re.escape(name)} holds {kind} and should hold"):
        load_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_numbers_of_every_floating_point_kind(folder, dtype):
    name = "transformer.ln_f.weight"
    spoil(folder, lambda tensors: tensors.update({name: 0.5 * torch.ones(8, dtype=dtype)}))
    weight = load_pretrained(folder).ln_f.weight
    assert weight.dtype == torch.float32 and weight.eq(0.5).all()


def test_wrong_shape_is_named(folder):
    def change(tensors):
        name = "transformer.h.1.attn.c_attn.weight"
        tensors[name] = tensors[name].T.contiguous()

    spoil(folder, change)
    with pytest.raises(
        ValueError, match=r"h\.1\.attn\.c_attn\.weight is \(24, 8\) and .*\(8, 24\)"
    ):
        load_pretrained(folder)


def test_two_heads_in_a_tied_model(folder):
    spoil(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(50, 8)}))
    with pytest.raises(ValueError, match="lm_head.weight that differs"):
        load_pretrained(folder)


def test_a_second_head_of_another_shape(folder):
    """The advice is about the shape: setting tie_word_embeddings to false would not help."""
    spoil(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(40, 8)}))
    with pytest.raises(ValueError, match=r"lm_head\.weight is \(40, 8\) and should be \(50, 8\)"):
        load_pretrained(folder)


def test_two_heads_that_are_equal_and_not_a_number(folder):
    """Training can go wrong; the two matrices are copies all the same."""

    def change(tensors):
        tensors["transformer.wte.weight"][7] = float("nan")
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()

    spoil(folder, change)
    assert load_pretrained(folder).wte.weight.isnan().sum() == 8


def test_weights_that_are_not_there(folder):
    """A pickle is spoken of where there is one, and parts where there are parts."""
    (folder / "model.safetensors").unlink()
    for name, complaint in (
        (None, "There is no model.safetensors in .*: give a folder that holds one"),
        ("pytorch_model.bin", "a pickle"),
        ("model-00001-of-00002.safetensors", "split into several files: save them again in one"),
    ):
        if name:
            (folder / name).write_bytes(b"")
        with pytest.raises(ValueError, match=complaint) as caught:
            load_pretrained(folder)
        assert ("pickle" in str(caught.value)) == (name == "pytorch_model.bin")


def test_files_that_are_no_safetensors(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for data in (b"", whole[:7], whole[:100], whole[:-1], b"\xff" * 64, b"{}" * 50):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="no whole safetensors file"):
            load_pretrained(folder)
    torch.save({"wte.weight": torch.ones(2)}, path)  # a pickle under another name
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load_pretrained(folder)
    path.unlink()
    with pytest.raises(ValueError, match="There is no model.safetensors"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"model_type": "llama"}, "model_type = 'llama'"),
        ({"n_inner": 7}, "n_inner = 7"),
        ({"n_head": 3}, "not divisible"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings = 'no'.* true or false"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings = None.* true or false"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings = 1.* true or false"),
        ({"vocab_size": 10**12}, r"wte.weight is \(50, 8\) and should be \(1000000000000, 8\)"),
        ({"n_positions": 10**15}, r"wpe.weight is \(16, 8\)"),
        ({"vocab_size": 10**18, "n_embd": 10**12}, "No computer can hold"),
        ({"vocab_size": 10**30}, "No computer can hold"),
        ({"n_layer": 10**12}, r"n_layer = 1000000000000, but the layers in .* are 2\."),
    ],
)
def test_configurations_of_other_models(folder, entries, complaint):
    right = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(right | entries))
    with pytest.raises(ValueError, match=complaint):
        load_pretrained(folder)


def test_damaged_configurations(folder):
    for text, complaint in (
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no configuration"),
        ("{}", "lacks vocab"),
    ):
        (folder / "config.json").write_text(text)
        with pytest.raises(ValueError, match=complaint):
            load_pretrained(folder)
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="There is no config.json"):
        load_pretrained(folder)


def test_tokenizer_of_another_model(tmp_path):
    with pytest.raises(ValueError, match="256 tokens and the model 50"):
        save_pretrained(GPT(GPTConfig(50, 16, 1, 1, 4)), tmp_path, Tokenizer.train("ab", 256))


# ---- memory ------------------------------------------------------------------------------------

PEAK = """
import sys
from course_lib.pretrained import empty_model, load_pretrained
from course_lib.transformer import GPTConfig, count_parameters


def megabytes(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key))
    return int(line.split()[1]) / 1024


empty_model(GPTConfig(5, 4, 1, 1, 4))  # torch imports what it needs for this once
before = megabytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew from here
model = load_pretrained(sys.argv[1])
print((megabytes("VmHWM") - before) * 2**20 / (4 * count_parameters(model.config)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_loading_takes_little_more_memory_than_the_model(tmp_path):
    """With GPT-2's proportions: the token embedding is about a third of all parameters."""
    save_pretrained(GPT(GPTConfig(20_000, 256, 6, 8, 512)), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.3


# ---- the programs with Transformers that the notebook shows -------------------------------------


def programs() -> dict[str, str]:
    """The Python texts in the notebook's prose, by cell; the numbers of lines are taken off."""
    (chapter,) = (each for each in sync.chapters() if each.word == "pretrained")
    found = {}
    for cell in sync.load(chapter.notebook)["cells"]:
        if cell["cell_type"] == "markdown" and "```python" in cell["source"]:
            text = cell["source"].split("```python\n")[1].split("```")[0]
            found[cell["id"]] = re.sub(r"(?m)^\d  ", "", text)
    return found


def test_programs_with_transformers_do_what_the_notebook_says(tmp_path, capsys):
    pytest.importorskip("transformers", reason="no transformers")
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(Path(__file__).read_text(), 300, ["<|endoftext|>"])
    model = GPT(GPTConfig(300, 96, 2, 3, 24))
    for parameter in model.parameters():  # a model with opinions
        parameter.data += 0.3 * torch.randn_like(parameter)
    save_pretrained(model, tmp_path, tokenizer)
    texts, names = programs(), {}
    assert len(texts) == 4
    exec(texts["transformers-text"].replace('"gpt2"', repr(str(tmp_path))), names)
    shown = capsys.readouterr().out
    assert shown.count("The quick brown fox jumps over the lazy dog") == 5
    assert torch.isclose(names["probs"].sum(), torch.tensor(1.0))
    percents = [float(number) for number in re.findall(r"^([\d.]+)% ", shown, re.M)]
    assert len(percents) == 10 and percents == sorted(percents, reverse=True)
    with torch.no_grad():
        logits = load_pretrained(tmp_path)(names["batch"]["input_ids"])
    assert apart(names["logits"], logits[0, -1]) < 1e-5

    with pytest.raises(ValueError, match="num_return_sequences"):
        exec(texts["bugs-text"], names)
    try:
        exec(texts["bug-next-text"], names)
    except (OverflowError, TypeError, IndexError):
        pass  # there is no such token
    assert names["predicted"] == logits[0].argmax() != logits[0, -1].argmax()
    exec(texts["bug-logits-text"], names)
    percents = [float(number) for number in re.findall(r"([-\d.]+)%", capsys.readouterr().out)]
    assert len(percents) == 10 and percents[0] > 100


# ---- the notebook on published files -----------------------------------------------------------

DATA = Path(os.environ.get("COURSE_DATA", "nowhere")) / "gpt2"


@pytest.fixture(params=["COURSE_GPT2", "COURSE_DATA"])
def published(request, tmp_path):
    """(variable, its value): a random model in a folder of its own, or among the real data sets."""
    torch.manual_seed(0)
    if request.param == "COURSE_GPT2":
        tokenizer = Tokenizer.train(Path(__file__).read_text(), 300, ["<|endoftext|>"])
        save_pretrained(GPT(GPTConfig(300, 96, 2, 3, 24)), tmp_path, tokenizer)
        return request.param, tmp_path
    if not (DATA / "vocab.bpe").is_file():
        pytest.skip("set COURSE_DATA to a folder with gpt2/vocab.bpe and gpt2/encoder.json")
    shutil.copytree(DATA, tmp_path / "gpt2")
    save_pretrained(GPT(GPTConfig(50257, 1024, 2, 2, 16)), tmp_path / "gpt2")
    return request.param, tmp_path


def run_chapter(tmp_path, keep, **variables) -> dict[str, str]:
    """What the cells print that `keep(id)` keeps, with these environment variables."""
    (chapter,) = (each for each in sync.chapters() if each.word == "pretrained")
    notebook = nbformat.from_dict(sync.load(chapter.notebook))
    notebook.cells = [cell for cell in notebook.cells if keep(cell.id)]
    for cell in notebook.cells:
        if "DOWNLOAD" in variables:
            cell.source = cell.source.replace("DOWNLOAD = False", "DOWNLOAD = True")
    environment = {**kernel_environment(tmp_path / "home"), **variables}
    if "COURSE_GPT2" not in variables:
        environment.pop("COURSE_GPT2", None)
    run_notebook(notebook, chapter.notebook.parent, environment)
    return {cell.id: sync.printed(cell) for cell in notebook.cells if cell.cell_type == "code"}


def test_notebook_runs_on_published_files(published, tmp_path):
    """Every cell but two that do not depend on the file and take long: they run elsewhere."""
    variable, place = published
    slow = ("others", "cost-measure")
    shown = run_chapter(tmp_path, lambda id: id not in slow, **{variable: str(place)})
    assert "on the published weights" in shown["choose"]
    assert shown["proof"].count("True") == 2
    (path,) = (*place.glob("config.json"), *place.glob("gpt2/config.json"))
    entries = json.loads(path.read_text())
    logits = entries["n_positions"] * entries["vocab_size"]  # every position is used
    assert shown["proof"].startswith(f"{logits:,} logits compared")
    assert shown["five"].startswith("The quick brown fox jumps over the lazy dog ...")


UP_TO_THE_CHOICE = """
setup imports our_name their_name is_turned SHAPE read_config config_from_hf config_to_hf
tokenizer_to_hf tensors_to_hf write_weights save_pretrained own-model choose choose-tokenizer
""".split()


def resize(place: Path, vocab_size: int) -> None:
    """Write into config.json that the model has so many tokens."""
    entries = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(entries | {"vocab_size": vocab_size}))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda place: (place / "merges.txt").unlink(), "files without the other"),
        (lambda place: (place / "vocab.json").unlink(), "files without the other"),
        (lambda place: resize(place, 50), "has 50 tokens, its tokenizer 300"),
    ],
)
def test_the_notebook_says_what_is_wrong_with_a_tokenizer(tmp_path, change, complaint):
    place = tmp_path / "home" / "published"  # found by `~`
    tokenizer = Tokenizer.train(Path(__file__).read_text(), 300, ["<|endoftext|>"])
    save_pretrained(GPT(GPTConfig(300, 96, 2, 3, 24)), place, tokenizer)
    change(place)
    wanted = {"COURSE_GPT2": "~/published", "HOME": str(place.parent)}
    wanted["USERPROFILE"] = wanted["HOME"]
    with pytest.raises(Exception, match=complaint):
        run_chapter(tmp_path, lambda id: id in UP_TO_THE_CHOICE, **wanted)


def test_without_a_network_the_notebook_says_so_and_goes_on(tmp_path):
    places = {"COURSE_DATA": str(tmp_path), "COURSE_CACHE": str(tmp_path)}
    shown = run_chapter(tmp_path, lambda id: id in UP_TO_THE_CHOICE, DOWNLOAD="yes", **places)
    failed, goes_on = shown["choose"].splitlines()
    assert "could not be downloaded" in failed and "Traceback" not in failed
    assert goes_on.endswith("runs on the little GPT.")
    assert "1,024 tokens" in shown["choose-tokenizer"]
