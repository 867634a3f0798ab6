import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.records import TYPES, ProcessRecord, SourceRecord, SpanRecord, VersionRecord
from e2s_tasks.errors import LedgerError
from e2s_tasks.keeping import counted
from e2s_tasks.ledger import Journal, Ledger, alive, journal_path, read_journal, replay, this_process
from e2s_tasks.ledger.journal import LOOK_EVERY_S, decode, encode
from tests.ledger.journals import started


class Kept:
    """A ledger that remembers, or refuses."""

    def __init__(self, refuses=False):
        self.records, self.refuses, self.positions = [], refuses, {}

    def kept_open(self):
        return nullcontext()

    def ingest(self, records, delivered=None):
        if self.refuses:
            raise LedgerError("no")
        self.records += records
        if delivered is not None:
            self.positions[delivered[0]] = delivered[1]

    def delivered(self, process_id):
        return self.positions.get(process_id, 0)


def running(seq=1, **values):
    return SpanRecord("s", seq, "p", "run", "attempt", "work", "running", 1.0, **values)


def named(span_id):
    return replace(running(), id=span_id)


def test_a_journal_gives_back_what_was_appended(tmp_path):
    process = this_process([SourceRecord("cpu", "RAPL", "measured")])
    journal = started(tmp_path / "journal", process)
    span = running(cpu_j=0.1 + 0.2, attributes={"a": ["ü", None, 1.5]})
    version = VersionRecord("v", "file:///x", "s", "run", 2.0)
    journal.append(span)
    journal.append(version)
    records, offset = read_journal(journal.path)
    assert records == [process, span, version]
    journal.append(replace(span, seq=2))
    assert read_journal(journal.path, offset)[0] == [replace(span, seq=2)]
    assert journal.path.name == f"{os.getpid()}-{process.start_ticks}-{process.id[:8]}.jsonl"


floats = st.none() | st.floats(allow_nan=False)


@settings(max_examples=60)
@given(st.text(), floats, st.none() | st.integers(0, 2**62), st.dictionaries(st.text(), st.text() | floats))
def test_any_value_survives_the_journal(text, figure, count, attributes):
    record = replace(running(cpu_j=figure, rows=count, attributes=attributes), name=text, result_key=text)
    line = encode(record)
    assert line.count(b"\n") == 1
    assert decode(line.rstrip(b"\n")) == record


@pytest.mark.parametrize("record", TYPES.values())
def test_every_field_that_may_be_left_out_of_a_line_is_none_by_default(record):
    optional = [field for field in fields(record) if type(None) in get_args(field.type)]
    assert all(field.default is None for field in optional)


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_byte_costs_at_most_the_lines_that_it_touches(data):
    lines = [encode(running(seq=seq)) for seq in range(4)]
    content = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    records = [decode(line) for line in bytes(content).split(b"\n") if line]
    kept = [record.seq for record in records if record is not None]
    assert len(kept) >= 2
    assert kept == sorted(set(kept) & {0, 1, 2, 3})


def test_a_torn_last_line_waits_and_a_corrupt_one_is_left_out_with_a_warning(tmp_path, caplog):
    path = tmp_path / "j.jsonl"
    path.write_bytes(encode(running()) + b"00000000 {}\n" + encode(running(seq=2)) + encode(running(seq=3))[:20])
    records, offset = read_journal(path)
    assert [record.seq for record in records] == [1, 2]
    assert "1 corrupt" in caplog.text
    with path.open("ab") as file:
        file.write(encode(running(seq=3))[20:])
    assert [record.seq for record in read_journal(path, offset)[0]] == [3]


@pytest.mark.parametrize("attributes", [[], "text", 7])
def test_a_line_whose_attributes_are_no_mapping_is_corrupt(attributes):
    assert decode(encode(running(attributes=attributes)).rstrip(b"\n")) is None


def test_reading_a_journal_never_raises(tmp_path):
    assert read_journal(tmp_path / "missing.jsonl", 7) == ([], 7)
    assert read_journal(tmp_path) == ([], 0)


