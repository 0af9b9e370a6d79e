#!/usr/bin/env python3
"""Collects ordinary English text and code into two JSON-lines files, train and held-out.

Sources are files of the machine and of a folder into which Debian packages were unpacked; the
table SOURCES names them with their licences. Whole files go to one side: a file is held out when
the hash of its name says so (1 in 40). The same files give the same output, to the byte.

    python corpus.py --root DIR --out DIR
"""

import argparse
import gzip
import hashlib
import html
import json
import re
from pathlib import Path

HELD_OUT_SHARE = 40
PIECE_BYTES = 1 << 16

# name, licence, folder (under --root, else on the machine), pattern
SOURCES = [
    ("python standard library", "PSF-2.0", "/usr/lib/python3.11", "**/*.py"),
    ("python documentation", "PSF-2.0", "usr/share/doc/python3.11/html/_sources", "**/*.txt"),
    ("debian policy", "GPL-2+", "usr/share/doc/debian-policy", "**/*.txt*"),
    ("debian reference", "GPL-2+", "usr/share/debian-reference", "*.en.html"),
    ("developers reference", "GPL-2+", "usr/share/developers-reference", "*.html"),
    ("debian handbook", "CC-BY-SA-3.0 or GPL-2+", "usr/share/doc/debian-handbook/html/en-US",
     "*.html"),
    ("perl documentation", "Artistic or GPL-1+", "usr/share/perl/5.36.0/pod", "*.pod"),
    ("perl modules", "Artistic or GPL-1+", "/usr/share/perl/5.36.0", "**/*.pm"),
    ("git documentation", "GPL-2", "/usr/share/doc/git", "**/*.txt*"),
]


def is_held_out(name):
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def text_of_html(page):
    page = re.sub(r"(?is)<(script|style|head)\b.*?</\1>", "", page)
    page = re.sub(r"(?i)</(p|div|li|h\d|tr|pre|dt|dd|title)>|<br\s*/?>", "\n", page)
    page = html.unescape(re.sub(r"(?s)<[^>]*>", "", page))
    return re.sub(r"\n\s*\n\s*", "\n\n", page)


def read_text(path):
    data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    text = data.decode("utf-8", errors="strict")
    return text_of_html(text) if path.suffix == ".html" else text


def pieces(text):
    """Cuts at the last line end before every PIECE_BYTES characters."""
    while len(text) > PIECE_BYTES:
        cut = text.rfind("\n", 0, PIECE_BYTES) + 1 or PIECE_BYTES
        yield text[:cut]
        text = text[cut:]
    yield text


def is_prose_or_code(text):
    """Refuses tables of data: encodings, word lists, test vectors."""
    letters = sum(c.isascii() and c.isalpha() for c in text[:20000])
    return len(text) > 400 and letters > 0.5 * min(len(text), 20000)


def collect(root):
    for source, licence, folder, pattern in SOURCES:
        base = root / folder  # an absolute folder replaces root
        for path in sorted(base.glob(pattern)):
            if not path.is_file() or path.is_symlink():
                continue
            try:
                text = read_text(path)
            except (UnicodeDecodeError, OSError):
                continue
            if is_prose_or_code(text):
                yield source, licence, f"{folder}/{path.relative_to(base)}", text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="where packages were unpacked")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    counts = {}
    with open(args.out / "train.jsonl", "w") as train, open(args.out / "heldout.jsonl", "w") as held:
        for source, licence, name, text in collect(args.root):
            held_out = is_held_out(name)
            key = (source, licence, "held out" if held_out else "train")
            files, size = counts.get(key, (0, 0))
            counts[key] = (files + 1, size + len(text))
            for piece in pieces(text):
                row = {"source": source, "name": name, "text": piece}
                (held if held_out else train).write(json.dumps(row) + "\n")
    for (source, licence, side), (files, size) in counts.items():
        print(f"{source} ({licence}), {side}: {files} files, {size} characters")


if __name__ == "__main__":
    main()
