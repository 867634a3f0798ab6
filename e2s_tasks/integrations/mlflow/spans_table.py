"""The spans of a run as one Arrow table: a row each, what is not known is null."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import COMPONENTS

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT = ("id", "parent_id", "kind", "name", "status", "task_run_id", "result_from")
_WHOLE = ("attempt", "bytes_read", "bytes_written", "rows")
_FIGURE = ("duration_s", "cpu_s", "inclusive_cpu_s", "exclusive_j", "inclusive_j", "avoided_j")


def spans_table(summary: dict[str, Any]) -> "pa.Table":
    """The table of a summary's spans: as in docs/summary.md, with a column `<component>_j` for each component."""
    import pyarrow as pa

    spans = summary["spans"]
    columns = {name: pa.array([one[name] for one in spans], pa.string()) for name in _TEXT}
    columns |= {name: pa.array([one[name] for one in spans], pa.int64()) for name in _WHOLE}
    columns |= {name: pa.array([one[name] for one in spans], pa.float64()) for name in _FIGURE}
    times = [datetime.fromisoformat(one["started_at"]) for one in spans]
    columns["started_at"] = pa.array(times, pa.timestamp("us", "UTC"))
    for name in COMPONENTS:
        columns[f"{name}_j"] = pa.array([one["energy_j"].get(name) for one in spans], pa.float64())
    return pa.table(columns)


def write_spans(summary: dict[str, Any], path: Path) -> None:
    """Write the table of a summary's spans as Parquet."""
    import pyarrow.parquet as pq

    pq.write_table(spans_table(summary), path)
