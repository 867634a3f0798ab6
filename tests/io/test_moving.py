"""Transfers that happen by other means."""

import gc

import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.errors import SettingError
from e2s_tasks.io import moved
from e2s_tasks.settings import Settings


def test_a_plain_call_is_recorded_at_once(recorded):
    moved("shipment to partner", bytes=1_000_000_000)
    (span,) = recorded.spans
    assert (span.kind, span.name, span.bytes_written, span.bytes_read) == (
        Kind.MOVE,
        "move shipment to partner",
        10**9,
        0,
    )
    assert (span.network_j, span.storage_j) == (240.0, None)
    assert span.steps == ["start", "resume", "suspend", "end"]


def test_a_block_is_one_span_whose_bytes_may_be_said_inside(recorded):
    with moved("download", source="https://host/x.csv?token=1", over="network") as download:
        assert recorded.last.steps == ["start", "resume"]
        download.bytes, download.rows = 500, 7
    del download
    gc.collect()
    (span,) = recorded.spans
    assert (span.bytes_read, span.bytes_written, span.rows) == (500, 0, 7)
    assert span.reads == ["https://host/x.csv"]
    assert span.steps == ["start", "resume", "suspend", "end"]


def test_a_target_has_a_new_version_of_the_size_that_moved(recorded):
    with moved("export", 10, source="postgresql://u:p@db/sales/march", target="sftp://partner/in/march.csv"):
        pass
    span = recorded.last
    assert (span.bytes_read, span.bytes_written) == (10, 10)
    assert span.network_j == pytest.approx(240e-8)  # once
    assert span.reads == ["postgresql://db/sales/march"]
    (version,) = span.versions
    assert (version["uri"], version["size"], version["format"]) == ("sftp://partner/in/march.csv", 10, "csv")


def test_over_a_disk_or_over_nothing_is_another_energy_or_none(recorded):
    moved("to disk", 10**9, over="storage")
    assert (recorded.last.storage_j, recorded.last.network_j) == (0.8, None)
    moved("by courier", 10**9, over=None)
    assert (recorded.last.storage_j, recorded.last.network_j, recorded.last.bytes_written) == (None, None, 10**9)


def test_bytes_that_nobody_said_leave_a_gap_and_not_0(recorded):
    with moved("upload", target="https://host/y"):
        pass
    assert recorded.last.network_j is None
    assert recorded.last.versions[0]["size"] is None


def test_a_block_that_fails_makes_no_version_and_counts_what_was_said_inside(recorded):
    def send(said):
        with moved("upload", 100, target="https://host/y") as upload:
            if said is not None:
                upload.bytes = said
            raise OSError("broke")

    for said, counted in ((None, 0), (4, 4)):
        with pytest.raises(OSError, match="broke"):
            send(said)
        assert (recorded.last.bytes_written, recorded.last.versions, recorded.last.failed) == (counted, [], True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "say what moved"), (("x", -1), r"bytes=-1"), (("x", 1.5), r"bytes=1\.5"), (("x", True), "bytes=True"),
    ],
)  # fmt: skip
def test_nonsense_is_named(arguments, said, recorded):
    with pytest.raises(SettingError, match=said):
        moved(*arguments)
    with pytest.raises(SettingError, match=r"over='pigeon'.*'network'"):
        moved("x", over="pigeon")
    with pytest.raises(SettingError, match="bytes='many'"), moved("x") as transfer:
        transfer.bytes = "many"


def test_what_is_switched_off_has_no_energy_and_the_work_goes_on_with_a_wrong_setting(recorded, monkeypatch):
    monkeypatch.setattr("e2s_tasks.io.factors.settings", lambda: Settings(network_factor="none"))
    moved("x", 10)
    assert (recorded.last.bytes_written, recorded.last.network_j) == (10, None)
    monkeypatch.setattr("e2s_tasks.io.factors.settings", lambda: Settings(network_factor="wrong"))
    moved("y", 10)
    assert recorded.last.steps[-1] == "end"
