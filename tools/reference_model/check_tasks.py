#!/usr/bin/env python3
"""Compares task replies of kvasir (exact cache) with those of transformers on the same weights.

    python check_tasks.py --kvasir build/kvasir --gguf models/kvasir-ref.gguf --hf DIR
                          [--tasks needle,multi_key] [--bytes 5000] [--count 10]

Both render the chat with the model's template and decode greedily. Prints a line a task and exits
with 1 where a reply differs. DIR is what `export.py --from-gguf` writes.
"""

import argparse
import json
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MAX_REPLY = 48
FIRST_HELD_OUT_SEED = 2**31


def make_cases(args, task):
    out = subprocess.run(
        [args.kvasir, "tasks", "make", "--task", task, "--bytes", str(args.bytes), "--seed",
         str(FIRST_HELD_OUT_SEED), "--count", str(args.count), "--turns", "1"],
        check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def kvasir_reply(args, case):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as document:
        document.write(case["context"])
        document.flush()
        out = subprocess.run(
            [args.kvasir, "chat", "-m", args.gguf, "-f", document.name, "-p",
             case["turns"][0]["question"], "--no-escape", "--temp", "0", "-n", str(MAX_REPLY),
             "-ctk", "f32", "-ctv", "f32"],
            check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return out.strip()


def transformers_reply(model, tokenizer, case):
    text = case["context"] + "\n\n" + case["turns"][0]["question"]
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                             add_generation_prompt=True)
    ids = tokenizer(rendered, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        out = model.generate(ids, max_new_tokens=MAX_REPLY, do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True).strip()


def is_right(case, reply):
    return all(expected in reply for expected in case["turns"][0]["expected"])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvasir", required=True)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--hf", required=True)
    parser.add_argument("--tasks", default="needle,multi_key,copy,shared")
    parser.add_argument("--bytes", type=int, default=5000)
    parser.add_argument("--count", type=int, default=10)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.hf)
    model = AutoModelForCausalLM.from_pretrained(args.hf, dtype=torch.float32).eval()
    differing = 0
    for task in args.tasks.split(","):
        same = ours = theirs = 0
        cases = make_cases(args, task)
        for case in cases:
            a, b = kvasir_reply(args, case), transformers_reply(model, tokenizer, case)
            same += a == b
            ours += is_right(case, a)
            theirs += is_right(case, b)
            if a != b:
                print(f"{task} seed {case['seed']}: kvasir {a!r}, transformers {b!r}")
        differing += len(cases) - same
        print(f"{task}: {same} of {len(cases)} replies alike; right: kvasir {ours}, "
              f"transformers {theirs}")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
