"""What the commands of `e2s` share: kinds of arguments, and JSON on stdout."""

import sys
from typing import Annotated, Any

from cyclopts import Parameter

Length = Annotated[str, Parameter(allow_leading_hyphen=True)]  # so that "-2h" is called negative, not an option
Json = Annotated[bool, Parameter(name="--json", negative=())]


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    import json

    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
