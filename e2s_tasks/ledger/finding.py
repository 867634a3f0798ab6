"""Which run somebody means, by a part of its id or by a name; where none is meant, what is near."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger.glances import RunRow, heads, is_flow, latest, roots
from e2s_tasks.ledger.origins import root_runs
from e2s_tasks.ledger.query import flow_run_name, starts_with
from e2s_tasks.ledger.tables import span
from e2s_tasks.near import RUN_ONE, hint, nearest

SHORT = 8  # characters of an id that lists show
DECLARE = 'Declare one: @e2s_flow(solution="...") in Prefect, the tag e2s:solution=... of a DAG in Airflow.'
MOST_TOLD = 5  # of several runs that a text may name
NEAR = 200  # how many of the latest runs are searched for near matches


def find(connection: sa.Connection, text: str | None) -> str:
    """The root run of a run id, the unique start of one, or a flow run's name; None: the latest root run.

    Raises:
        NotFoundError: there is none, or several; `suggestions` holds near matches.
    """
    if text is None:
        newest = latest(connection, 1, None)
        if not newest:
            raise NotFoundError(f"The ledger holds no run yet. {RUN_ONE}")
        return newest[0].run_id
    found = _matching(connection, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise _several(connection, text, found)
    raise not_found(connection, text)


def of_solution(connection: sa.Connection, solution: str, since: float | None) -> list[str]:
    """The ids of the root runs of a solution, the oldest first.

    Raises:
        NotFoundError: no run of that solution is known, at any time; `suggestions` holds near matches.
    """
    columns = roots().where(span.c.solution == solution).subquery().c
    query = sa.select(columns.run_id, columns.started_at).order_by(columns.started_at)
    found = list(connection.execute(query))
    if not found:
        known = list(connection.execute(sa.select(span.c.solution).where(is_flow()).distinct()).scalars())
        names = [name for name in known if name]
        near = nearest(solution, names)
        said = hint(near, names, DECLARE)
        raise NotFoundError(f"No run of a solution {solution!r} is in the ledger. {said}", near)
    return [run_id for run_id, started_at in found if since is None or started_at >= since]


def _matching(connection: sa.Connection, text: str) -> list[str]:
    """The root runs that the text may name: by exact id, else by a flow run's name, else by the start of an id."""
    first = roots().subquery()
    root_ids = sa.select(first.c.run_id)
    run_of = sa.select(span.c.run_id).where(is_flow())
    attempts = (
        (root_ids.where(first.c.run_id == text), run_of.where(span.c.flow_run_id == text)),
        (run_of.where(flow_run_name(connection) == text),),
        (
            root_ids.where(starts_with(connection, first.c.run_id, text)),
            run_of.where(starts_with(connection, span.c.flow_run_id, text)),
        ),
    )
    for queries in attempts:
        found = {run_id for query in queries for run_id in connection.execute(query).scalars()}
        if text and found:
            return sorted(set(root_runs(connection, found).values()))
    return []


def _several(connection: sa.Connection, text: str, run_ids: Sequence[str]) -> NotFoundError:
    """Of several runs that the text may name, the newest first: the id of each, what ran, and when it began."""
    first = [roots[0] for roots in heads(connection, run_ids).values()]
    newest = sorted(first, key=lambda head: head.started_at, reverse=True)[:MOST_TOLD]
    told = [
        f"{head.run_id} ({head.name}, {datetime.fromtimestamp(head.started_at, UTC):%Y-%m-%d %H:%M UTC})"
        for head in newest
    ]
    more = f" and {len(run_ids) - len(told)} more" if len(run_ids) > len(told) else ""
    said = f"{text!r} could be any of {len(run_ids)} runs: {', '.join(told)}{more}. Give more of the run's id."
    return NotFoundError(said, [head.run_id for head in newest])


def not_found(connection: sa.Connection, text: str) -> NotFoundError:
    meant = _meant(text, latest(connection, NEAR, None))
    near = dict(meant[name] for name in nearest(text, meant))
    said = hint([*near.values()], (), "`e2s runs` lists the runs.")
    return NotFoundError(f"No run {text!r} is in the ledger. {said}", [*near])


def _meant(text: str, rows: Iterable[RunRow]) -> dict[str, tuple[str, str]]:
    """By what somebody may have meant to type: what names the run, and that in words.

    These are its name and its id, and the flow and the solution whose latest run it is.
    """
    start = max(SHORT, len(text))  # lists show the start of an id, so that is what people type
    meant: dict[str, tuple[str, str]] = {}
    for row in rows:
        short = row.run_id[:SHORT]
        for name in (row.flow_run_name, row.run_id, row.run_id[:start]):
            if name:
                meant.setdefault(name, (name, name))
        for name, what in ((row.name, row.name), (row.solution, f"the solution {row.solution}")):
            if name:
                meant.setdefault(name, (short, f"{short}, the latest run of {what}"))
    return meant
