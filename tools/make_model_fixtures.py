#!/usr/bin/env python3
"""Writes tests/fixtures/models: tiny random models and the logits transformers gives for them.

Each fixture is an HF folder (config.json, safetensors, tokenizer) and, where llama.cpp's format can
say the same thing, model.gguf with the changes its converter makes: rows of Q and K reordered for
`llama`, gemma's norms with +1, rope_freqs for llama3 scaling, rope_factors for longrope.
expected.json lists token sequences, the context they are meant for and the file of f32 logits,
(tokens, vocab) row-major, computed in f32 with eager attention from the folder as written.

Needs torch, transformers, safetensors, gguf and numpy. The committed files come from torch 2.6.0,
transformers 5.23.0 and gguf 0.19.0, and are written again to the byte by:

    python tools/make_model_fixtures.py [--out DIR] [NAME...]
"""

import argparse
import json
import math
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoConfig

from model_fixture_gguf import save_gguf
from model_fixture_vocabulary import N_SPECIAL, N_VOCAB, vocabulary

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def config(architecture, model_type, dtype="float16", **overrides):
    base = {
        "architectures": [architecture],
        "model_type": model_type,
        "torch_dtype": dtype,
        "vocab_size": N_VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    base.update(overrides)
    return base


def llama(**overrides):
    return config("LlamaForCausalLM", "llama", **overrides)


def gemma(architecture, model_type, **overrides):
    fields = {
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6,
        "head_dim": 12,
        "query_pre_attn_scalar": 12,
        "sliding_window": 8,
    }
    fields.update(overrides)
    return config(architecture, model_type, **fields)


# name -> (config, extra fields of the fixture)
FIXTURES = {
    "llama": (llama(dtype="float32", rope_theta=10000.0), {}),
    "llama_llama3": (
        llama(
            head_dim=16,
            rope_theta=1000.0,
            rope_scaling={
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
        {},
    ),
    "llama_linear": (
        llama(rope_parameters={"rope_type": "linear", "factor": 2.5, "rope_theta": 5000.0}),
        {},
    ),
    "llama_yarn": (
        llama(
            dtype="bfloat16",
            head_dim=24,
            rope_theta=10000.0,
            rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        ),
        {},
    ),
    "llama_bias": (llama(attention_bias=True, mlp_bias=True, rope_theta=10000.0), {}),
    "llama_tied": (
        llama(dtype="bfloat16", tie_word_embeddings=True, rope_theta=10000.0),
        {"shards": 3},
    ),
    "mistral_window": (
        config(
            "MistralForCausalLM", "mistral", head_dim=12, sliding_window=8, rope_theta=10000.0
        ),
        {},
    ),
    "qwen2": (
        config(
            "Qwen2ForCausalLM",
            "qwen2",
            dtype="bfloat16",
            rope_theta=1000000.0,
            rms_norm_eps=1e-6,
            use_sliding_window=False,
            sliding_window=8,
            max_window_layers=1,
        ),
        {},
    ),
    # GGUF has no key for qwen2's window.
    "qwen2_window": (
        config(
            "Qwen2ForCausalLM",
            "qwen2",
            rope_theta=1000000.0,
            use_sliding_window=True,
            sliding_window=8,
            max_window_layers=1,
        ),
        {"gguf": False},
    ),
    "qwen3": (
        config(
            "Qwen3ForCausalLM",
            "qwen3",
            dtype="bfloat16",
            head_dim=16,
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
            attention_bias=False,
        ),
        {},
    ),
    "gemma2": (
        gemma(
            "Gemma2ForCausalLM",
            "gemma2",
            num_hidden_layers=4,
            rope_theta=10000.0,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=8.0,
        ),
        {},
    ),
    "gemma3": (
        gemma(
            "Gemma3ForCausalLM",
            "gemma3_text",
            dtype="bfloat16",
            num_hidden_layers=7,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=32,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            rope_scaling={"rope_type": "linear", "factor": 2.0},
            sliding_window_pattern=6,
        ),
        {},
    ),
    # The v5 form of the same kind of model: a RoPE per layer type, the layer types listed.
    "gemma3_layer_types": (
        gemma(
            "Gemma3ForCausalLM",
            "gemma3_text",
            num_hidden_layers=2,
            layer_types=["full_attention", "sliding_attention"],
            query_pre_attn_scalar=20,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 3000.0},
            },
        ),
        {"gguf": False},
    ),
    "phi3_window": (
        config("Phi3ForCausalLM", "phi3", sliding_window=9, rope_theta=10000.0),
        {},
    ),
    "phi3_longrope": (
        config(
            "Phi3ForCausalLM",
            "phi3",
            dtype="bfloat16",
            hidden_size=48,
            intermediate_size=32,
            num_attention_heads=3,
            num_key_value_heads=1,
            sliding_window=None,
            rope_theta=10000.0,
            partial_rotary_factor=0.75,
            original_max_position_embeddings=32,
            rope_scaling={
                "type": "longrope",
                "short_factor": [1.0, 1.1, 1.25, 1.4, 1.7, 2.0],
                "long_factor": [1.0, 1.5, 2.5, 4.0, 7.0, 11.0],
            },
        ),
        {"cases": [("long", 64, 48), ("short", 32, 24)]},
    ),
}


def merges_of(tokens):
    """For every piece of two or more characters, the first split into two known pieces."""
    known, result = set(tokens), []
    for token in tokens[N_SPECIAL + 1 :]:
        for cut in range(len(token) - 1, 0, -1):
            if token[:cut] in known and token[cut:] in known:
                result.append([token[:cut], token[cut:]])
                break
    return result


def write_hf_tokenizer(folder):
    tokens = vocabulary()
    special = [
        {"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i in range(N_SPECIAL)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges_of(tokens),
        },
    }
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
        },
    )
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": 1,
            "eos_token_id": [2, 3],
            "do_sample": True,
            "temperature": 0.6,
            "top_p": 0.9,
            "top_k": 20,
        },
    )


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def random_weights(cfg, dtype, rng):
    """Every parameter of the model class, random but tame, exactly representable in `dtype`."""
    model = AutoModelForCausalLM.from_config(cfg, attn_implementation="eager")
    is_gemma = cfg.model_type.startswith("gemma")
    weights = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if "norm" in name:
            value = (0.0 if is_gemma else 1.0) + 0.25 * rng.standard_normal(shape)
        elif name.endswith("bias"):
            value = 0.3 * rng.standard_normal(shape)
        elif "embed_tokens" in name:
            value = (0.3 if is_gemma else 1.0) * rng.standard_normal(shape)
        else:
            value = rng.standard_normal(shape) * 1.3 / math.sqrt(shape[-1])
        weights[name] = torch.tensor(value, dtype=torch.float32).to(dtype)
    return weights


