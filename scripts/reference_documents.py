"""The pages of docs/reference/ about JSON that audits write and commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from auditor.cli.explanations import FAILURES, WARNINGS
from auditor.cli.schema_command import SCHEMAS, _schema
from auditor.report.field_help import SUMMARY_HELP
from scripts.markdown_text import inline_code, prose, table

# Documents of a whole audit; the others are those of other commands.
_OF_AUDITS = ("report", "sbom")
_SAME_KEYS = (
    "Within a schema number no field is renamed or dropped. New fields can be added."
    " A value that is not known is `null`.\n"
)


def report_page() -> str:
    """The page of the lines of a report, the summary and the SBOM file."""
    parts = [
        "# Fields of the report and the summary\n",
        "`auditor audit` writes one JSON object per line, in UTF-8, with its keys"
        " always in this order; every run also has a summary. What to do with them is"
        " in [The report](../guide/report.md), the codes are in [Failures and"
        " warnings](failures.md).\n",
        _SAME_KEYS,
        "| file | written by |\n| --- | --- |\n"
        "| [a line of a report](#a-line-of-a-report) | `auditor audit -o FILE` |\n"
        "| [the summary](#the-summary) | `auditor audit --summary FILE` |\n"
        "| [the packages of the SBOMs](#a-line-of-the-file-of-auditor-audit---sbom)"
        " | `auditor audit --sbom FILE` |\n",
    ]
    described: dict[str, str] = {}
    parts += _document("report", described)
    parts.append("## The summary\n")
    parts.append(
        "One JSON object. A field below another has its path: `a.b`; `[]` is each"
        " object of a list, `*` each member of a map. `auditor merge` combines the"
        " summaries of shards as the last column says. Of maps of counts, a name that"
        " did not occur can be missing.\n"
    )
    rows = ((inline_code(name), *texts) for name, texts in SUMMARY_HELP.items())
    parts.append(table(("field", "meaning", "of merged shards"), rows))
    parts += _document("sbom", described)
    return "\n".join(parts)


def documents_page() -> str:
    """The page of the JSON that other commands print."""
    parts = [
        "# JSON of other commands\n",
        "What commands print with `--format json` or `--format jsonl`. The lines of"
        " an audit and its summary are on [the page of the report](report.md)."
        " `auditor schema NAME` prints the JSON Schema.\n",
        _SAME_KEYS,
    ]
    described = {
        name: "report.md" for one in _OF_AUDITS for name in _schema(one)["$defs"]
    }
    for name in SCHEMAS:
        if name not in _OF_AUDITS:
            parts += _document(name, described)
    return "\n".join(parts)


def _document(name: str, described: dict[str, str]) -> Iterator[str]:
    """A section for a schema, without the classes that are described, which it adds.

    `described` has the page of each class, "" for this one.
    """
    title, _ = SCHEMAS[name]
    schema = _schema(name)
    definitions = schema["$defs"]
    new = [one for one in definitions if one not in described]
    described |= dict.fromkeys(new, "")
    documents = [_schema_type(one, described) for one in schema["oneOf"]]
    heading = title if title.startswith("auditor") else title[0].upper() + title[1:]
    yield f"## {heading}\n"
    yield f"`auditor schema {name}`: {', '.join(documents)}.\n"
    for class_name in new:
        yield from _class(class_name, definitions[class_name], described)


def _class(name: str, definition: dict[str, Any], pages: dict[str, str]) -> list[str]:
    rows = [
        (inline_code(field), _schema_type(value, pages), value.get("description", ""))
        for field, value in definition["properties"].items()
    ]
    head = ("field", "value", "meaning")
    columns = 3 if any(meaning for _, _, meaning in rows) else 2
    return [
        f"### {name}\n",
        prose(definition["description"]),
        table(head[:columns], (row[:columns] for row in rows)),
    ]


def _schema_type(schema: dict[str, Any], pages: dict[str, str]) -> str:
    """A JSON Schema in words, with links to the page of each class."""
    if "const" in schema:
        return _value(schema["const"])
    for title, codes in (("failure", FAILURES), ("warning", WARNINGS)):
        if set(schema.get("enum", ())) == {str(code) for code in codes}:
            return f"a [{title}](failures.md#{title}s)"
    if "enum" in schema:
        return ", ".join(map(_value, schema["enum"]))
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}]({pages[name]}#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_schema_type(one, pages) for one in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            items = (_schema_type(one, pages) for one in schema["prefixItems"])
            return "list: " + ", ".join(items)
        return f"list of {_schema_type(schema['items'], pages)}"
    if kind == "object":
        return f"map of {_schema_type(schema['additionalProperties'], pages)}"
    return str(kind or "anything")


def _value(value: object) -> str:
    """A value as JSON writes it, a string without its quotes."""
    return inline_code(json.dumps(value).strip('"'))
