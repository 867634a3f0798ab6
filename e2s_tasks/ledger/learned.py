"""What earlier runs of a flow teach about the next one: how long it takes, and what it uses."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import sqlalchemy as sa

from e2s_tasks.core.energy import COMPONENTS
from e2s_tasks.core.records import LAST_BEGAN, OF_STEP, DecisionRecord, Kind, Status
from e2s_tasks.core.waits import alone, step_waits
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger.glances import is_flow
from e2s_tasks.ledger.tables import decision, span
from e2s_tasks.near import RUN_ONE, hint, nearest

LATEST = 50  # completed runs that are looked at
MOST_NAMES = 1000
ENOUGH = 5  # of fewer nothing is learned


@dataclass(frozen=True, slots=True)
class Learned:
    """Of so many completed runs: what half and what 95 of 100 of them take at most (s), and the median energy (J).

    What a run waited for a cleaner grid is no part of either. One that began again, with some of its steps, teaches
    nothing.
    """

    runs: int
    p50_s: float
    p95_s: float
    energy_j: float | None


def learned(connection: sa.Connection, flow: str) -> Learned | None:
    """What the latest completed root runs of a flow teach; None while there are fewer than five."""
    root = is_flow() & (span.c.flow_run_id == span.c.run_id) & (span.c.name == flow)
    ended = (span.c.status == Status.COMPLETED.value) & span.c.ended_at.is_not(None)
    wanted = sa.select(span.c.run_id, span.c.started_at, span.c.ended_at, span.c.attributes).where(root, ended)
    rows = connection.execute(wanted.order_by(span.c.started_at.desc()).limit(LATEST))
    lengths = {run_id: end - start for run_id, start, end, told in rows if (told or {}).get(LAST_BEGAN, start) <= start}
    if len(lengths) < ENOUGH:
        return None
    waits = sa.select(span.c.run_id, sa.func.sum(span.c.ended_at - span.c.started_at)).where(
        span.c.kind == Kind.WAIT.value, span.c.run_id.in_(lengths)
    )
    for run_id, waited_s in connection.execute(waits.group_by(span.c.run_id)):
        lengths[run_id] -= waited_s or 0.0
    for run_id, waited_s in _waits_of_steps(connection, lengths):
        lengths[run_id] -= waited_s
    joules = sum((sa.func.coalesce(span.c[f"{name}_j"], 0.0) for name in COMPONENTS), start=sa.literal(0.0))
    worked = (span.c.kind != Kind.WAIT.value) & (span.c.status != Status.SUSPENDED.value)
    used = sa.select(sa.func.sum(joules)).where(worked, span.c.run_id.in_(lengths)).group_by(span.c.run_id)
    energies = [one for (one,) in connection.execute(used) if one]
    in_order = sorted(max(one, 0.0) for one in lengths.values())
    return Learned(len(lengths), median(in_order), _p95(in_order), median(energies) if energies else None)


def _waits_of_steps(connection: sa.Connection, run_ids: Iterable[str]) -> Iterator[tuple[str, float]]:
    """For how long (s) nothing went on in a run but the waiting of single steps, such as tasks of an Airflow DAG."""
    decisions: dict[str, list[DecisionRecord]] = defaultdict(list)
    wanted = sa.select(decision.c.run_id, decision.c.at, decision.c.plan).where(decision.c.run_id.in_(list(run_ids)))
    for run_id, at, plan in connection.execute(wanted):
        if plan and plan.get(OF_STEP) is not None:
            decisions[run_id].append(DecisionRecord("", run_id, at, "", "", "", plan=plan))
    attempts: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    columns = span.c.run_id, span.c.task_run_id, span.c.started_at, span.c.ended_at
    of_runs = (span.c.kind == Kind.ATTEMPT.value) & span.c.run_id.in_(list(decisions))
    for run_id, step, start, end in connection.execute(sa.select(*columns).where(of_runs)):
        attempts[run_id].append((step, start, end or start))
    for run_id, of_run in decisions.items():
        starts: dict[str, list[float]] = defaultdict(list)
        for step, start, _ in attempts[run_id]:
            starts[step].append(start)
        waits = [(one.arrived, one.began) for one in step_waits(of_run, starts) if one.began is not None]
        yield run_id, alone(waits, [(start, end) for _, start, end in attempts[run_id]])


def learned_step(connection: sa.Connection, flow: str, step: str) -> Learned | None:
    """What the latest completed attempts of a flow's step teach, without their energy; None while there are few.

    step: the task's name. Of an attempt that was suspended in between, the last stretch of work is looked at.
    """
    of_flow = sa.select(span.c.flow_run_id).where(is_flow(), span.c.name == flow)
    attempt = (span.c.kind == Kind.ATTEMPT.value) & (span.c.name == step) & (span.c.ended_at.is_not(None))
    completed = attempt & (span.c.status == Status.COMPLETED.value) & span.c.flow_run_id.in_(of_flow)
    lengths = sa.select(span.c.ended_at - span.c.started_at).where(completed)
    in_order = sorted(connection.scalars(lengths.order_by(span.c.started_at.desc()).limit(LATEST)))
    if len(in_order) < ENOUGH:
        return None
    return Learned(len(in_order), median(in_order), _p95(in_order), None)


def _p95(in_order: list[float]) -> float:
    return in_order[min(len(in_order) - 1, int(0.95 * len(in_order)))]


def latest_policy(connection: sa.Connection, flow: str) -> dict[str, Any] | None:
    """The carbon policy of the flow's latest runs, as decisions hold it; None where they had none.

    Raises:
        NotFoundError: no flow of that name has run; near matches are named.
    """
    found = _latest_runs(connection, flow)
    if not found:
        names = list(connection.scalars(sa.select(span.c.name).where(_roots()).distinct().limit(MOST_NAMES)))
        near = nearest(flow, names)
        said = hint(near, names, RUN_ONE)
        raise NotFoundError(f"No run of a flow or DAG {flow!r} is in the ledger. {said}", near)
    plans = sa.select(decision.c.plan).where(decision.c.run_id.in_(found)).order_by(decision.c.at.desc())
    return next((plan["policy"] for plan in connection.scalars(plans) if plan and "policy" in plan), None)


def latest_zone(connection: sa.Connection, flow: str) -> str | None:
    """The grid zone that the flow's latest runs looked at, with a policy or without; None where they had none."""
    of_runs = decision.c.run_id.in_(_latest_runs(connection, flow)) & decision.c.zone.is_not(None)
    return connection.scalar(sa.select(decision.c.zone).where(of_runs).order_by(decision.c.at.desc()).limit(1))


def _roots() -> sa.ColumnElement[bool]:
    return is_flow() & (span.c.flow_run_id == span.c.run_id)


def _latest_runs(connection: sa.Connection, flow: str) -> list[str]:
    wanted = sa.select(span.c.run_id).where(_roots(), span.c.name == flow)
    return list(connection.scalars(wanted.order_by(span.c.started_at.desc()).limit(LATEST)))
