"""The ledger as pandas or Arrow tables, with the filters that people ask for."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from e2s_tasks.core.energy import COMPONENTS
from e2s_tasks.core.records import Kind, Status
from e2s_tasks.errors import SettingError
from e2s_tasks.ledger import artifacts as of_artifacts
from e2s_tasks.ledger import finding, glances
from e2s_tasks.ledger.columns import NUMBER, SPANS, TEXT, TIME, VERSIONS, WHOLE, Column, batch, schema
from e2s_tasks.ledger.query import chunks
from e2s_tasks.ledger.tables import call, span, version
from e2s_tasks.ledger.times import Moment, period

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

To = Literal["pandas", "arrow"]
Texts = str | Sequence[str]
ROWS = 10_000  # rows that are held as Python objects at a time
_NOTHING = sa.null()
FLOW_RUNS = [
    Column(name, kind, _NOTHING)
    for kind, names in (
        (TEXT, ("run_id", "flow_run_id", "name", "flow_run_name", "kind", "status", "solution")),
        (TIME, ("started_at", "ended_at")),
        (NUMBER, ("duration_s",)),
        (WHOLE, ("spans",)),
        (NUMBER, ("energy_j", *(f"{component}_j" for component in COMPONENTS))),
    )
    for name in names
]


def spans(
    connection: sa.Connection,
    run: str | None,
    since: Moment | None,
    until: Moment | None,
    solution: str | None,
    **texts: Texts | None,
) -> "pa.Table":
    """Spans in the order of their starts. texts: by column, what it has to be, or to match."""
    query = sa.select(*(one.value.label(one.name) for one in SPANS)).order_by(span.c.started_at, span.c.id)
    query = query.where(*_between(span.c.started_at, since, until))
    query = query.where(
        *(_is(connection, span.c[name], wanted) for name, wanted in texts.items() if wanted is not None)
    )
    if solution is not None:
        query = query.where(span.c.run_id.in_(sa.select(_of_solution(solution).c.id)))
    if run is None:
        return _table(SPANS, batches(connection, query, SPANS))
    ids = list(glances.members(connection, [finding.find(connection, run)]))
    found = (one for chunk in chunks(ids) for one in batches(connection, query.where(span.c.run_id.in_(chunk)), SPANS))
    return _table(SPANS, found).sort_by([("started_at", "ascending"), ("span_id", "ascending")])


def versions(
    connection: sa.Connection, uri: Texts | None, run: str | None, since: Moment | None, until: Moment | None
) -> "pa.Table":
    """Artifact versions in the order of their writes, each with its number within its URI."""
    number = sa.func.row_number().over(partition_by=version.c.uri, order_by=(version.c.created_at, version.c.id))
    columns = [*VERSIONS[:2], Column("version", WHOLE, number), *VERSIONS[2:]]
    numbered = sa.select(*(one.value.label(one.name) for one in columns))
    if uri is not None:
        uris = [*([uri] if isinstance(uri, str) else uri)]
        numbered = numbered.where(_is(connection, version.c.uri, [*uris, *of_artifacts.named(uris)]))
    found = numbered.subquery()
    query = sa.select(found).order_by(found.c.created_at, found.c.version_id)
    query = query.where(*_between(found.c.created_at, since, until))
    if run is not None:
        ids = list(glances.members(connection, [finding.find(connection, run)]))
        query = query.where(found.c.run_id.in_(ids))
    return _table(columns, batches(connection, query, columns))


def flow_runs(
    connection: sa.Connection,
    run: str | None,
    since: Moment | None,
    until: Moment | None,
    status: Texts | None,
    **texts: Texts | None,
) -> "pa.Table":
    """Root runs in the order of their starts, with the energy of all their spans. status: that of their last life."""
    query = glances.roots().where(*_between(span.c.started_at, since, until)).order_by(span.c.started_at, span.c.run_id)
    if run is not None:
        query = query.where(span.c.run_id == finding.find(connection, run))
    query = query.where(
        *(_is(connection, span.c[name], wanted) for name, wanted in texts.items() if wanted is not None)
    )
    rows = glances.rows_of(connection, list(connection.execute(query).scalars()))
    patterns = None if status is None else _texts(status)
    kept = [row for row in rows if patterns is None or any(fnmatchcase(row.status, _pattern(one)) for one in patterns)]
    return _table(FLOW_RUNS, iter([batch(FLOW_RUNS, [_values(row) for row in kept])]))


def _values(row: glances.RunRow) -> list[Any]:
    """A root run's values, in the order of FLOW_RUNS."""
    known = {name: getattr(row, name) for name in ("started_at", "ended_at", "spans", "run_id", "flow_run_id")}
    known |= {name: getattr(row, name) for name in ("name", "flow_run_name", "kind", "status", "solution")}
    known["duration_s"] = None if row.ended_at is None else row.ended_at - row.started_at
    known["energy_j"] = row.energy.total
    known |= {f"{component}_j": joules for component, joules in asdict(row.energy).items()}
    return [known[one.name] for one in FLOW_RUNS]


