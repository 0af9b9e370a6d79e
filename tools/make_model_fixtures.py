#!/usr/bin/env python3
"""Writes tests/fixtures/models: tiny random models and the logits transformers gives for them.

Each fixture is an HF folder (config.json, safetensors, tokenizer) and, where llama.cpp's format can
say the same thing, model.gguf with the changes its converter makes: rows of Q and K reordered for
`llama`, gemma's norms with +1, rope_freqs for llama3 scaling, rope_factors for longrope.
expected.json lists token sequences, the context they are meant for and the file of f32 logits,
(tokens, vocab) row-major, computed in f32 with eager attention from the folder as written.

Needs torch, transformers, safetensors, gguf and numpy. Output is a function of this file and of the
versions of those packages:

    python tools/make_model_fixtures.py [--out DIR] [NAME...]
"""

import argparse
import json
import math
import shutil
import zlib
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoConfig

N_VOCAB = 96
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
GGUF_TYPES = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
}


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
            final_logit_softcapping=3.0,
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


def vocabulary():
    """96 pieces in SentencePiece order: specials, one byte, then pieces by falling score."""
    single = "\u2581etaoinshrdlucmfwypvbgkjqxzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'-"
    merged = ["\u2581t", "he", "\u2581the", "in", "er", "an", "on", "re", "\u2581a", "nd", "ou"]
    merged += ["\u2581and", "en", "it", "is", "\u2581w", "or", "es", "ed", "\u2581s", "ing"]
    special = ["<unk>", "<s>", "</s>", "<0x0A>"]
    tokens = special + merged[: N_VOCAB - len(special) - len(single)] + list(single)
    assert len(tokens) == N_VOCAB and len(set(tokens)) == N_VOCAB
    return tokens


def merges_of(tokens):
    """For every piece of two or more characters, the first split into two known pieces."""
    known, result = set(tokens), []
    for token in tokens[4:]:
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
        for i in range(3)
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
        {"bos_token_id": 1, "eos_token_id": [2], "temperature": 0.6, "top_p": 0.9, "top_k": 20},
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


# --- GGUF -------------------------------------------------------------------------------------

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
}
GEMMA_LAYER_NAMES = LAYER_NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GLOBAL_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def gguf_name(name, is_gemma):
    if name in GLOBAL_NAMES:
        return GLOBAL_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{(GEMMA_LAYER_NAMES if is_gemma else LAYER_NAMES)[part]}.{kind}"


def interleave_rope_rows(value, n_head):
    """Rows of a head from halves (i, i + d/2) to adjacent pairs."""
    head = value.reshape(n_head, 2, value.shape[0] // n_head // 2, *value.shape[1:])
    return head.swapaxes(1, 2).reshape(value.shape)


def gguf_values(name, value, arch, c):
    value = value.float().numpy()
    if arch == "llama" and ".q_proj." in name:
        return interleave_rope_rows(value, c["num_attention_heads"])
    if arch == "llama" and ".k_proj." in name:
        return interleave_rope_rows(value, c["num_key_value_heads"])
    if arch.startswith("gemma") and "norm" in name:
        return value + np.float32(1)
    return value


def llama3_divisors(c, head_dim):
    scaling = c["rope_scaling"]
    freqs = 1.0 / c["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    divisors = []
    for wavelength in 2 * math.pi / freqs:
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(scaling["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def add_rope(writer, arch, c, head_dim):
    scaling = c.get("rope_scaling") or c.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    writer.add_rope_freq_base(c.get("rope_theta", scaling.get("rope_theta")))
    n_rot = int(head_dim * c.get("partial_rotary_factor", 1.0))
    if arch in ("llama", "phi3"):
        writer.add_rope_dimension_count(n_rot)
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(c, head_dim))
    elif kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(scaling["factor"])
        if kind == "yarn":
            writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    elif kind == "longrope":
        original = c["original_max_position_embeddings"]
        extension = c["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(
            math.sqrt(1 + math.log(extension) / math.log(original))
        )
        for length in ("long", "short"):
            factors = np.array(scaling[f"{length}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)


def add_hyper_parameters(writer, name, arch, c, head_dim):
    writer.add_name(name)
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_file_type({"float32": 0, "float16": 1, "bfloat16": 32}[c["torch_dtype"]])
    if "head_dim" in c:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if arch == "phi3":
        writer.add_sliding_window(c["sliding_window"] or 0)
    elif arch.startswith("gemma") or c["model_type"] == "mistral":
        writer.add_sliding_window(c["sliding_window"])
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(c["final_logit_softcapping"])
    add_rope(writer, arch, c, head_dim)


def add_gguf_tokenizer(writer):
    tokens = vocabulary()
    kinds = [gguf.TokenType.NORMAL] * N_VOCAB
    kinds[:4] = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL,
                 gguf.TokenType.BYTE]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 4 + [-float(i) for i in range(N_VOCAB - 4)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def save_gguf(path, name, c, weights):
    arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(c["model_type"], c["model_type"])
    head_dim = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    writer = gguf.GGUFWriter(path, arch)
    add_hyper_parameters(writer, name, arch, c, head_dim)
    add_gguf_tokenizer(writer)
    for tensor, value in weights.items():
        data = gguf_values(tensor, value, arch, c)
        kind = GGUF_TYPES[c["torch_dtype"]] if data.ndim == 2 else gguf.GGMLQuantizationType.F32
        data = gguf.quants.quantize(np.ascontiguousarray(data), kind)
        writer.add_tensor(gguf_name(tensor, arch.startswith("gemma")), data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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
