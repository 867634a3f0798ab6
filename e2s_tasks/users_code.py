"""Warnings at the place of the user's own code, or at none: a line of ours or of a library would only mislead."""

import sys
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

NOWHERE = ("<e2s_tasks>", 0)


def warn(message: str, category: type[Warning]) -> None:
    """A warning, even where warnings are errors: metering never fails the work."""
    filename, line = _place()
    try:
        warnings.warn_explicit(message, category, filename, line)
    except category:
        return


def _place() -> tuple[str, int]:
    """The file and line of the innermost frame that is neither ours, nor a library's, nor Python's own."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as `warnings` does
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_not_the_users()):
            return path, frame.f_lineno
        frame = frame.f_back
    return NOWHERE


@cache
def _not_the_users() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")}
    return ("<frozen", str(Path(__file__).parent), *sorted(folders))