def test_what_cannot_be_written_waits_with_one_warning_until_it_can(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    journal = Journal(blocked / "journal.jsonl")
    with caplog.at_level(logging.WARNING):
        for seq in (1, 2, 3):
            journal.append(running(seq=seq))
    assert len(caplog.records) == 1
    blocked.unlink()
    journal.append(running(seq=4))
    assert [record.seq for record in read_journal(journal.path)[0]] == [1, 2, 3, 4]


def test_only_so_many_records_wait_for_a_full_disk_and_the_rest_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("e2s_tasks.ledger.journal.KEPT", 2)
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal.jsonl")
    for _ in range(5):
        journal.append(running())
    assert journal.dropped == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_survived():
    journal = Journal(Path("/dev/full"))
    journal.append(running())
    assert journal.troubled


@pytest.mark.parametrize("space", [[10], [10, 1], [10, 2], [10, 1, 1, 7], [10, 0, 3], [10_000]])
def test_a_line_cut_short_by_a_full_disk_is_written_again_and_nobody_is_told_of_the_piece(
    tmp_path, monkeypatch, caplog, space
):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append(running(seq=1))
    write = os.write
    for room in space:
        monkeypatch.setattr("e2s_tasks.ledger.journal.append", lambda fd, line, room=room: write(fd, line[:room]))
        journal.append(running(seq=2))
    monkeypatch.undo()
    journal.append(running(seq=3))
    caplog.clear()
    records, _ = read_journal(journal.path)
    assert [record.seq for record in records] == [1, *[2] * len(space), 3]
    assert caplog.text == ""
    assert journal.dropped == 0


@pytest.mark.parametrize("room", [10, -1])
def test_a_journal_whose_first_line_was_cut_short_still_says_whose_it_is(tmp_path, monkeypatch, caplog, room):
    journal, process = Journal(tmp_path / "j.jsonl"), this_process()
    write = os.write
    monkeypatch.setattr("e2s_tasks.ledger.journal.append", lambda fd, line: write(fd, line[:room]))
    journal.append(process)
    monkeypatch.undo()
    journal.append(running())
    caplog.clear()
    assert read_journal(journal.path)[0] == [process, running()]
    assert caplog.text == ""


def test_what_is_no_json_is_written_as_text_and_what_cannot_be_written_is_dropped(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append(running(attributes={"path": tmp_path}))
    loop = {}
    loop["self"] = loop
    journal.append(running(attributes=loop))
    assert [record.attributes for record in read_journal(journal.path)[0]] == [{"path": str(tmp_path)}]
    assert journal.dropped == 1


def test_a_removed_journal_begins_anew_with_its_process(tmp_path):
    process = this_process()
    journal = started(tmp_path, process)
    journal.remove()
    assert not journal.path.exists()
    journal.append(running())
    assert read_journal(journal.path)[0] == [process, running()]


def test_a_journal_that_is_removed_with_its_directory_is_brought_back_with_all_that_it_held(tmp_path, caplog):
    journal = started(tmp_path / "data" / "journal", this_process())
    journal.append(named("before"))
    for number in range(2):
        shutil.rmtree(tmp_path / "data")
        journal.append_lines([encode(named(f"start-{number}"))])  # a span's start looks at nothing
        assert not journal.path.exists()
        journal._looked -= LOOK_EVERY_S
        journal.append(named(f"tick-{number}"))
    records, _ = read_journal(journal.path)
    assert isinstance(records[0], ProcessRecord)
    assert [record.id for record in records[1:]] == ["before", "start-0", "tick-0", "start-1", "tick-1"]
    assert len([one for one in caplog.records if "was removed" in one.message]) == 1


def test_what_bringing_a_journal_back_moves_is_measurings_own(tmp_path):
    journal = started(tmp_path / "data" / "journal", this_process())
    journal.append(named("before"))
    size, read, written = journal.size, counted.read, journal.appended
    shutil.rmtree(tmp_path / "data")
    journal._looked -= LOOK_EVERY_S
    journal.append()
    assert (counted.read - read, journal.appended - written) == (size, size)


def test_a_journal_that_is_still_there_is_looked_at_once_a_second(tmp_path, monkeypatch):
    journal = started(tmp_path, this_process())
    looks = []
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: looks.append(fd) or fstat(fd))
    for number in range(100):
        journal.append(named(f"s{number}"))
    assert len(looks) <= 1


def test_this_process_is_alive_and_what_only_shares_its_pid_is_not():
    process = this_process()
    assert alive(process)
    assert not alive(replace(process, start_ticks=process.start_ticks + 1))
    assert not alive(replace(process, boot_id="another boot"))
    assert alive(replace(process, host="another host", boot_id="", pid=1, start_ticks=1))


def test_without_a_start_time_the_pid_decides():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    process = replace(this_process(), start_ticks=0)
    assert alive(process)
    assert not alive(replace(process, pid=child.pid))


def test_a_process_that_was_killed_but_not_yet_waited_for_is_dead():
    code = (
        "import sys\n"
        "from e2s_tasks.ledger import this_process\n"
        "print(this_process().start_ticks, flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    process = replace(this_process(), pid=child.pid, start_ticks=int(child.stdout.readline()))
    assert alive(process)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(process)
    child.communicate()


def test_replay_takes_in_the_living_and_removes_the_journals_of_the_ended(tmp_path):
    living, ended = this_process(), replace(this_process(), id="e" * 32)
    for process in (living, ended):
        started(tmp_path, process).append(running())
    kept = Kept()
    assert replay(tmp_path, kept, lambda process: process.id == living.id) == 1
    assert [path.name for path in tmp_path.iterdir()] == [journal_path(tmp_path, living).name]
    assert [r.status for r in kept.records if isinstance(r, SpanRecord)].count("crashed") == 1
    assert replay(tmp_path, kept) == 0


def test_a_killed_process_leaves_its_attempt_crashed_with_the_energy_it_had_used(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from e2s_tasks.core.records import SpanRecord\n"
        "from e2s_tasks.ledger import Journal, journal_path, this_process\n"
        "process = this_process()\n"
        "journal = Journal(journal_path(pathlib.Path(sys.argv[1]), process))\n"
        "journal.append(process)\n"
        "for seq in (1, 2):\n"
        "    journal.append(SpanRecord('s', seq, 'p', 'run', 'attempt', 'work', 'running', 1.0, cpu_j=seq * 4.0))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    last_sign = next(tmp_path.glob("*.jsonl")).stat().st_mtime
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert replay(tmp_path, ledger) == 1
    [span] = ledger.run("run").spans
    assert (span.status, span.cpu_j, span.seq, span.ended_at) == ("crashed", 8.0, 3, last_sign)
    assert span.is_cut_short
    assert list(tmp_path.glob("*.jsonl")) == []


@pytest.mark.parametrize("status", ["completed", "running"])
def test_a_journal_that_lost_lines_makes_its_outermost_spans_lower_bounds_and_is_kept(tmp_path, status, caplog):
    process = replace(this_process(), start_ticks=1)
    journal = started(tmp_path, process)
    noted = {"gaps": 5}  # a note of the user's
    outer = replace(running(2, cpu_j=5.0, static_j=1.0, attributes=noted), status=status)
    journal.append(replace(outer, id="inner", parent_id=outer.id, status="completed"), outer)
    with journal.path.open("ab") as file:
        file.write(b"00000000 {}\n")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert replay(tmp_path, ledger) == 1
    gaps = {span.id: span.attributes.get("gaps") for span in ledger.run(outer.run_id).spans}
    assert gaps == {outer.id: ["cpu", "static"], "inner": noted["gaps"]}
    assert [path.suffix for path in tmp_path.glob("*-*")] == [".damaged"]
    assert "lower bound" in caplog.text
    assert replay(tmp_path, ledger) == 0


def test_a_process_that_is_killed_after_its_attempts_work_adds_nothing_to_its_length(tmp_path):
    started(tmp_path, replace(this_process(), start_ticks=1)).append(running(), running(2, ended_at=3.5))
    kept = Kept()
    assert replay(tmp_path, kept) == 1
    assert (kept.records[-1].status, kept.records[-1].ended_at) == ("crashed", 3.5)


def test_a_journal_that_the_ledger_refuses_stays_for_later(tmp_path):
    process = replace(this_process(), start_ticks=1)
    started(tmp_path, process).append(running())
    with pytest.raises(LedgerError):
        replay(tmp_path, Kept(refuses=True))
    kept = Kept()
    assert replay(tmp_path, kept) == 1
    assert len(kept.records) == 3


def test_a_journal_without_its_first_line_is_known_by_its_name(tmp_path):
    path = tmp_path / "1-1-abcdefgh.jsonl"
    path.write_bytes(b"torn\n" + encode(running()))
    kept = Kept()
    assert replay(tmp_path, kept) == 1
    assert [record.status for record in kept.records] == ["running", "crashed"]


def test_replaying_a_directory_that_does_not_exist_does_nothing(tmp_path):
    assert replay(tmp_path / "missing", Kept()) == 0


def test_a_line_is_a_checksum_and_plain_json():
    checksum, text = encode(ProcessRecord("p", "h", "b", 1, 2, 3.0, "share")).split(b" ", 1)
    assert len(checksum) == 8
    assert json.loads(text)["type"] == "process"


def test_a_live_journal_is_taken_in_from_where_the_last_reader_stopped(tmp_path):
    process = this_process()
    journal = started(tmp_path, process)
    kept = Kept()
    journal.append(running(seq=1))
    replay(tmp_path, kept, lambda _: True)
    journal.append(running(seq=2))
    replay(tmp_path, kept, lambda _: True)
    assert [record.seq for record in kept.records if isinstance(record, SpanRecord)] == [1, 2]


def test_a_journal_that_was_begun_anew_is_taken_in_from_its_start(tmp_path):
    process = this_process()
    journal = started(tmp_path, process)
    kept = Kept()
    journal.append(running(seq=1))
    journal.append(running(seq=2))
    replay(tmp_path, kept, lambda _: True)
    journal.remove()
    journal.append(running(seq=3))
    replay(tmp_path, kept, lambda _: True)
    assert kept.records[-1].seq == 3
