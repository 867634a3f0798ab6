"""An attempt's energy as metrics of Airflow's own: StatsD, Datadog or OpenTelemetry, whichever Airflow is set up for.

Tags are the DAG's and the task's ids: as many series as there are tasks, however many runs.
"""

from typing import Any

from e2s_tasks.core.records import PEAK_MEMORY
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import OpenSpan

ENERGY = "e2s.task.energy_joules"
CPU = "e2s.task.cpu_seconds"
MEMORY = "e2s.task.peak_memory_bytes"
SWITCHES = ("statsd_on", "statsd_datadog_enabled", "otel_on")


@guarded
def wanted(span: OpenSpan) -> None:
    """The attempt begins: where metrics are on, what lies inside it is summed up as it goes."""
    if _stats() is not None:
        span.sum_up()


@guarded
def tell(span: OpenSpan, task_instance: Any) -> None:
    """The attempt, which is settled, has ended: its gauges are set and its joules counted, if metrics are on."""
    stats = _stats()
    if stats is None:
        return
    tags = {"dag_id": task_instance.dag_id, "task_id": task_instance.task_id}
    if span.recorder.process.sources and span.inclusive_j:  # without a source there is nothing to tell, which is not 0
        stats.gauge(ENERGY, span.inclusive_j, tags=tags)
        stats.incr(f"{ENERGY}_total", span.inclusive_j, tags=tags)
    stats.gauge(CPU, span.inclusive_cpu_ns / 1e9, tags=tags)
    stats.gauge(MEMORY, span.record.attributes[PEAK_MEMORY], tags=tags)


def _stats() -> Any:
    """What takes Airflow's metrics; None where they are off."""
    try:
        from airflow.sdk.configuration import conf
        from airflow.sdk.observability import stats

        taking: Any = stats if hasattr(stats, "gauge") else stats.Stats  # Airflow 3.2
    except ImportError:  # Airflow 3.1
        from airflow.configuration import conf
        from airflow.stats import Stats

        taking = Stats
    return taking if any(conf.getboolean("metrics", name, fallback=False) for name in SWITCHES) else None
