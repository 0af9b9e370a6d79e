#!/usr/bin/env python3
"""Writes tests/fixtures/kvpress: tokens that NVIDIA/kvpress keeps, for presses that Kvasir has too.

Two tiny random llama models (HF folders, f16 weights computed in f32) and, per press, PRESS.json:

    press    how it was constructed
    scores   file of f32 scores as the innermost press computed them
    cases    model, ratio (share removed), scores_at (where the case's scores start in the file,
             in floats; (n_layer, n_kv_head, n_token)), replay (tokens read after the prompt, a
             list for each part that is repeated), kept (layer, kv head, ascending positions) as found in kvpress's cache or mask, and card
             {reason, kept} where the method's card says something else, by kvpress_cards.py,
             which computes every card in f64 from attention and keys alone

tokens.json holds the models' tokens. Needs torch, transformers < 5.3, kvpress and what
make_model_fixtures.py needs. The committed files come from torch 2.6.0, transformers 5.2.0 and
kvpress 0.5.5, and are written again to the byte by:

    python tools/make_kvpress_fixtures.py [--out DIR]
"""

import argparse
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers.utils import logging

import kvpress
import kvpress_cards
from make_model_fixtures import config, write_hf_tokenizer, write_json
from model_fixture_vocabulary import N_SPECIAL, N_VOCAB

RATIOS = (0.25, 0.5, 0.75)
# Tokens whose scores are so near, relatively, may take each other's place.
TIE = 1e-5

# name -> (n_token, config overrides)
MODELS = {
    "group2": (
        197,
        dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
             num_hidden_layers=4, rope_theta=10000.0, max_position_embeddings=512),
    ),
    "group4": (
        122,
        dict(hidden_size=48, intermediate_size=32, num_attention_heads=8, num_key_value_heads=2,
             head_dim=32, num_hidden_layers=3, rope_theta=10000.0, max_position_embeddings=512),
    ),
}


# name -> what makes the press for a ratio. AdaKV and what prunes by chunks refuse attention
# matrices, ObservedAttention needs them.
PRESSES = {
    "knorm": lambda r: kvpress.KnormPress(r),
    "random": lambda r: kvpress.RandomPress(r, seed=7),
    "streaming": lambda r: kvpress.StreamingLLMPress(r),
    "tova": lambda r: kvpress.TOVAPress(r),
    "observed": lambda r: kvpress.ObservedAttentionPress(r),
    "snapkv_w64_k5": lambda r: kvpress.SnapKVPress(r),
    "snapkv_w64_k1": lambda r: kvpress.SnapKVPress(r, kernel_size=1),
    "snapkv_w16_k7": lambda r: kvpress.SnapKVPress(r, window_size=16, kernel_size=7),
    "snapkv_w8_k1": lambda r: kvpress.SnapKVPress(r, window_size=8, kernel_size=1),
    "pyramidkv_w8_b20": lambda r: kvpress.PyramidKVPress(r, window_size=8),
    "pyramidkv_w8_b4": lambda r: kvpress.PyramidKVPress(r, window_size=8, beta=4),
    "adakv_k1": lambda r: kvpress.AdaKVPress(
        kvpress.SnapKVPress(r, window_size=8, kernel_size=1), 0.3
    ),
    "adakv_k5": lambda r: kvpress.AdaKVPress(kvpress.SnapKVPress(r, window_size=8)),
    "adakv_knorm": lambda r: kvpress.AdaKVPress(kvpress.KnormPress(r), 0.6),
    "keydiff": lambda r: kvpress.KeyDiffPress(r),
    "chunkkv_c10": lambda r: kvpress.ChunkKVPress(
        kvpress.SnapKVPress(r, window_size=8, kernel_size=1), chunk_length=10
    ),
    "criticalkv": lambda r: kvpress.CriticalKVPress(kvpress.SnapKVPress(r, window_size=8)),
    "expected_attention": lambda r: kvpress.ExpectedAttentionPress(r),
    "kvzip": lambda r: kvpress.KVzipPress(r),
    "kvzip_c64": lambda r: kvpress.KVzipPress(r, chunk_size=64),
    "lagkv": lambda r: kvpress.LagKVPress(r, lag_size=24),
}
NEEDS_EAGER = {"observed"}
SCORES_SAY_NOTHING = {"random", "streaming"}


def random_weights(cfg, rng):
    """Random weights of f16. Queries and keys grow and shrink by layer and kv head, so that
    attention is peaked here and flat there, and key norms and head shares differ."""
    model = AutoModelForCausalLM.from_config(cfg)
    n_kv, group = cfg.num_key_value_heads, cfg.num_attention_heads // cfg.num_key_value_heads
    weights = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if "norm" in name:
            value = 1.0 + 0.2 * rng.standard_normal(shape)
        elif "embed_tokens" in name:
            value = rng.standard_normal(shape)
        else:
            value = rng.standard_normal(shape) * 1.2 / math.sqrt(shape[-1])
        if "q_proj" in name or "k_proj" in name:
            heads = rng.uniform(0.8, 1.7, n_kv if "k_proj" in name else n_kv * group)
            value = value * np.repeat(heads, cfg.head_dim)[:, None]
        weights[name] = torch.tensor(value, dtype=torch.float32).to(torch.float16)
    return weights


