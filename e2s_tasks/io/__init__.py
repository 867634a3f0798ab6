"""Measured reading and writing: each call is a span with what it moved, and says which artifact it read or wrote.

Parquet goes through `read_parquet`, `scan_parquet` and `write_parquet`; `reading` and `writing` wrap any other format,
`copy` copies, and `moved` records any other transfer. A name is found where it is first used, so that a measured
process that reads no Parquet does not load what reading it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2s_tasks.io.copying import copy
    from e2s_tasks.io.factors import movement_sources
    from e2s_tasks.io.files import reading, writing
    from e2s_tasks.io.moving import moved
    from e2s_tasks.io.parquet import MissingFileError, read_parquet, write_parquet
    from e2s_tasks.io.patching import patch, unpatch
    from e2s_tasks.io.places import uri_of
    from e2s_tasks.io.scanning import scan_parquet

__all__ = [
    "MissingFileError",
    "copy",
    "moved",
    "movement_sources",
    "patch",
    "read_parquet",
    "reading",
    "scan_parquet",
    "unpatch",
    "uri_of",
    "write_parquet",
    "writing",
]

_HOMES = {
    "MissingFileError": "parquet",
    "copy": "copying",
    "moved": "moving",
    "movement_sources": "factors",
    "patch": "patching",
    "read_parquet": "parquet",
    "reading": "files",
    "scan_parquet": "scanning",
    "unpatch": "patching",
    "uri_of": "places",
    "write_parquet": "parquet",
    "writing": "files",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
