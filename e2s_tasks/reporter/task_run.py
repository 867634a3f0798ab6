"""What the attempts of a task run used: the rows and figures that the run's summary has of them, and their sums."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from e2s_tasks.core.energy import add
from e2s_tasks.core.records import Kind, RunRecords, SpanRecord
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.steps import share
from e2s_tasks.reporter.tree import tree


def summarise_task_runs(summary: dict[str, Any], run: RunRecords, task_run_ids: Sequence[str]) -> dict[str, Any]:
    """What these task runs of a run used, in their order; each attempt with its own range and provenance.

    summary: that of the run, from which its rows and artifacts are. `attempts` is empty where none is known.
    """
    spans = tree(run.spans, run.run_id)
    attempts = []
    inside: dict[str, SpanRecord] = {}
    for rows in _blocks(summary["steps"]):
        head = spans.by_id.get(rows[0]["span_id"] or "")
        if head is None or head.kind != Kind.ATTEMPT or head.task_run_id not in task_run_ids:
            continue
        within = list(spans.within(head))
        inside |= {one.id: one for one in within}
        attempts.append(_worth(run, within) | rows[0] | {"task_run_id": head.task_run_id, "rows": rows[1:]})
    attempts.sort(key=lambda one: task_run_ids.index(one["task_run_id"]))
    artifacts = [one for one in summary["artifacts"] if one["span_id"] in inside]
    return _worth(run, list(inside.values())) | {
        "flow_run": summary["flow_run"], "run_j": summary["energy_j"]["total"],
        "run_lower_bound": bool(summary["gaps"]), "attempts": attempts,
        "artifacts": artifacts, "unclaimed_j": None, "unclaimed_lower_bound": False,
        **_sums(attempts, summary["energy_j"]["total"]),
    }  # fmt: skip


def _blocks(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Each row of depth 0 with those inside it."""
    blocks: list[list[dict[str, Any]]] = []
    for row in rows:
        if row["depth"] == 0:
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def _worth(run: RunRecords, spans: list[SpanRecord]) -> dict[str, Any]:
    """The energy of some of a run's spans, with its range, and what it rests on."""
    processes = {one.process_id for one in spans}
    part = replace(run, spans=spans, processes=[one for one in run.processes if one.id in processes])
    energy, gaps = figures.run_energy(spans), figures.gaps(part)
    return {
        "energy_j": figures.energy_figures(energy),
        "energy_j_range": figures.energy_range(part, energy, gaps),
        "provenance": figures.provenance(part, energy),
        "gaps": gaps,
        "cut_short": figures.cut_short(part),
        "begun": True,
        "sources": figures.sources(part),
        "static_policy": sorted({process.static_policy for process in part.processes}),
    }


def _sums(attempts: list[dict[str, Any]], run_j: float | None) -> dict[str, Any]:
    """What the attempts used together; their memory is the most that one had."""

    def known(name: str) -> list[Any]:
        return [one[name] for one in attempts if one[name] is not None]

    joules = add(one["inclusive_j"] for one in attempts)
    return {
        "inclusive_j": joules,
        "share": share(joules, run_j),
        "cpu_s": sum(one["cpu_s"] for one in attempts),
        "duration_s": sum(known("duration_s")) if known("duration_s") else None,
        "peak_memory_bytes": max(known("peak_memory_bytes"), default=None),
        **{name: sum(known(name)) if known(name) else None for name in ("bytes_read", "bytes_written")},
    }
