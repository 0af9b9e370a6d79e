#!/usr/bin/env python3
"""Seeds fuzz/corpus/jinja from the snippets of make_jinja_fixtures.py and the built-in templates."""
import json
import pathlib

from make_jinja_fixtures import CONTEXT, EXPRESSIONS, ROOT, STATEMENTS


def main():
    folder = ROOT / "fuzz" / "corpus" / "jinja"
    folder.mkdir(parents=True, exist_ok=True)
    context = json.dumps(CONTEXT).encode()
    groups = [EXPRESSIONS[i::24] for i in range(24)]
    sources = ["\n".join("{{ " + e + " }}" for e in group) for group in groups]
    sources += ["\n".join(STATEMENTS[i::12]) for i in range(12)] + STATEMENTS[:24]
    for n, source in enumerate(sources):
        (folder / f"seed_{n:02d}").write_bytes(source.encode() + b"\0" + context)


if __name__ == "__main__":
    main()