def random_tokens(n, rng):
    """Random ids in which earlier phrases return."""
    tokens = [1]
    while len(tokens) < n:
        if len(tokens) > 30 and rng.random() < 0.3:
            start = int(rng.integers(1, len(tokens) - 12))
            tokens += tokens[start : start + int(rng.integers(4, 12))]
        else:
            tokens += [int(t) for t in rng.integers(N_SPECIAL, N_VOCAB, 6)]
    return tokens[:n]


def make_model(folder, name):
    n_token, overrides = MODELS[name]
    rng = np.random.default_rng(list(name.encode()))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config("LlamaForCausalLM", "llama", **overrides))
    write_hf_tokenizer(folder)
    # With a template KVzip would ask in its words and leave out what it begins with.
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    write_json(folder / "tokenizer_config.json", settings)
    weights = random_weights(AutoConfig.from_pretrained(folder), rng)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return random_tokens(n_token, rng)


def load(folder, attention):
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=attention, dtype=torch.float32
    ).eval()


@torch.no_grad()
def observe(folder, tokens):
    """What the cards are computed from: f64 arrays by layer."""
    model = load(folder, "eager")
    cache = DynamicCache()
    out = model(torch.tensor([tokens]), past_key_values=cache, output_attentions=True)
    return kvpress_cards.Observed(
        attention=[a[0].double().numpy() for a in out.attentions],
        keys=[layer.keys[0].double().numpy() for layer in cache.layers],
        values=[layer.values[0].double().numpy() for layer in cache.layers],
        outputs=[layer.self_attn.o_proj.weight.double().numpy() for layer in model.model.layers],
    )


@torch.no_grad()
def observe_replays(model, tokens, replays, size):
    """(begin, end, attention by layer) of each part of the prompt that is read again."""
    parts = []
    for i, replay in enumerate(replays):
        cache = DynamicCache()
        model(torch.tensor([tokens]), past_key_values=cache)
        out = model(torch.tensor([replay]), past_key_values=cache, output_attentions=True)
        end = min((i + 1) * size, len(tokens))
        parts.append((i * size, end, [a[0].double().numpy() for a in out.attentions]))
    return parts


class Recorder:
    """Has a press, or the one that it wraps, leave what it computes here."""

    def __init__(self, press):
        self.scores = []  # by layer
        self.replay = []  # tokens that KVzip reads after the prompt, part by part
        if isinstance(press, kvpress.KVzipPress):
            self.after(press, "prepare",
                       lambda pairs: self.replay.extend(ids[0].tolist() for _, ids in pairs))
            press.compress_post = self.before_compress_post(press)
            return
        while hasattr(press, "press"):
            press = press.press
        self.after(press, "score", lambda scores: self.scores.append(scores[0].clone().numpy()))

    def before_compress_post(self, press):
        compress_post = press.compress_post

        def recorded(model):
            self.scores.extend(layer[0].clone().numpy() for layer in press.score_val)
            compress_post(model)

        return recorded

    @staticmethod
    def after(press, name, see):
        method = getattr(press, name)

        def recorded(*args, **kwargs):
            result = method(*args, **kwargs)
            see(result)
            return result

        setattr(press, name, recorded)


def positions_in(full, kept):
    """Positions in `full` (n_token, head_dim) of the rows of `kept`."""
    at = {row.tobytes(): i for i, row in enumerate(full)}
    assert len(at) == len(full)
    return sorted(at[row.tobytes()] for row in kept)


@torch.no_grad()
def run(model, press, tokens):
    """Positions kept, by layer and kv head, and what the press computed."""
    ids, full, cache = torch.tensor([tokens]), DynamicCache(), DynamicCache()
    model(ids, past_key_values=full)
    recorder = Recorder(press)
    with press(model):
        model(ids, past_key_values=cache)
    kept = []
    for layer, module in enumerate(model.model.layers):
        masked = getattr(module.self_attn, "masked_key_indices", None)
        if masked is None:
            rows = zip(full.layers[layer].keys[0].numpy(), cache.layers[layer].keys[0].numpy())
            kept.append([positions_in(f, k) for f, k in rows])
            continue
        n_head, n = cache.layers[layer].keys.shape[1:3]
        keep = np.ones((n_head, n), bool)
        keep[masked[1].numpy(), masked[2].numpy()] = False
        kept.append([np.flatnonzero(row).tolist() for row in keep])
    return kept, recorder


