"""The reference is that of the docstrings, and no document names a file that is not there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def test_the_reference_is_what_the_docstrings_say(tmp_path):
    # In a process of its own: the usage lines are made of how the process was started.
    subprocess.run([sys.executable, DOCS / "build_reference.py", tmp_path], check=True)
    for name in ("reference.md", "commands.md"):
        assert (DOCS / name).read_text() == (tmp_path / name).read_text(), "run: python docs/build_reference.py"


@pytest.mark.parametrize("document", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=lambda path: path.name)
def test_every_document_that_is_named_is_there(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert missing == []
