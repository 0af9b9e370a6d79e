#!/usr/bin/env python3
"""Writes tests/fixtures/perplexity.json: how well transformers says that the tiny models of
tests/fixtures/models predict a text.

For each model the mean negative log-likelihood (natural log) of a fixed list of ids is given twice:

  chunks   the text in chunks of `n_ctx` ids, each read alone, the second half of each predicted:
           what `kvasir perplexity` measures
  tail     the whole text read at once, its last `n_tail` - 1 ids predicted by the ids before them:
           what `kvasir audit` measures where the last `n_tail` ids are fed one at a time

Computed in f32 with eager attention, summed in f64. Needs torch and transformers. The committed
file comes from torch 2.6.0 and transformers 5.23.0:

    python tools/make_perplexity_fixture.py
"""

import json
import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
MODELS = ["llama", "llama_llama3", "qwen2", "qwen3", "gemma2", "gemma3", "phi3_window",
          "mistral_window"]
N_TOKEN, N_CTX, N_TAIL = 120, 40, 30


def nll(model, ids):
    """Negative log-likelihood of ids[1:], one a token."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return -torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def main():
    rng = random.Random(4)
    tokens = [1] + [rng.randrange(3, 96) for _ in range(N_TOKEN - 1)]
    cases = []
    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(
            ROOT / "models" / name, dtype=torch.float32, attn_implementation="eager")
        model.eval()
        chunks = [nll(model, tokens[i:i + N_CTX])[N_CTX // 2:]
                  for i in range(0, N_TOKEN - N_CTX + 1, N_CTX)]
        cases.append({"model": name, "chunks": torch.cat(chunks).mean().item(),
                      "tail": nll(model, tokens)[-(N_TAIL - 1):].mean().item()})
        print(cases[-1])
    document = {"n_ctx": N_CTX, "n_tail": N_TAIL, "tokens": tokens, "cases": cases}
    (ROOT / "perplexity.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
