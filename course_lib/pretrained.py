"""Chapter 7: pretrained weights. The published GPT-2 in our own model, and our model for others.

This module adds the way in and the way out. `load_pretrained` reads a Hugging Face folder of
GPT-2's shape (`config.json` and `model.safetensors`) into our `GPT`: it translates the names, turns
the linear layers round, and accounts for every tensor. `save_pretrained` writes such a folder, with
the tokenizer's files, so that other libraries can open a model that was trained here.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from course_lib.tokenizer import Tokenizer, write_atomically
from course_lib.transformer import GPT, GPTConfig

__all__ = [
    "FIXED",
    "FLOATS",
    "RENAMED",
    "SHAPE",
    "account_for",
    "check_names",
    "check_shapes",
    "check_tied",
    "config_from_hf",
    "config_to_hf",
    "empty_model",
    "find_names",
    "first_few",
    "is_turned",
    "load_pretrained",
    "no_weights",
    "open_weights",
    "our_name",
    "outline",
    "read_config",
    "save_pretrained",
    "tensors_to_hf",
    "their_name",
    "tokenizer_to_hf",
    "write_weights",
]

# Parts of a name in the published file, and what they are called in our GPT.
RENAMED = (("h", "blocks"), ("c_attn", "qkv"), ("c_fc", "fc"), ("c_proj", "proj"))


def our_name(name: str) -> str | None:
    """The name in our GPT of a tensor of the published file; None for a stored mask.

    Old files hold the causal mask of every layer as `attn.bias` and `attn.masked_bias`.
    """
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    if name == "lm_head.weight":
        return "head.weight"
    table = dict(RENAMED)
    return ".".join(table.get(part, part) for part in name.removeprefix("transformer.").split("."))


def their_name(name: str) -> str:
    """The name in a Hugging Face file of a parameter of our GPT: the way back of `our_name`."""
    if name == "head.weight":
        return "lm_head.weight"
    table = {ours: theirs for theirs, ours in RENAMED}
    parts = [table.get(part, part) for part in name.split(".")]
    return ".".join(["transformer", *parts])


def is_turned(name: str) -> bool:
    """Is this parameter of ours stored the other way round, (in, out), in the published file?

    GPT-2's linear layers compute x @ W, and `nn.Linear` computes x @ W.T. Embeddings are looked
    up and not multiplied with, so they are the same in both.
    """
    return name.endswith(("qkv.weight", "proj.weight", "fc.weight"))


# What our GPT calls a number of the shape, and what `config.json` calls it.
SHAPE = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
}

# What our GPT has built in: each entry of `config.json`, if it is there, must be one of these.
FIXED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # both are the tanh form
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def read_config(path: Path) -> dict:
    """Read `config.json`; ValueError where there is none or it is no JSON object."""
    if not path.is_file():
        raise ValueError(f"There is no {path.name} in {path.parent}: give a folder that holds one.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not JSON ({error}): fetch it again.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is JSON, but no configuration: it must be an object with names.")
    return found


def config_from_hf(found: dict) -> GPTConfig:
    """Our configuration from the entries of `config.json`; ValueError if the model is not ours.

    Dropout is not read back: who trains the model further chooses it anew.
    """
    for key, allowed in FIXED.items():
        if found.get(key, allowed[0]) not in allowed:
            raise ValueError(
                f"config.json has {key} = {found[key]!r}: our GPT needs {allowed[0]!r}."
            )
    if missing := [theirs for theirs in SHAPE.values() if theirs not in found]:
        raise ValueError(f"config.json lacks {', '.join(missing)}: it is no GPT-2's.")
    tied = found.get("tie_word_embeddings", True)
    if not isinstance(tied, bool):
        raise ValueError(f"config.json has tie_word_embeddings = {tied!r}: write true or false.")
    config = GPTConfig(**{ours: found[theirs] for ours, theirs in SHAPE.items()}, tied=tied)
    if found.get("n_inner") not in (None, 4 * config.n_embd):
        raise ValueError(
            f"config.json has n_inner = {found['n_inner']}: our MLP is 4 * n_embd wide."
        )
    return config


def config_to_hf(config: GPTConfig, end: int | None = None) -> dict:
    """The entries of `config.json` that describe this configuration.

    `end` is the id of the special token that stands between texts. Without the two entries other
    programs would assume GPT-2's own, 50256.
    """
    fixed = {key: allowed[0] for key, allowed in FIXED.items()}
    shape = {theirs: getattr(config, ours) for ours, theirs in SHAPE.items()}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout)
    tied = {"tie_word_embeddings": config.tied, "architectures": ["GPT2LMHeadModel"]}
    return fixed | shape | dropout | tied | {"bos_token_id": end, "eos_token_id": end}


def no_weights(folder: Path) -> str:
    """Why there is no `model.safetensors` in a folder, and what to do about it."""
    if any(folder.glob("model-*-of-*.safetensors")):
        return f"The weights in {folder} are split into several files: save them again in one."
    if (folder / "pytorch_model.bin").is_file():
        return (
            f"The weights in {folder} are a pickle (pytorch_model.bin), which can run any program "
            "when it is opened: this course reads safetensors only."
        )
    return f"There is no model.safetensors in {folder}: give a folder that holds one."


def open_weights(path: Path):
    """Open a safetensors file for reading tensor by tensor; ValueError where that is not one."""
    if not path.is_file():
        raise ValueError(no_weights(path.parent))
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is no whole safetensors file ({error}): it is cut off, damaged or of another "
            "format, so fetch it again."
        ) from None


def first_few(things: list[str], between: str) -> str:
    """At most five of them in one line, and how many more there are."""
    more = f" and {len(things) - 5} more" if things[5:] else ""
    return between.join(things[:5]) + more


def find_names(path: Path, names: list[str]) -> dict[str, str]:
    """Our names of the tensors in a file -> the file's own; masks are left out.

    ValueError if two of them are the same parameter, once with `transformer.` and once without.
    """
    found = {}
    for name in names:
        ours = our_name(name)
        if ours in found:
            raise ValueError(f"{path} holds {found[ours]} and {name}: leave only one of them.")
        if ours is not None:
            found[ours] = name
    return found


def check_names(path: Path, found: dict[str, str], wanted: set[str]) -> None:
    """Raise one ValueError that names what is missing and what is left over, if anything is.

    `found` maps our names to those in the file; `wanted` are the parameters of our model. A name
    that only our model uses, such as `h.0.attn.qkv.weight`, is left over: no published file has it.
    """
    known = {
        ours
        for ours, theirs in found.items()
        if their_name(ours) in (theirs, f"transformer.{theirs}")
    }
    missing = sorted(their_name(name) for name in wanted - known)
    extra = sorted(found[name] for name in found.keys() - (wanted & known))
    wrong = [f"it lacks {first_few(missing, ', ')}"] if missing else []
    wrong += [f"our model has no place for {first_few(extra, ', ')}"] if extra else []
    if wrong:
        raise ValueError(f"{path} does not fit its config.json: {'; '.join(wrong)}.")


# What safetensors calls the kinds of numbers that weights may be stored as.
FLOATS = ("F64", "F32", "F16", "BF16")


def check_shapes(path: Path, file, found: dict[str, str], wanted: dict[str, Tensor]) -> None:
    """Raise one ValueError that names every tensor of the wrong shape or of the wrong kind."""
    wrong = []
    for name, parameter in wanted.items():
        stored = file.get_slice(found[name])  # what the header says, without the numbers
        there = tuple(stored.get_shape())
        here = tuple(parameter.T.shape if is_turned(name) else parameter.shape)
        if there != here:
            wrong.append(f"{found[name]} is {there} and should be {here}")
        elif (kind := stored.get_dtype()) not in FLOATS:
            wrong.append(f"{found[name]} holds {kind} and should hold one of {', '.join(FLOATS)}")
    if wrong:
        raise ValueError(f"{path} does not fit its config.json: {first_few(wrong, '; ')}.")


def check_tied(path: Path, file, head: str, embedding: str) -> None:
    """Raise a ValueError if a file that stores the tied matrix twice stores two matrices."""
    both = file.get_tensor(head), file.get_tensor(embedding)
    if not torch.allclose(*both, rtol=0, atol=0, equal_nan=True):
        raise ValueError(
            f"{path} has a {head} that differs from {embedding}, but its config.json says that "
            "they are tied: set tie_word_embeddings to false there."
        )


def outline(config: GPTConfig) -> GPT:
    """A GPT that has names and shapes, but no numbers and no memory for them."""
    try:
        with torch.device("meta"):
            return GPT(config)
    except (RuntimeError, TypeError):  # torch counts with 64 bits
        raise ValueError(f"No computer can hold a model of this shape: {config}.") from None


def account_for(path: Path, file, config: GPTConfig) -> dict[str, str]:
    """Our names of the parameters in a file -> the file's own, if every tensor fits the config.

    ValueError if not. Only the header is read, unless the tied matrix is there twice.
    """
    found = find_names(path, file.keys())
    n_layer = len({name.split(".")[1] for name in found if name.startswith("blocks.")})
    if n_layer != config.n_layer:
        raise ValueError(
            f"config.json has n_layer = {config.n_layer}, but the layers in {path} are {n_layer}."
        )
    model = outline(config)
    wanted = dict(model.named_parameters())  # a tied head is not among them
    twice = config.tied and "head.weight" in found  # as in some files
    if twice:
        wanted["head.weight"] = model.head.weight
    check_names(path, found, wanted.keys())
    check_shapes(path, file, found, wanted)
    if twice:
        check_tied(path, file, found["head.weight"], found["wte.weight"])
    return found


def empty_model(config: GPTConfig) -> GPT:
    """A GPT whose parameters have a place in memory and no values yet.

    Nothing is drawn at random only to be overwritten, and memory that nobody has written to is
    not taken from the machine.
    """
    model = outline(config).to_empty(device="cpu")
    if config.tied:
        model.head.weight = model.wte.weight  # `to_empty` has made two of them
    return model


def load_pretrained(folder: str | Path) -> GPT:
    """Build our GPT from a Hugging Face folder of GPT-2's shape, float32 and in evaluation mode.

    Reads `config.json` and `model.safetensors`, one tensor at a time, so that memory holds the
    model and at most one tensor more. No memory is taken for the model before every name, shape
    and kind of number is accounted for; whatever is wrong is one ValueError.
    """
    folder = Path(folder)
    config = config_from_hf(read_config(folder / "config.json"))
    path = folder / "model.safetensors"
    with open_weights(path) as file:
        found = account_for(path, file, config)
    model = empty_model(config)
    for name, parameter in model.named_parameters():
        with open_weights(path) as file, torch.no_grad():  # closed, it gives back what it has read
            stored = file.get_tensor(found[name])
            parameter.copy_(stored.T if is_turned(name) else stored)
        del stored
    return model.eval()


def tokenizer_to_hf(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer as `vocab.json` and `merges.txt`, and its settings beside them."""
    ids, merges = tokenizer.to_gpt2()
    end = next(iter(tokenizer.special_tokens), None)  # GPT-2 has one, <|endoftext|>, for all uses
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}
    settings |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    write_atomically(folder / "vocab.json", json.dumps(ids, ensure_ascii=False))
    write_atomically(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
    write_atomically(folder / "tokenizer_config.json", json.dumps(settings, indent=2))


def tensors_to_hf(model: GPT) -> dict[str, Tensor]:
    """Our parameters under the published names and in the published layout.

    GPT-2 has a bias everywhere; a model of ours without them gets zeros, which change nothing.
    """
    tensors = {}
    for name, parameter in model.named_parameters():
        stored = parameter.detach().cpu()
        tensors[their_name(name)] = (stored.T if is_turned(name) else stored).contiguous()
        if not model.config.bias and name.startswith(("blocks", "ln_f")):
            width = parameter.size(0)  # a linear layer's outputs, or a layer norm's features
            tensors[their_name(name.replace("weight", "bias"))] = stored.new_zeros(width)
    return tensors


def write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file: `path` is then the new one whole, or what it was before."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, scratch, {"format": "pt"})
        with open(scratch, "r+b") as file:
            os.fsync(file.fileno())  # on the disk before it takes the name
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def save_pretrained(model: GPT, folder: str | Path, tokenizer: Tokenizer | None = None) -> None:
    """Write our GPT as a folder that Hugging Face Transformers opens: the way back of loading.

    ValueError if the tokenizer has not as many tokens as the model, or if none is given and the
    folder holds one, which may be another model's.
    """
    folder = Path(folder)
    if tokenizer is not None and tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"The tokenizer has {tokenizer.vocab_size} tokens and the model "
            f"{model.config.vocab_size}: give the one that the model was trained with."
        )
    if tokenizer is None and (folder / "vocab.json").is_file():
        raise ValueError(
            f"{folder} holds a tokenizer, perhaps of another model: give this model's as well, or "
            "another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "model.safetensors", tensors_to_hf(model))
    special = {} if tokenizer is None else tokenizer.special_tokens
    entries = config_to_hf(model.config, end=next(iter(special.values()), None))
    write_atomically(folder / "config.json", json.dumps(entries, indent=2))
    if tokenizer is not None:
        tokenizer_to_hf(tokenizer, folder)
