"""Fills a ledger in bulk with made-up runs: as many spans as asked for, a version for every 20 of them, and one version
that 5,000 attempts of 250 runs led to.

Most runs are those of daily pipelines: a flow of 13 tasks, each of which reads and writes, and two data sets written.
The 250 others are a chain: the steps of each hand on results, its first reads what the run before wrote.
"""

import random
from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from common import ROOT  # noqa: F401 - makes e2s_tasks importable

from e2s_tasks.core.records import (
    EdgeRecord,
    OutcomeRecord,
    ProcessRecord,
    ReadRecord,
    Record,
    SourceRecord,
    SpanRecord,
    VersionRecord,
)
from e2s_tasks.ledger import Ledger

START = 1_700_000_000.0  # when the first run begins; one begins every 20 minutes
EVERY_S = 1200.0
CHAIN, CHAIN_TASKS = 250, 20
TASKS = 13
PRODUCTS = 1250  # pairs of data sets that the daily runs write
BATCH = 20_000
LAST = f"file:///lake/chain/{CHAIN - 1}.parquet"  # the version with 5,000 attempts upstream
_SOURCES = [SourceRecord("cpu", "RAPL", "measured"), SourceRecord("dram", "RAPL", "measured")]


def fill(ledger: Ledger, spans: int, seed: int = 1) -> tuple[str, int]:
    """The id of a daily run in the middle of all runs, and the number of spans in fact written."""
    draw = random.Random(seed)
    daily = max(1, (spans - CHAIN * (CHAIN_TASKS + 3)) // (3 * TASKS + 1))
    when = sorted(draw.sample(range(daily + CHAIN), CHAIN))
    records = _runs(draw, daily, set(when))
    while batch := list(islice(records, BATCH)):
        ledger.ingest(batch)
    return _id("run", daily // 2), daily * (3 * TASKS + 1) + CHAIN * (CHAIN_TASKS + 3)


def _runs(draw: random.Random, daily: int, when: set[int]) -> Iterator[Record]:
    link = number = 0
    for place in range(daily + len(when)):
        at = START + place * EVERY_S
        if place in when:
            yield from _chain_run(draw, link, at)
            link += 1
        else:
            yield from _daily_run(draw, number, at)
            number += 1


def daily_run(number: int, seed: int = 1) -> Iterator[Record]:
    """One more run of the daily pipeline, that of this number."""
    return _daily_run(random.Random(seed), number, START + number * EVERY_S)


def _daily_run(draw: random.Random, number: int, at: float) -> Iterator[Record]:
    run, process = _id("run", number), _id("process", number)
    yield _process(process, at)
    flow = _span(draw, _id("flow", number), process, run, "flow", "daily", at, None, 600.0)
    flow.attributes = {"flow_run_name": f"run-{number}"}
    flow.solution = f"solution-{number % 20}"
    yield flow
    product = number % PRODUCTS
    for task in range(TASKS):
        begun, key = at + 5 + task * 40, number * TASKS + task
        attempt = _span(draw, _id("attempt", key), process, run, "attempt", f"task-{task}", begun, flow.id, 30.0)
        attempt.task_run_id, attempt.task_key, attempt.attempt = _id("task", key), f"task-{task}", 1
        read = _span(draw, _id("read", key), process, run, "read", "read", begun + 1, attempt.id, 2.0)
        write = _span(draw, _id("write", key), process, run, "write", "write", begun + 20, attempt.id, 5.0)
        yield from (attempt, read, write)
        if task == 0:
            uri = f"file:///lake/daily/{(product - 1) % PRODUCTS}/a.parquet"
            yield ReadRecord(_id("in", number), uri, read.id, run, begun + 1)
        else:
            yield EdgeRecord(_id("edge", key), run, _id("task", key - 1), _id("task", key))
        if task >= TASKS - 2:
            uri = f"file:///lake/daily/{product}/{'ab'[task - TASKS + 2]}.parquet"
            yield VersionRecord(_id("version", key), uri, write.id, run, begun + 25, 10**6, 10**4, "parquet")
    yield OutcomeRecord(_id("outcome", number), run, attempt.id, at + 590, "row", 10_000.0, accurate=9_000.0)


def _chain_run(draw: random.Random, link: int, at: float) -> Iterator[Record]:
    run, process = _id("chain run", link), _id("chain process", link)
    yield _process(process, at)
    flow = _span(draw, _id("chain flow", link), process, run, "flow", "chain", at, None, 600.0)
    flow.attributes = {"flow_run_name": f"chain-{link}"}
    yield flow
    for task in range(CHAIN_TASKS):
        begun, key = at + 5 + task * 28, link * CHAIN_TASKS + task
        attempt = _span(draw, _id("link", key), process, run, "attempt", f"step-{task}", begun, flow.id, 25.0)
        attempt.task_run_id, attempt.task_key, attempt.attempt = _id("link task", key), f"step-{task}", 1
        yield attempt
        if task:
            yield EdgeRecord(_id("link edge", key), run, _id("link task", key - 1), _id("link task", key))
        else:
            read = _span(draw, _id("link read", link), process, run, "read", "read", begun + 1, attempt.id, 2.0)
            yield read
            if link:
                before = f"file:///lake/chain/{link - 1}.parquet"
                yield ReadRecord(_id("link in", link), before, read.id, run, begun + 1)
    write = _span(draw, _id("link write", link), process, run, "write", "write", begun + 10, attempt.id, 5.0)
    yield write
    uri = f"file:///lake/chain/{link}.parquet"
    yield VersionRecord(_id("link version", link), uri, write.id, run, begun + 15, 10**6, 10**4, "parquet")


def _process(process: str, at: float) -> ProcessRecord:
    return ProcessRecord(process, "host", "boot", 1, 1, at, "dedicated", list(_SOURCES))


def _span(  # noqa: PLR0917 - in the order of the record's fields
    draw: random.Random, id_: str, process: str, run: str, kind: str, name: str, at: float, parent: str | None, s: float
) -> SpanRecord:
    return SpanRecord(
        id_, 2, process, run, kind, name, "completed", at, parent, at + s, flow_run_id=run,
        cpu_ns=draw.randrange(10**10), cpu_j=100 * draw.random(), dram_j=draw.random(), static_j=draw.random(),
        bytes_read=10**6 if kind == "read" else None, bytes_written=10**6 if kind == "write" else None,
        storage_j=0.01 if kind in ("read", "write") else None,
    )  # fmt: skip


def _id(what: str, number: int) -> str:
    """Ids as random as those of real runs, and the same every time."""
    return str(UUID(int=random.Random(f"{what}/{number}").getrandbits(128)))
