"""Writes reference.md and commands.md from the docstrings: run it after a change of one; a test compares.

.venv/bin/python docs/build_reference.py [FOLDER]
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import e2s_tasks
import e2s_tasks.io
from e2s_tasks.integrations.cli.app import app
from e2s_tasks.ledger import Ledger

HERE = Path(__file__).parent
METHODS = ("open", "spans", "artifacts", "flow_runs", "runs", "run", "export", "prune", "close")
ARGUMENT = re.compile(r"^([a-z_0-9]+(?:(?:, | and )[a-z_0-9]+)*): ", re.MULTILINE)  # what a line says it is about
FOREWORD = """# Reference

Made of the docstrings by `docs/build_reference.py`. The command line is in [commands.md](commands.md)."""


def reference() -> str:
    """The Python API as markdown."""
    parts = [FOREWORD]
    for module in (e2s_tasks, e2s_tasks.io):
        parts.append(f"## `{module.__name__}`")
        parts += [_described(name, getattr(module, name)) for name in module.__all__]
    parts.append("## `e2s_tasks.ledger.Ledger`")
    parts += [_described(f"Ledger.{name}", getattr(Ledger, name)) for name in METHODS]
    return "\n\n".join(parts) + "\n"


def commands() -> str:
    """The command line as markdown."""
    return re.sub(r"[ \t]+$", "", app.generate_docs(), flags=re.MULTILINE).rstrip() + "\n"


def _described(name: str, thing: Any) -> str:
    """A function or class: how it is called, and what its docstring says."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        call = name
    else:
        bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
        shown = signature.replace(
            parameters=[one for one in bare if one.name != "self"], return_annotation=inspect.Signature.empty
        )
        call = f"{name}{shown}"
    return f"### `{name}`\n\n```python\n{call}\n```\n\n{_as_markdown(inspect.getdoc(thing) or '')}"


def _as_markdown(text: str) -> str:
    """A docstring as markdown: its errors as a list, and what follows a "::" as code."""
    body, _, raised = text.partition("\nRaises:\n")
    lines = re.sub(r"::\n\n((?: {4}.*\n?|\n)+)", _code, body + "\n").rstrip()
    lines = ARGUMENT.sub(r"- **\1**: ", lines)
    if not raised:
        return lines
    errors = re.sub(r"\n {8,}", " ", raised.rstrip())
    listed = [
        f"- `{kind.strip()}`: {why.strip()}" for kind, _, why in (one.partition(":") for one in errors.splitlines())
    ]
    return f"{lines}\n\nRaises:\n\n" + "\n".join(listed)


def _code(found: re.Match[str]) -> str:
    return f":\n\n```python\n{inspect.cleandoc(found[1])}\n```\n\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE
    (folder / "reference.md").write_text(reference())
    (folder / "commands.md").write_text(commands())