def same_but_for_ties(kept, other, scores, scope):
    """Whether two choices differ only in tokens that score alike, of a head, a layer or the
    model."""
    layers = [[(layer, head) for head in range(len(kept[layer]))] for layer in range(len(kept))]
    cells = [cell for layer in layers for cell in layer]
    for group in {"head": [[cell] for cell in cells], "layer": layers, "model": [cells]}[scope]:
        gone, come = (
            sorted(scores[l][h][t] for l, h in group for t in set(a[l][h]) - set(b[l][h]))
            for a, b in ((kept, other), (other, kept))
        )
        if len(gone) != len(come) or not np.allclose(gone, come, rtol=TIE, atol=0):
            return False
    return True


def n_kept(kept):
    return sum(len(head) for layer in kept for head in layer)


def describe(press):
    """The constructor call, the share removed left out."""
    own = vars(type(press)).get("__dataclass_fields__", vars(press))
    names = [name for name in own if name not in ("press", "score", "compression_ratio")]
    inner = [f"press={describe(press.press)}"] if hasattr(press, "press") else []
    arguments = inner + [f"{name}={getattr(press, name)}" for name in names]
    return f"{type(press).__name__}({', '.join(arguments)})"


class Blobs:
    """Different arrays of f32, one after the other."""

    def __init__(self):
        self.at, self.bytes = {}, b""

    def index_of(self, array):
        """In floats; adds what is new."""
        blob = array.astype("<f4").tobytes()
        if blob not in self.at:
            self.at[blob] = len(self.bytes) // 4
            self.bytes += blob
        return self.at[blob]


def scope_of(press):
    """What competes for a budget."""
    if isinstance(press, kvpress.KVzipPress):
        return "model"
    return "layer" if isinstance(press, kvpress.AdaKVPress) else "head"


def make_case(name, press, ratio, loaded, tokens, seen, blobs):
    """The case without its model's name, and what to print."""
    kept, recorder = run(loaded["eager" if name in NEEDS_EAGER else "sdpa"], press, tokens)
    scores = np.stack(recorder.scores)
    case = {"ratio": ratio}
    if name not in SCORES_SAY_NOTHING:
        case["scores_at"] = blobs.index_of(scores)
    if recorder.replay:
        case["replay"] = recorder.replay
        parts = observe_replays(loaded["eager"], tokens, recorder.replay, press.chunk_size)
        seen = dataclasses.replace(seen, replays=parts)
    case["kept"] = kept
    card = kvpress_cards.kept_by_card(press, ratio, seen)
    if card is None:
        return case, f"keeps {n_kept(kept)}, no card"
    scope = scope_of(press)
    published = kvpress_cards.kept_by_card(press, ratio, seen, published=True)
    assert same_but_for_ties(kept, published, scores, scope), (name, ratio)
    if same_but_for_ties(kept, card, scores, scope):
        return case, f"keeps {n_kept(kept)}, card agrees"
    case["card"] = {"reason": kvpress_cards.reason(press), "kept": card}
    return case, f"keeps {n_kept(kept)}, card {n_kept(card)}: {case['card']['reason']}"


def make_press(out, name, models):
    cases, blobs = [], Blobs()
    for model_name, (loaded, tokens, seen) in models.items():
        for ratio in RATIOS:
            press = PRESSES[name](ratio)
            window = getattr(getattr(press, "press", press), "window_size", 0)
            if int(len(tokens) * (1 - ratio)) <= window:
                continue
            case, verdict = make_case(name, press, ratio, loaded, tokens, seen, blobs)
            cases.append({"model": model_name, **case})
            print(f"{name:18} {model_name} {ratio:4} {verdict}")
    fixture = {"press": describe(PRESSES[name](0.5))}
    if blobs.bytes:
        fixture["scores"] = f"{name}.f32"
        (out / f"{name}.f32").write_bytes(blobs.bytes)
    write_compact(out / f"{name}.json", {**fixture, "cases": cases})


def write_compact(path, value):
    """Like write_json, a line per case."""
    cases = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in value["cases"])
    head = {k: v for k, v in value.items() if k != "cases"}
    path.write_text(json.dumps(head, indent=1)[:-2] + f',\n "cases": [\n{cases}\n ]\n}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "kvpress"
    parser.add_argument("--out", type=Path, default=default)
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    models, tokens_of = {}, {}
    for name in MODELS:
        folder = args.out / name
        tokens_of[name] = make_model(folder, name)
        loaded = {kind: load(folder, kind) for kind in ("eager", "sdpa")}
        models[name] = (loaded, tokens_of[name], observe(folder, tokens_of[name]))
    (args.out / "tokens.json").write_text(json.dumps(tokens_of) + "\n")
    for name in PRESSES:
        make_press(args.out, name, models)


if __name__ == "__main__":
    main()