def save_weights(folder, weights, shards):
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(weights)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    total = sum(w.numel() * w.element_size() for w in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def save_expected(folder, cases, rng):
    model = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    listed = []
    for name, n_ctx, n_token in cases:
        tokens = [1] + [int(t) for t in rng.integers(4, N_VOCAB, n_token - 1)]
        with torch.no_grad():
            logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
        assert logits.shape == (n_token, N_VOCAB) and torch.isfinite(logits).all()
        (folder / f"{name}.f32").write_bytes(logits.numpy().astype("<f4").tobytes())
        listed.append({"name": name, "n_ctx": n_ctx, "tokens": tokens, "logits": f"{name}.f32"})
    write_json(folder / "expected.json", {"n_vocab": N_VOCAB, "cases": listed})
    return model


def make_fixture(out, name):
    c, extra = FIXTURES[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    write_json(folder / "config.json", c)
    write_hf_tokenizer(folder)
    weights = random_weights(AutoConfig.from_pretrained(folder), DTYPES[c["torch_dtype"]], rng)
    save_weights(folder, weights, extra.get("shards", 1))
    model = save_expected(folder, extra.get("cases", [("logits", 64, 40)]), rng)
    if extra.get("gguf", True):
        save_gguf(folder / "model.gguf", name, c, weights)
    n_byte = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name:20} {type(model).__name__:20} {len(weights):3} tensors {n_byte:7} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "models"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all when none is given")
    args = parser.parse_args()
    torch.manual_seed(0)
    for name in args.names or FIXTURES:
        make_fixture(args.out, name)


if __name__ == "__main__":
    main()
