"""What goes wrong around measured work costs no work, and no joule that was known: kills, forks, full ledgers."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from contextlib import ExitStack
from dataclasses import replace

import pytest

from e2s_tasks import span
from e2s_tasks.core.records import Kind, SpanRecord, VersionRecord
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.journal import Journal, journal_path, this_process
from e2s_tasks.ledger.replaying import read_journal, replay
from e2s_tasks.meters.threads import Taker
from e2s_tasks.recorder.delivery import Delivery
from e2s_tasks.recorder.guard import MeteringWarning, _warned
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.recorder import SpanRecorder
from e2s_tasks.settings import Settings


def test_a_ledger_that_cannot_be_opened_costs_one_warning_and_no_work(tmp_path, monkeypatch):
    from e2s_tasks.core import spans

    _warned.clear()
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    recorder = SpanRecorder(
        Settings(data_dir=tmp_path / "data", ledger_url=f"sqlite:///{blocked}/ledger.db", tick_s=0.05)
    )
    monkeypatch.setattr(spans, "factory", lambda: recorder)
    with span("work"):
        result = 42
    with pytest.warns(MeteringWarning, match="delivery to the ledger") as caught:
        [recorder.flush() for _ in range(2)]
    assert (result, len(caught)) == (42, 1)
    assert str(caught[0].message).endswith(f"the records wait in the journal {recorder._journal.path}")
    assert caught[0].filename == __file__
    records, _ = read_journal(recorder._journal.path)
    assert any(getattr(record, "name", "") == "work" for record in records)


def test_a_data_directory_that_cannot_be_written_does_not_stop_the_work(tmp_path, monkeypatch, caplog):
    from e2s_tasks.core import spans

    _warned.clear()
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    recorder = SpanRecorder(Settings(data_dir=blocked, ledger_url="sqlite://", tick_s=0.05))
    monkeypatch.setattr(spans, "factory", lambda: recorder)
    with span("work"):
        result = 42
    assert result == 42


def test_what_no_journal_takes_reaches_a_ledger_that_lies_elsewhere(tmp_path, caplog):
    blocked, ledger = tmp_path / "file", f"sqlite:///{tmp_path / 'ledger.db'}"
    blocked.write_text("not a directory")
    recorder = SpanRecorder(Settings(data_dir=blocked, ledger_url=ledger, tick_s=0.05))
    with recorder.span("work"):
        pass
    recorder.close()
    assert "journal" in caplog.text
    (row,) = Ledger.open(ledger).runs()
    assert (row.name, row.status) == ("work", "completed")


PROGRAM = """
    import os, sys, time
    from e2s_tasks import span
    with span("outer"):
        with span("killed"):
            end = time.thread_time() + 0.5
            while time.thread_time() < end:
                pass
            print("ready", flush=True)
            time.sleep(30)
"""


def test_a_process_killed_with_9_leaves_what_it_had_used(tmp_path):
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_TICK_S": "0.1"}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (journal,) = (tmp_path / "journal").glob("*.jsonl")
    records, _ = read_journal(journal)
    last = {record.name: record for record in records if hasattr(record, "cpu_ns")}
    assert last["killed"].status == "running"
    assert last["killed"].cpu_ns >= 0.5e9
    assert last["killed"].cpu_j > 0


@pytest.mark.parametrize("tick_s", ["0.1", "30"])
def test_what_had_ended_just_before_a_kill_has_not_crashed_but_lacks_what_was_not_settled_yet(tmp_path, tick_s):
    program = """
        import os, signal, time
        from e2s_tasks.core.records import Kind, Status
        from e2s_tasks.recorder.recorder import process_recorder
        recorder = process_recorder()
        flow = recorder.span("flow", Kind.FLOW, {"flow_run_id": "run"})
        with flow:
            for name, failed in (("build", False), ("check", True)):
                try:
                    with recorder.span(name, Kind.ATTEMPT):
                        end = time.monotonic() + 0.3
                        while time.monotonic() < end:
                            pass
                        assert not failed
                except AssertionError:
                    pass
            with recorder.span("train", Kind.ATTEMPT):
                os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_TICK_S": tick_s}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, check=False)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "journal", ledger)
    spans = {one.name: one for one in ledger.run("run").spans}
    assert {name: one.status for name, one in spans.items()} == {
        "flow": "crashed", "build": "completed", "check": "failed", "train": "crashed",
    }  # fmt: skip
    assert spans["check"].ended_at - spans["check"].started_at == pytest.approx(0.3, abs=0.2)
    assert tick_s == "0.1" or spans["check"].is_unmeasured


