"""A plain span's line says what its record says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.records import SpanRecord
from e2s_tasks.ledger.journal import decode, encode
from e2s_tasks.recorder.plain import plain_line
from e2s_tasks.recorder.recorder import SpanRecorder
from e2s_tasks.settings import Settings


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    return SpanRecorder(Settings(data_dir=tmp_path_factory.mktemp("data")))


@given(st.text(max_size=20), st.integers(0, 10**12), st.floats(0, 1e9), st.booleans())
def test_a_plain_spans_line_holds_the_record_that_it_stands_for(recorder, name, cpu_ns, joules, failed):
    with recorder.span("outer"), recorder.span("middle", facts={"solution": "a solution"}):
        inner = recorder.span(name)
        try:
            with inner:
                if failed:
                    int("no number")
        except ValueError:
            pass
        inner.cpu_ns, inner.joules = cpu_ns, {"cpu": joules}
        recorder._covered = {"cpu", "static"}
        line = plain_line(inner, recorder._covered)
        assert line is not None
        plain = decode(line.rstrip(b"\n"))
        record = decode(encode(recorder._account_for(inner)).rstrip(b"\n"))
        assert isinstance(plain, SpanRecord)
        assert plain == record
        assert plain_line(inner, set()) is None  # its record has been asked for
