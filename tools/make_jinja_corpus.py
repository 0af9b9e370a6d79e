#!/usr/bin/env python3
"""Seeds fuzz/corpus/jinja from the snippets of tests/fixtures/jinja.

Those that render stand several to a file; of those that are refused, some have a file of their own.
"""
import json

from make_jinja_fixtures import ROOT, SNIPPETS

N_RENDERED, N_REFUSED = 40, 20  # files


def main():
    folder = ROOT / "fuzz" / "corpus" / "jinja"
    folder.mkdir(parents=True, exist_ok=True)
    fixture = json.loads(SNIPPETS.read_text())
    context = json.dumps(fixture["context"]).encode()
    rendered = [case["template"] for case in fixture["cases"] if "error" not in case]
    refused = [case["template"] for case in fixture["cases"] if "error" in case]
    sources = ["\n".join(rendered[n::N_RENDERED]) for n in range(N_RENDERED)]
    sources += refused[::len(refused) // N_REFUSED][:N_REFUSED]
    for n, source in enumerate(sources):
        (folder / f"seed_{n:02d}").write_bytes(source.encode() + b"\0" + context)


if __name__ == "__main__":
    main()
