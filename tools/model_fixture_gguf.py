"""Writes the weights of an HF model as llama.cpp's converter would."""

import math

import gguf
import numpy as np

from model_fixture_vocabulary import N_SPECIAL, N_VOCAB, vocabulary

GGUF_TYPES = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
}

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
    kinds[0] = gguf.TokenType.UNKNOWN
    kinds[1:N_SPECIAL] = [gguf.TokenType.CONTROL] * (N_SPECIAL - 1)
    kinds[N_SPECIAL] = gguf.TokenType.BYTE
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * N_SPECIAL + [-float(i) for i in range(N_VOCAB - N_SPECIAL)])
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
