#!/usr/bin/env python3
"""Writes the tables of docs/protocol.md anew from the code: tools/tables.py [--check]

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``. With --check nothing is written, and the exit code is 1
where a table is not as the code has it.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DOCUMENT = ROOT / "docs" / "protocol.md"

from ambient.server.http_audio import HTTP_FORMATS  # noqa: E402
from ambient.sinks import protocol, vocabulary  # noqa: E402


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def readable(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" if isinstance(one, str) else str(one) for one in schema["enum"])
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {readable(schema['items'])}s"
    if kind == "object" and "properties" in schema:
        return "{" + ", ".join(schema["properties"]) + "}"
    if kind == "object" and "additionalProperties" in schema:
        of = schema["additionalProperties"]
        return f"object of {readable(of)}" + "s" * isinstance(of.get("type"), str)
    low, high = (schema.get(k) for k in ("minimum", "maximum"))
    if high is not None:
        return f"{kind}, {low} to {high}"
    if "maxLength" in schema:
        return f"{kind}, {schema['minLength']} to {schema['maxLength']} characters"
    return str(kind)


def messages(kinds: Iterable[vocabulary.Kind]) -> str:
    """One table for all messages of a side."""
    rows: list[tuple[object, ...]] = []
    for kind in kinds:
        rows.append((f"**`{kind.name}`**", "", kind.about))
        for field in kind.fields:
            always = "" if field.required else "?"
            rows.append((f"`{field.name}`{always}", readable(field.schema), field.about))
    return table(("message, members of its payload", "type", "meaning"), rows)


def member_docs(enum: type[Any]) -> dict[str, str]:
    """What stands below each member of an enum in its source."""
    import ast
    import inspect
    import textwrap

    body = ast.parse(textwrap.dedent(inspect.getsource(enum))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for member, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(member.targets[0], ast.Name)
            found[member.targets[0].id] = " ".join(str(text.value.value).split())
    return found


def tables() -> dict[str, str]:
    """All tables by name."""
    codecs, flags = member_docs(protocol.Codec), member_docs(protocol.Flags)
    place, header = 0, []
    for name, kind, _, about in protocol.HEADER_FIELDS:
        header.append((place, kind, f"`{name}`", about))
        place += int(kind[1:]) // 8
    return {
        "header": table(("byte", "type", "field", "meaning"), header),
        "codecs": table(
            ("number", "name", "payload"), [(int(c), f"`{c.label}`", codecs[c.name]) for c in protocol.Codec]
        ),
        "flags": table(
            ("bit", "name", "meaning"),
            [(int(f), f"`{f.name.lower()}`", flags[f.name]) for f in protocol.Flags if f.name],
        ),
        "client messages": messages(vocabulary.CLIENT_MESSAGES),
        "server messages": messages(vocabulary.SERVER_MESSAGES),
        "error codes": table(("code", "meaning"), [(f"`{c}`", about) for c, about in vocabulary.ERRORS.items()]),
        "close codes": table(("code", "reason"), [(int(c), protocol.CLOSE_REASONS[c]) for c in protocol.Close]),
        "http formats": table(("ending", "media type"), [(f"`.{e}`", f"`{m}`") for e, (_, m) in HTTP_FORMATS.items()]),
    }


def filled(text: str) -> str:
    """The document with each table as the code has it. Raises KeyError for a table of an unknown name."""
    made = tables()
    return re.sub(
        r"<!-- (.+?) -->\n.*?<!-- end -->", lambda m: f"<!-- {m[1]} -->\n{made[m[1]]}<!-- end -->", text, flags=re.S
    )


def main() -> int:
    """Writes, or looks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    text = DOCUMENT.read_text()
    new = filled(text)
    if new == text:
        return 0
    if given.check:
        print(f"{DOCUMENT.relative_to(ROOT)} is not as the code has it: run tools/tables.py", file=sys.stderr)
        return 1
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
