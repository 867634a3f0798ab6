"""Airflow's assets as artifacts: inlets are what a task used, outlets what it made; their events carry the joules."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from e2s_tasks.core.records import CALLED, VersionRecord
from e2s_tasks.io.places import uri_of
from e2s_tasks.recorder.artifacts import outlet_versions, record_input
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import OpenSpan

SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
EXTRA = "e2s"
JOULES = "attempt_host_energy_j"  # what is told in any case: by it ours is known
NOTHING: dict[str, Any] = {"spans": [], "artifacts": []}
PATIENCE_S = 2.0  # with a ledger that others hold, as many do that end at once; the work is over by then
MUCH = 4_000_000  # bytes of journals: taking in so many takes half a second
MANY = 7_000  # spans of a run: reading so many takes half a second


def name_of(asset: Any) -> str | None:
    """The URI of an asset in the ledger; None for what is no single one, such as an alias."""
    uri = getattr(asset, "uri", None)
    if not isinstance(uri, str) or not uri:
        return None
    if uri.startswith("/"):  # a path
        return uri_of(uri)
    return uri if SCHEME.match(uri) else f"asset:/{uri}"


@guarded
def begun(span: OpenSpan, task_instance: Any) -> None:
    """The attempt begins: its inlets are its inputs. What an alias stands for is not known, nor what that has cost.

    Nor is it of a partition: versions are not told apart by these.
    """
    from airflow.sdk.definitions.asset import AssetAlias, AssetNameRef

    task = task_instance.task
    partition = getattr(task_instance._ti_context_from_server.dag_run, "partition_key", None)  # noqa: SLF001
    if task.outlets:
        span.sum_up()
    for inlet in task.inlets or ():
        if isinstance(inlet, AssetNameRef):  # as those of `@asset` are
            name: str | None = _named(inlet.name, task_instance)
        else:
            name = f"asset-alias:/{inlet.name}" if isinstance(inlet, AssetAlias) else name_of(inlet)
        if name is not None:
            record_input(name if partition is None else of_partition(name, partition))


def of_partition(name: str, partition: str) -> str:
    """What an asset's partition is called. A query would be taken off it."""
    return f"{name.rstrip('/')}{quote(f'?partition={partition}', safe='')}"


def _named(name: str, task_instance: Any) -> str:
    """The asset of that name, which Airflow has looked up for the task's context."""
    known = getattr(task_instance.get_template_context()["inlet_events"], "_assets", {})
    found = next((name_of(one) for one in known if one.name == name), None)
    return found or f"asset:/{name}"


@guarded
def made(span: OpenSpan, task_instance: Any, to: list[VersionRecord]) -> None:
    """The operator has done its work: its outlets are new versions, unless a measured write has already said so.

    They go `to` where they wait until Airflow has taken that the task has succeeded.
    """
    for name in _events(task_instance):
        if not _is_written(span, uri_of(name)):
            to.extend(outlet_versions(span, name))
    called = {(key.name, uri_of(name)) for key, name, _ in _made(task_instance) if key.name != key.uri}
    if called:
        span.note({CALLED: sorted(map(list, called))})


def _events(task_instance: Any) -> dict[str, list[Any]]:
    """What has the `extra` of the event of each asset that the task made, by the asset's name in the ledger.

    One that several aliases stand for has several events.
    """
    found: dict[str, list[Any]] = {}
    for _, name, event in _made(task_instance):
        found.setdefault(name, []).append(event)
    return found


def _made(task_instance: Any) -> Iterator[tuple[Any, str, Any]]:
    """Each asset that the task made: as Airflow knows it, its name in the ledger, and what has its event's `extra`.

    An alias stands for the assets that the task has added to it.
    """
    from airflow.sdk.definitions.asset import Asset, AssetAlias, AssetRef

    outlets = [one for one in task_instance.task.outlets or () if isinstance(one, Asset | AssetAlias | AssetRef)]
    told = task_instance.get_template_context()["outlet_events"] if outlets else {}
    for outlet in outlets:
        of = told[outlet]
        single = [] if isinstance(outlet, AssetAlias) else [(of.key, of)]
        for key, event in [*single, *((one.dest_asset_key, one) for one in of.asset_alias_events)]:
            name = name_of(key)
            if name is not None:
                yield key, name, event


def _is_written(span: OpenSpan, uri: str) -> bool:
    return any(one == uri or one.startswith(uri.rstrip("/") + "/") for one in list(span.made))


