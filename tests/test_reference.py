"""The reference is that of the docstrings, and no document names a file that is not there."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(("name", "made"), [("reference.md", "reference"), ("commands.md", "commands")])
def test_the_reference_is_what_the_docstrings_say(name, made):
    builder = runpy.run_path(str(DOCS / "build_reference.py"))
    assert (DOCS / name).read_text() == builder[made](), "run: python docs/build_reference.py"


@pytest.mark.parametrize("document", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=lambda path: path.name)
def test_every_document_that_is_named_is_there(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert missing == []
