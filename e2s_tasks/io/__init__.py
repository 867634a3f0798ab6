"""Measured reading and writing: each call is a span with what it moved, and says which artifact it read or wrote.

Parquet goes through `read_parquet` and `write_parquet`; `reading` and `writing` wrap any other format. A name is found
where it is first used, so that a measured process that reads no Parquet does not load what reading it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2s_tasks.io.factors import movement_sources
    from e2s_tasks.io.files import reading, writing
    from e2s_tasks.io.parquet import MissingFileError, read_parquet, write_parquet
    from e2s_tasks.io.places import uri_of

__all__ = [
    "MissingFileError",
    "movement_sources",
    "read_parquet",
    "reading",
    "uri_of",
    "write_parquet",
    "writing",
]

_HOMES = {
    "MissingFileError": "parquet",
    "movement_sources": "factors",
    "read_parquet": "parquet",
    "reading": "files",
    "uri_of": "places",
    "write_parquet": "parquet",
    "writing": "files",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
