"""Spans outside any orchestrator: blocks, threads, coroutines, generators, and what goes wrong."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from e2s_tasks import record_outcome, span
from e2s_tasks.core.records import Kind, OutcomeRecord, ReadRecord, SpanRecord, VersionRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.ledger.replaying import read_journal
from e2s_tasks.recorder import drive, drive_generator
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.recorder import SpanRecorder
from e2s_tasks.recorder.starts import OwnThread
from e2s_tasks.settings import Settings


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_block_outside_any_flow_is_a_run_of_its_own(recorded):
    with span("alone"):
        burn(0.02)
    record = recorded.spans()["alone"]
    assert record.run_id == record.id
    assert record.parent_id is None
    assert record.cpu_ns >= 0.02e9
    assert record.cpu_j > 0
    assert record.gpu_j is None


def test_nested_blocks_keep_their_own_energy_apart(recorded):
    with span("outer"):
        burn(0.02)
        with span("inner"):
            burn(0.04)
    spans = recorded.spans()
    assert spans["inner"].parent_id == spans["outer"].id
    assert spans["outer"].cpu_ns == pytest.approx(0.02e9, abs=0.015e9)
    assert spans["inner"].cpu_ns == pytest.approx(0.04e9, abs=0.015e9)
    assert spans["inner"].static_j == 0.0


def test_a_cpu_meter_that_never_answered_leaves_cpu_and_idle_power_missing_and_not_0(tmp_path):
    meters = tmp_path / "meters.toml"
    meters.write_text(
        '[[meter]]\nname = "m"\ncomponent = "cpu"\nurl = "http://127.0.0.1:9"\nquery = "q"\nkind = "counter"\n'
    )
    recorder = SpanRecorder(Settings(data_dir=tmp_path, external_meters=meters, powercap_root=tmp_path))
    with (
        OpenSpan(recorder, "outer", Kind.SPAN) as outer,
        OpenSpan(recorder, "inner", Kind.SPAN),
    ):
        burn(0.02)
    recorder.flush()
    found, _ = read_journal(recorder._journal.path)
    spans = {record.name: record for record in found if isinstance(record, SpanRecord)}
    recorder.close()
    assert [(one.cpu_j, one.static_j) for one in spans.values()] == [(None, None)] * 2
    assert spans["outer"].dram_j > 0
    assert outer.run_id == spans["inner"].run_id


def test_the_outermost_block_keeps_what_part_of_a_late_meters_figure_was_estimated_until_samples_put_it_right(recorded):
    with span("outer") as outer, span("inner"):
        assert outer.record.name == "outer"
        outer.estimate("cpu", 30.0, 100.0)
        recorded.recorder.drain()
        assert recorded.recorder._account_for(outer).attributes["estimated"] == {"cpu": 0.3}
        outer.estimate("cpu", -25.0, 100.0)
    spans = recorded.spans()
    assert "estimated" not in {**spans["outer"].attributes, **spans["inner"].attributes}


def test_an_exception_marks_the_block_as_failed_and_passes_unchanged(recorded):
    with pytest.raises(KeyError, match="k"), span("failing"):
        raise KeyError("k")
    assert recorded.spans()["failing"].status == "failed"


def test_threads_that_work_at_once_are_measured_apart(recorded):
    def work(name, seconds):
        with span(name):
            burn(seconds)

    threads = [threading.Thread(target=work, args=(f"t{i}", i * 0.05)) for i in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = recorded.spans()
    for i in (1, 2, 3):
        own = spans[f"t{i}"].cpu_ns - spans[f"t{i}"].shared_cpu_ns
        assert own == pytest.approx(i * 0.05e9, abs=0.02e9)


def test_what_a_thread_works_for_the_measuring_is_no_spans_also_once_the_thread_is_over(recorded):
    meter = recorded.recorder.meter

    def for_the_measuring():
        meter.own_thread()
        burn(0.4)
        meter.leave_own_thread()

    with span("waiting"):
        thread = OwnThread(target=for_the_measuring)
        thread.start()
        thread.join()
        time.sleep(0.1)
    assert recorded.spans()["waiting"].cpu_ns < 0.2e9
    assert len(meter._own) <= 1  # the recorder's own


def test_gathered_coroutines_are_measured_apart_and_to_the_step(recorded):
    async def work(seconds):
        for _ in range(5):
            burn(seconds / 5)
            await asyncio.sleep(0.005)
        return seconds

    async def both():
        begin = recorded.recorder.span
        return await asyncio.gather(
            drive(begin("short", Kind.ATTEMPT), work(0.05)), drive(begin("long", Kind.ATTEMPT), work(0.15))
        )

    assert asyncio.run(both()) == [0.05, 0.15]
    spans = recorded.spans()
    for name, seconds in (("short", 0.05), ("long", 0.15)):
        assert spans[name].cpu_ns - spans[name].shared_cpu_ns == pytest.approx(seconds * 1e9, abs=0.02e9)


def test_a_block_around_an_await_is_not_charged_for_other_coroutines(recorded):
    async def waiting():
        with span("waiting"):
            await asyncio.sleep(0.1)

    async def busy():
        await asyncio.sleep(0.01)
        burn(0.08)

    async def both():
        begin = recorded.recorder.span
        await asyncio.gather(drive(begin("a", Kind.ATTEMPT), waiting()), drive(begin("b", Kind.ATTEMPT), busy()))

    asyncio.run(both())
    spans = recorded.spans()
    assert spans["waiting"].parent_id == spans["a"].id
    assert spans["waiting"].cpu_ns - spans["waiting"].shared_cpu_ns < 0.02e9
    assert spans["b"].cpu_ns >= 0.08e9


def test_a_cancelled_coroutine_is_cancelled_and_its_cleanup_runs(recorded):
    cleaned = []

    async def work():
        try:
            await asyncio.sleep(10)
        finally:
            cleaned.append(True)

    async def main():
        running = asyncio.ensure_future(drive(recorded.recorder.span("work", Kind.ATTEMPT), work()))
        await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert cleaned == [True]
    assert recorded.spans()["work"].status == "cancelled"


def test_a_generator_takes_sends_throws_and_an_early_end(recorded):
    log = []

    def work():
        try:
            got = yield 1
            log.append(got)
            try:
                yield 2
            except ValueError as error:
                log.append(str(error))
            yield 3
        finally:
            log.append("closed")

    driven = drive_generator(recorded.recorder.span("gen", Kind.ATTEMPT), work())
    assert next(driven) == 1
    assert driven.send("hello") == 2
    assert driven.throw(ValueError("odd")) == 3
    driven.close()
    assert log == ["hello", "odd", "closed"]
    assert recorded.spans()["gen"].status == "completed"


def ends(generator, *steps):
    """What each step gives or raises."""
    found = []
    for step in steps:
        try:
            found.append(step(generator))
        except (StopIteration, GeneratorExit, KeyError, RuntimeError) as error:
            found.append((type(error), str(error)))
    return found


@pytest.mark.parametrize("end", [lambda one: one.throw(GeneratorExit), lambda one: one.close()])
@pytest.mark.parametrize("then", ["yield 2", "return 3", "raise KeyError('its own')", "raise"])
def test_a_generator_that_catches_its_end_does_as_an_unmeasured_one(recorded, end, then):
    scope = {}
    exec(f"def work():\n try:\n  yield 1\n except GeneratorExit:\n  {then}\n yield 4\n", scope)
    plain, measured = scope["work"](), drive_generator(recorded.recorder.span("gen"), scope["work"]())
    assert ends(measured, next, end, next) == ends(plain, next, end, next)


def test_what_a_span_reads_writes_and_achieves_is_written_down(recorded):
    with span("work") as work:
        work.read("file:///in")
        work.wrote("file:///out", size=10, rows=2, format="parquet")
        work.moved(bytes_read=5, bytes_written=10, rows=2, storage_j=0.5)
        record_outcome(units=10, accurate=7, name="prediction", quality={"accuracy": 0.7})
    record = recorded.spans()["work"]
    assert (record.bytes_read, record.bytes_written, record.storage_j) == (5, 10, 0.5)
    (read,) = recorded.records(ReadRecord).values()
    (version,) = recorded.records(VersionRecord).values()
    (outcome,) = recorded.records(OutcomeRecord).values()
    assert (read.span_id, version.span_id, outcome.span_id) == (record.id,) * 3
    assert (outcome.units, outcome.accurate) == (10, 7)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"units": -1}, "-1"),
        ({"units": 5, "accurate": 6}, "6"),
        ({"units": float("nan")}, "nan"),
        ({"units": 1e308}, r"1e\+308"),
        ({"units": 5, "quality": {"accuracy": 97.0}}, "97.0.* from 0 to 1"),
        ({"units": 5, "quality": {"auc": 10**400}}, "'auc': 1000"),
    ],
)
def test_an_impossible_outcome_is_refused_with_its_value(recorded, arguments, value):
    with span("work"), pytest.raises(SettingError, match=value):
        record_outcome(**arguments)


def test_importing_the_package_loads_no_heavy_packages():
    program = """
        import sys, json
        import e2s_tasks
        heavy = {"prefect", "pandas", "codecarbon", "pyarrow", "sqlalchemy", "pydantic"}
        print(json.dumps(sorted(heavy & set(sys.modules))))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_first_span_loads_nothing_that_only_reading_or_trouble_needs(tmp_path):
    program = """
        import sys, json
        from e2s_tasks import span
        with span("first"):
            pass
        with span("second"):
            pass
        spared = {"csv", "logging", "e2s_tasks.meters.tdp", "e2s_tasks.ledger.replaying", "sqlalchemy"}
        print(json.dumps(sorted(spared & set(sys.modules))))
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path)}
    for expected in (["csv", "e2s_tasks.meters.tdp"], []):  # the hardware profile is found once per host
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == expected


def test_ids_differ_in_their_first_digits_and_across_forks():
    from e2s_tasks.recorder.open_span import new_id

    ids = [new_id() for _ in range(10_000)]
    assert len({one[:8] for one in ids}) == len(ids)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, new_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 64).decode()[8:] != ids[0][8:]


def test_how_an_attempt_ended_is_on_disk_a_tick_later(recorded):
    recorder = recorded.recorder
    with recorder.span("flow", Kind.FLOW), recorder.span("attempt", Kind.ATTEMPT):
        pass
    time.sleep(20 * recorded.settings.tick_s)
    found, _ = read_journal(recorder._journal.path)
    assert {r.name: r.status for r in found if hasattr(r, "cpu_ns")} == {"flow": "completed", "attempt": "completed"}


def test_no_span_is_lost_while_threads_end_them_and_another_drains(recorded):
    def work(number):
        for i in range(200):
            with span(f"{number}-{i}"):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        recorded.recorder.drain()
    spans = recorded.spans()
    assert len(spans) == 800
    assert {record.status for record in spans.values()} == {"completed"}


def test_switched_off_nothing_is_measured_or_written(tmp_path):
    program = """
        from e2s_tasks import span, record_outcome
        with span("work") as work:
            work.moved(bytes_read=1)
            record_outcome(units=3)
            print("done")
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_ENABLED": "false"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert not (tmp_path / "journal").exists()
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"E2S_TICK_S": "soon"}, "nothing is measured"),
        ({"E2S_TICK_S": "soon"}, "E2S_TICK_S='soon'"),
        ({"E2S_CPU_TDP_W": "10", "E2S_CPU_IDLE_W": "20"}, "20 W"),
    ],
)
def test_a_setting_that_cannot_be_used_costs_a_warning_and_no_work(tmp_path, variables, named):
    program = """
        from e2s_tasks import span, record_outcome
        with span("work"):
            record_outcome(units=1)
            print("done")
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path)} | variables
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("done\n", 0)
    assert named in done.stderr