def batches(connection: sa.Connection, query: sa.Select[Any], columns: Sequence[Column]) -> "Iterator[pa.RecordBatch]":
    """The rows of a query as Arrow, so many at a time, without holding all of them."""
    result = connection.execute(query.execution_options(yield_per=ROWS))
    for rows in result.partitions():
        yield batch(columns, rows)


def _table(columns: Sequence[Column], found: "Iterator[pa.RecordBatch]") -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_batches(found, schema=schema(columns))


def check(to: str) -> None:
    """See that a table is asked for that can be given.

    Raises:
        SettingError: neither "pandas" nor "arrow" was asked for.
    """
    if to not in ("pandas", "arrow"):
        raise SettingError(f"to={to!r} cannot be used: give 'pandas' or 'arrow'.")


def given(table: "pa.Table", to: To) -> "pd.DataFrame | Any":
    """The table as it was asked for. In pandas whole numbers stay whole where some are missing."""
    if to == "arrow":
        return table
    import pandas as pd
    import pyarrow as pa

    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def _between(column: sa.ColumnElement[Any], since: Moment | None, until: Moment | None) -> list[sa.ColumnElement[bool]]:
    first, last = period(since, until)
    conditions = []
    if first is not None:
        conditions.append(column >= first)
    if last is not None:
        conditions.append(column < last)
    return conditions


def check_words(name: str, wanted: Texts | None, known: type[Kind] | type[Status]) -> None:
    """See that each text asked for is one of the known words, or matches one.

    Raises:
        SettingError: one cannot be in the ledger; the message names those that can.
    """
    for one in [] if wanted is None else _texts(wanted):
        if not any(fnmatchcase(word, _pattern(one)) for word in known):
            raise SettingError(f"{name}={one!r} is unknown: give one of {', '.join(known)}.")


def _pattern(text: str) -> str:
    """The text for `fnmatch`, in which nothing but * stands for something else."""
    return "".join(f"[{one}]" if one in "?[" else one for one in text)


def _texts(wanted: Texts) -> list[str]:
    return [str(wanted)] if isinstance(wanted, str) else [str(one) for one in wanted]


def _is(connection: sa.Connection, column: sa.ColumnElement[Any], wanted: Texts) -> sa.ColumnElement[bool]:
    """Whether the column is one of the texts; one with * stands for all that match it."""
    exact = [one for one in _texts(wanted) if "*" not in one]
    return sa.or_(
        column.in_(exact), *(_matches(connection, column, one) for one in _texts(wanted) if "*" in one)
    )  # fmt: skip


def _matches(connection: sa.Connection, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    if connection.dialect.name == "sqlite":  # its LIKE takes upper and lower case for the same
        return column.op("GLOB")(_pattern(pattern))
    return column.like(
        "".join(f"\\{one}" if one in "%_\\" else "%" if one == "*" else one for one in pattern), escape="\\"
    )


def _of_solution(solution: str) -> sa.CTE:
    """The ids under which the spans of a solution's runs are recorded, those of their subflows included."""
    flow, inner = span.alias("flow"), span.alias("inner")
    found = sa.select(flow.c.run_id.label("id")).where(flow.c.solution == solution).cte("members", recursive=True)
    subflows = sa.select(inner.c.flow_run_id.label("id"), inner.c.run_id.label("above")).where(
        glances.is_flow(inner), inner.c.flow_run_id.is_not(None)
    )
    pairs = subflows.union_all(sa.select(call.c.id, call.c.caller)).subquery()  # PostgreSQL takes one term that recurs
    return found.union(sa.select(pairs.c.id).join(found, pairs.c.above == found.c.id))