def test_a_version_written_just_before_a_kill_is_of_a_run_that_the_ledger_knows(tmp_path):
    program = """
        import os, signal
        from e2s_tasks import record_artifact, record_outcome, span
        with span("run"), span("step"):
            with span("ended"):
                record_artifact("models:/delay/3")
            record_outcome(units=1)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_TICK_S": "30"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, check=False)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "journal", ledger)
    (row,) = ledger.runs()
    run = ledger.run(row.run_id)
    spans = {one.name: one for one in run.spans}
    assert {name: one.status for name, one in spans.items()} == {
        "run": "crashed", "step": "crashed", "ended": "completed",
    }  # fmt: skip
    assert spans["step"].parent_id == spans["run"].id
    assert [one.span_id for one in run.versions] == [spans["ended"].id]
    assert [one.span_id for one in run.outcomes] == [spans["step"].id]


def test_the_ledger_that_a_process_opens_holds_what_it_has_just_measured_itself(tmp_path):
    program = """
        from e2s_tasks import span
        from e2s_tasks.ledger import Ledger
        with span("open"):
            with span("ended"):
                pass
            first = Ledger.open().spans()
        print(*first.name, *first.status, *Ledger.open().spans().status)
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_TICK_S": "30"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["open", "ended", "running", "completed", "completed", "completed"]


def test_stdout_signals_and_exit_codes_are_the_users_own(tmp_path):
    program = """
        import signal
        before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        from e2s_tasks import span
        with span("work"):
            print("only this")
        assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        raise SystemExit(3)
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("only this\n", "", 3)


def test_a_forked_child_has_a_recorder_of_its_own(tmp_path):
    program = """
        import os
        from e2s_tasks import span
        from e2s_tasks.recorder import process_recorder
        with span("parent"):
            parent = process_recorder().process.id
            pid = os.fork()
            if pid == 0:
                with span("child"):
                    pass
                process_recorder().flush()
                os._exit(0 if process_recorder().process.id != parent else 1)
            assert os.waitpid(pid, 0)[1] == 0
        process_recorder().flush()
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_long_delivery_leaves_the_measuring_thread_its_ticks(tmp_path):
    settings = Settings(data_dir=tmp_path)
    process = this_process()
    journal = Journal(journal_path(settings.journals, process))
    written = VersionRecord("v", "file:///x" * 100, "s", "r", 0.0)
    journal.append(process, *(replace(written, id=str(number)) for number in range(3_000)))  # 3 MB
    delivered = []
    ticks = Delivery(journal, process.id, settings, meanwhile=lambda: delivered.append(ledger.delivered(process.id)))
    ledger = Ledger.open(settings.ledger)
    ticks.deliver()
    assert len(delivered) >= 3
    assert delivered[0] < delivered[1] < journal.size  # in between, not after all of it


def test_a_flow_that_has_ended_is_in_the_ledger_before_anyone_asks_with_all_that_ended_before_it(tmp_path):
    recorder = SpanRecorder(Settings(data_dir=tmp_path, tick_s=30))
    ledger = Ledger.open(recorder.settings.ledger)
    with OpenSpan(recorder, "block", Kind.SPAN):
        pass
    with OpenSpan(recorder, "flow", Kind.FLOW):
        pass
    end = time.monotonic() + 30
    while len(ledger.runs()) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert {(one.name, one.status) for one in ledger.runs()} == {("block", "completed"), ("flow", "completed")}


def test_an_attempt_without_a_run_around_it_that_ended_while_others_drained_has_not_crashed(tmp_path):
    recorder, taker, may_begin = SpanRecorder(Settings(data_dir=tmp_path, tick_s=30)), Taker(), threading.Event()

    def work():
        may_begin.wait()
        with OpenSpan(recorder, "done", Kind.ATTEMPT):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    with OpenSpan(recorder, "beside", Kind.SPAN):
        recorder._draining.take(taker)  # as the recorder's thread does
        may_begin.set()
        thread.join()
        shutil.copytree(tmp_path / "journal", tmp_path / "killed")  # what a kill at this moment leaves
        recorder._draining.give(taker, inside=False)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "killed", ledger, is_alive=lambda _: False)
    (done,) = [one for one in ledger.runs() if one.name == "done"]
    assert done.status == "completed"
    recorder.close()
    recorder.leave_behind()


def test_spans_that_a_recursion_leaves_no_room_to_end_are_ended_and_take_nothing_of_what_comes_later(recorded):
    def descend():
        with span("inner"):
            descend()

    with warnings.catch_warnings(), span("top") as top:
        warnings.simplefilter("ignore", MeteringWarning)
        with pytest.raises(RecursionError):
            descend()
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
    assert not recorded.recorder.unfinished
    assert {one.status for one in recorded.records(SpanRecord).values()} <= {"completed", "failed"}
    assert top.cpu_ns >= 0.1e9
    assert top.record.run_id == top.id


def test_spans_may_lie_in_each_other_at_any_depth(recorded):
    with ExitStack() as stack:
        outermost = stack.enter_context(span("outermost"))
        for _ in range(3000):
            innermost = stack.enter_context(span("inner"))
        innermost.note({"of": innermost.record.run_id})
    found = recorded.records(SpanRecord)
    assert found[innermost.id].run_id == outermost.id
    assert len(found) == 3001
