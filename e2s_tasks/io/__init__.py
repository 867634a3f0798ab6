"""Measured reading and writing: each call is a span with what it moved, and says which artifact it read or wrote.

Parquet goes through `read_parquet` and `write_parquet`; `reading` and `writing` wrap any other format.
"""

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
