#!/usr/bin/env python3
"""Writes a checkpoint as a Hugging Face folder and as GGUF, both with the same f16 weights.

    python export.py --checkpoint FILE --tokenizer DIR --hf DIR --gguf FILE
    python export.py --from-gguf FILE --hf DIR

The second form makes the folder from a GGUF file that this script wrote, vocabulary included.
"""

import argparse
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import models

from model import Config, Model
from tokenizer import BOS, CHAT_TEMPLATE, END, PAD, SPECIAL, with_rules
from tokenizer import save as save_tokenizer

NAME = "Kvasir reference"
LAYER_NAMES = {
    # here: (HF, GGUF)
    "attn_norm": ("input_layernorm", "attn_norm"),
    "ffn_norm": ("post_attention_layernorm", "ffn_norm"),
    "q": ("self_attn.q_proj", "attn_q"),
    "k": ("self_attn.k_proj", "attn_k"),
    "v": ("self_attn.v_proj", "attn_v"),
    "o": ("self_attn.o_proj", "attn_output"),
    "gate": ("mlp.gate_proj", "ffn_gate"),
    "up": ("mlp.up_proj", "ffn_up"),
    "down": ("mlp.down_proj", "ffn_down"),
}
GLOBAL_NAMES = {
    "embed": ("model.embed_tokens", "token_embd"),
    "norm": ("model.norm", "output_norm"),
    "output": ("lm_head", "output"),
}


def names(name):
    """(HF, GGUF) names of a parameter."""
    if name in GLOBAL_NAMES:
        hf, gguf_name = GLOBAL_NAMES[name]
    else:
        _, layer, part = name.split(".")
        hf = f"model.layers.{layer}.{LAYER_NAMES[part][0]}"
        gguf_name = f"blk.{layer}.{LAYER_NAMES[part][1]}"
    return f"{hf}.weight", f"{gguf_name}.weight"


def hf_config(c):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float16",
        "vocab_size": c.n_vocab,
        "hidden_size": c.n_embd,
        "intermediate_size": c.n_ff,
        "num_hidden_layers": c.n_layer,
        "num_attention_heads": c.n_head,
        "num_key_value_heads": c.n_kv_head,
        "head_dim": c.head_dim,
        "max_position_embeddings": c.n_ctx,
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_base,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": END,
        "pad_token_id": PAD,
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def save_hf(out, c, weights, tokenizer):
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json") if tokenizer != out else ():
        shutil.copyfile(tokenizer / name, out / name)
    write_json(out / "config.json", hf_config(c))
    write_json(out / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": END})
    save_file({names(n)[0]: w.contiguous() for n, w in weights.items()},
              str(out / "model.safetensors"), metadata={"format": "pt"})


def interleaved(rows, n_head):
    """Rows of a head from halves (i, i + d/2) to adjacent pairs, as GGUF's llama wants them."""
    head = rows.reshape(n_head, 2, rows.shape[0] // n_head // 2, rows.shape[1])
    return np.ascontiguousarray(head.swapaxes(1, 2).reshape(rows.shape))


def add_vocabulary(writer, tokenizer):
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def save_gguf(path, c, weights, tokenizer):
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(partial), "llama")
    writer.add_name(NAME)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(c.n_vocab)
    writer.add_context_length(c.n_ctx)
    writer.add_embedding_length(c.n_embd)
    writer.add_block_count(c.n_layer)
    writer.add_feed_forward_length(c.n_ff)
    writer.add_head_count(c.n_head)
    writer.add_head_count_kv(c.n_kv_head)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(c.rope_base)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    add_vocabulary(writer, tokenizer)
    for name, weight in weights.items():
        data = weight.numpy()
        if name.endswith(".q"):
            data = interleaved(data, c.n_head)
        elif name.endswith(".k"):
            data = interleaved(data, c.n_kv_head)
        writer.add_tensor(names(name)[1], data if data.ndim == 2 else data.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def halves(rows, n_head):
    """The inverse of interleaved."""
    head = rows.reshape(n_head, rows.shape[0] // n_head // 2, 2, rows.shape[1])
    return np.ascontiguousarray(head.swapaxes(1, 2).reshape(rows.shape))


def load_gguf(path):
    """(Config, weights) of a file that save_gguf wrote."""
    reader = gguf.GGUFReader(path)
    tensors = {t.name: np.array(t.data) for t in reader.tensors}
    layers = {name.split(".")[1] for name in tensors if name.startswith("blk.")}
    c = Config(n_layer=len(layers))
    weights = {}
    for name, parameter in Model(c).named_parameters():
        data = tensors[names(name)[1]].reshape(parameter.shape)
        if name.endswith(".q"):
            data = halves(data, c.n_head)
        elif name.endswith(".k"):
            data = halves(data, c.n_kv_head)
        weights[name] = torch.from_numpy(data).half()
    return c, weights, reader


def save_vocabulary(reader, out):
    def texts(key):
        field = reader.fields[key]
        return [bytes(field.parts[i]).decode() for i in field.data]

    vocabulary = {token: i for i, token in enumerate(texts("tokenizer.ggml.tokens"))}
    merges = [tuple(merge.split(" ")) for merge in texts("tokenizer.ggml.merges")]
    save_tokenizer(with_rules(models.BPE(vocab=vocabulary, merges=merges)), out)


def load_checkpoint(path):
    saved = torch.load(path, map_location="cpu", weights_only=True)["model"]
    layers = {name.split(".")[1] for name in saved if name.startswith("layers.")}
    return Config(n_layer=len(layers)), {name: value.half() for name, value in saved.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--from-gguf", type=Path)
    parser.add_argument("--hf", type=Path)
    parser.add_argument("--gguf", type=Path)
    args = parser.parse_args()
    if args.from_gguf:
        c, weights, reader = load_gguf(args.from_gguf)
        args.tokenizer = args.hf
        save_vocabulary(reader, args.hf)
    else:
        c, weights = load_checkpoint(args.checkpoint)
    if args.hf:
        save_hf(args.hf, c, weights, args.tokenizer)
    if args.gguf:
        save_gguf(args.gguf, c, weights, args.tokenizer)


if __name__ == "__main__":
    main()