@guarded
def tell(span: OpenSpan, task_instance: Any, made: list[VersionRecord]) -> None:
    """The event of each asset that the task made carries its energy-to-solution; a ledger that is away, the attempt's.

    Called after the work: who waits for the asset gets the event with the report of the task's state. made: see `made`.
    """
    events = _events(task_instance)
    if not events:
        return
    joules, provenance = span.recorder.host_energy(span)
    summary = _from_the_ledger(span, {uri_of(name) for name in events}, made)
    versions = {**span.made} | {one.uri: one.id for one in made}
    before = 0.0 if _is_first(task_instance) else _before(span, summary["spans"])
    whole = None if before is None else before + joules  # nobody knows it where a part of it is missing
    told = {"run_id": span.run_id, JOULES: whole, "provenance": str(provenance)}
    found = {row["uri"]: row for row in summary["artifacts"]}
    for name, of_asset in events.items():
        carried = told | _energy_to_solution(span, found.get(uri_of(name)), versions.get(uri_of(name)))
        for event in of_asset:
            if _is_free(event.extra):
                event.extra = {**(event.extra or {}), EXTRA: carried}
            else:
                theirs = RuntimeError(f"the task has put something of its own under extra[{EXTRA!r}] of {name}")
                warn_once("telling what an asset has cost", theirs, "what the task has put there stays")


def _is_free(extra: Mapping[str, Any] | None) -> bool:
    """Whether nothing of the user's is in our place: what they handed on from the event of an input is ours again."""
    theirs = (extra or {}).get(EXTRA)
    return theirs is None or (isinstance(theirs, Mapping) and JOULES in theirs)


def _is_first(task_instance: Any) -> bool:
    """Whether this is the attempt's first stretch: it was neither deferred nor rescheduled before."""
    told = task_instance._ti_context_from_server  # noqa: SLF001 - Airflow has no other place for it
    return not getattr(told, "next_method", None) and not getattr(told, "task_reschedule_count", 0)


def _before(span: OpenSpan, spans: list[dict[str, Any]]) -> float | None:
    """The host energy (J) of the attempt's earlier stretches: of its first, in which the later ones lie.

    None where a part of it is missing, or the ledger has not told of it.
    """
    this = next((one for one in spans if one["id"] == span.id), None)
    first = next((one for one in spans if this and one["id"] == this["parent_id"] and one["kind"] == "attempt"), None)
    if this is None:
        return None
    inside = set() if first is None else {first["id"]}  # one that only waited for a cleaner grid is none
    for one in spans:  # parents first
        if one["parent_id"] in inside and one is not this:
            inside.add(one["id"])
    known = [one["energy_j"]["host"] for one in spans if one["id"] in inside]
    return None if None in known else sum(known)


def _from_the_ledger(span: OpenSpan, uris: Collection[str], made: list[VersionRecord]) -> dict[str, Any]:
    """What the attempt and its artifacts took so far; without either where the ledger does not answer in time.

    made: those of its versions that are not written down yet.
    """
    from e2s_tasks.errors import E2SError
    from e2s_tasks.ledger import Ledger, replay
    from e2s_tasks.reporter.made import summarise_made

    recorder = span.recorder
    recorder.write_down()
    reading = "reading what an asset has cost (its event tells the attempt's energy alone)"
    if _bytes_of(recorder.settings.journals) > MUCH:
        warn_once(reading, RuntimeError(f"more than {MUCH / 1e6:.0f} MB of journals wait: `e2s runs` takes them in"))
        return NOTHING
    try:
        ledger = Ledger.open(recorder.settings.ledger, PATIENCE_S)
        with ledger.kept_open():
            replay(recorder.settings.journals, ledger)
            if any(run.spans > MANY for run in ledger.known_runs([span.run_id])):
                warn_once(reading, RuntimeError(f"the run has more than {MANY:,} spans: `e2s show` tells it"))
                return NOTHING
            return summarise_made(ledger, span.run_id, span.id, uris, made)
    except E2SError as error:
        warn_once(reading, error)
        return NOTHING


def _bytes_of(journals: Path) -> int:
    size = 0
    for one in journals.glob("*.jsonl"):
        with suppress(OSError):  # another process has just delivered its own
            size += one.stat().st_size
    return size


def _energy_to_solution(span: OpenSpan, row: dict[str, Any] | None, version_id: str | None) -> dict[str, Any]:
    if row is None:  # what it cost will be known by its version
        return {} if version_id is None else {"version_id": version_id}
    still_running = f"{span.name!r} is still running"  # this attempt, of which no more than its report is left
    return {
        "version_id": row["version_id"],
        "in_run_j": row["in_run_j"],
        "fully_loaded_j": row["fully_loaded_j"],
        "emissions_g": row["emissions_g"],
        "lower_bound": any(reason != still_running for reason in row["fully_loaded_reasons"]),
    }
