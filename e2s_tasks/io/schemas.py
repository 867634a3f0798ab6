"""What tells one schema from another."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def schema_digest(schema: "pa.Schema") -> str:
    """A short sha256 of the columns' names, types and nullability; metadata leaves it unchanged."""
    text = "\n".join(f"{field.name}: {field.type} {field.nullable}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
