#!/usr/bin/env python3
"""Renders the snippets of tests/fixtures/jinja/snippets.json with Jinja2, in place.

The file holds the templates themselves: to add one, add {"template": "..."} to its cases and run
this. Needs: pip install jinja2. Settings are those of transformers' chat templates: trim_blocks and
lstrip_blocks on, loop controls, tojson without ASCII escapes, raise_exception. A snippet that
Jinja2 refuses is recorded with "error": true.
"""
import json
import pathlib

import jinja2
import jinja2.ext

ROOT = pathlib.Path(__file__).resolve().parent.parent
SNIPPETS = ROOT / "tests" / "fixtures" / "jinja" / "snippets.json"


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %} renders as its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def main():
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True,
                             extensions=[jinja2.ext.loopcontrols, GenerationTag])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    fixture = json.loads(SNIPPETS.read_text())
    cases = []
    for source in [case["template"] for case in fixture["cases"]]:
        context = json.loads(json.dumps(fixture["context"]))
        try:
            cases.append({"template": source, "rendered": env.from_string(source).render(**context)})
        except Exception:  # whatever Python raises, the engine must refuse too
            cases.append({"template": source, "error": True})
    fixture = {"jinja2": jinja2.__version__, "context": fixture["context"], "cases": cases}
    SNIPPETS.write_text(json.dumps(fixture, ensure_ascii=True, indent=0) + "\n")
    errors = [c["template"] for c in cases if "error" in c]
    print(f"{len(cases)} cases, {len(errors)} of them errors, in {SNIPPETS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
