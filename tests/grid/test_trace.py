from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2s_tasks.errors import GridError, TraceError
from e2s_tasks.grid.trace import read_trace

DAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOOD = ["2026-03-02T00:00Z,100", "2026-03-02T01:00Z,200", "2026-03-02T02:00Z,300"]


def trace(folder: Path, *rows: str, header: str = "ts_utc,ci_g_per_kwh"):
    path = folder / "grid.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return read_trace(path)


def look(folder: Path, *rows: str, header: str = "ts_utc,ci_g_per_kwh"):
    return trace(folder, *rows, header=header).forecast(None, DAY, DAY + 3 * HOUR)


@pytest.mark.parametrize("time", ["ts_utc", "datetime", "timestamp", "from_utc"])
@pytest.mark.parametrize("intensity", ["ci_g_per_kwh", "carbon_intensity"])
def test_a_csv_trace_is_read_by_its_column_names(tmp_path: Path, time: str, intensity: str) -> None:
    rows = [f"{value},x,{at}" for at, value in (row.split(",") for row in GOOD)]
    slots = look(tmp_path, *rows, header=f"{intensity},note,{time}").slots
    assert [(slot.start - DAY, slot.end - DAY, slot.intensity) for slot in slots] == [
        (0 * HOUR, HOUR, 100),
        (HOUR, 2 * HOUR, 200),
        (2 * HOUR, 3 * HOUR, 300),
    ]


def test_times_may_have_an_offset_or_none_which_is_utc(tmp_path: Path) -> None:
    slots = look(tmp_path, "2026-03-02 00:00,100", "2026-03-02T02:00+01:00,200", "2026-03-02T02:00:00Z,300").slots
    assert [slot.intensity for slot in slots] == [100, 200, 300]


def test_rows_may_be_in_any_order(tmp_path: Path) -> None:
    assert [slot.intensity for slot in look(tmp_path, *reversed(GOOD)).slots] == [100, 200, 300]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("tz", [None, "UTC", "Europe/Berlin"])
def test_a_parquet_trace_is_read_whatever_its_time_unit(tmp_path: Path, unit: str, tz: str | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array([DAY, DAY + HOUR], pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, tz))
    path = tmp_path / "grid.parquet"
    pq.write_table(pa.table({"ts_utc": times, "ci_g_per_kwh": [100, 200], "zone": ["GB", "GB"]}), path)
    forecast = read_trace(path).forecast("UK", DAY, DAY + 2 * HOUR)
    assert [(slot.start, slot.intensity) for slot in forecast.slots] == [(DAY, 100.0), (DAY + HOUR, 200.0)]
    assert forecast.source == "trace grid.parquet"


def test_a_parquet_zone_may_be_a_number(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "grid.parquet"
    pq.write_table(pa.table({"ts_utc": [DAY, DAY + HOUR], "ci_g_per_kwh": [100, 200], "zone": [3, 3]}), path)
    assert read_trace(path).forecast("3", DAY, DAY + HOUR).slots[0].intensity == 100
    with pytest.raises(GridError, match=r"has no zone GB\. Name one of 3"):
        read_trace(path).forecast("GB", DAY, DAY + HOUR)


def test_a_parquet_time_that_is_only_a_number_is_refused_not_guessed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"ts_utc": [1_700_000_000, 1_700_003_600], "ci_g_per_kwh": [1, 2]}), tmp_path / "a.pq")
    with pytest.raises(TraceError, match="column ts_utc holds int64: give timestamps"):
        read_trace(tmp_path / "a.pq")


def test_a_trace_with_a_gap_names_the_gap(tmp_path: Path) -> None:
    rows = [*GOOD, "2026-03-02T04:00Z,100"]
    with pytest.raises(TraceError, match=r"grid.csv has a gap: nothing between 2026-03-02 02:00 UTC and .* 04:00 UTC"):
        look(tmp_path, *rows)


@pytest.mark.parametrize("value", ["", "-5", "0", "nan", "inf", "low", "1,000"])
def test_a_value_that_is_no_intensity_is_named_with_its_row_and_time(tmp_path: Path, value: str) -> None:
    rows = [GOOD[0], f'2026-03-02T01:00Z,"{value}"', GOOD[2]]
    with pytest.raises(
        TraceError, match=rf"grid.csv, row 3 \(2026-03-02 01:00 UTC\): '{value}' is no carbon intensity"
    ):
        look(tmp_path, *rows)


def test_a_row_that_is_cut_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"row 4 \(2026-03-02 02:00 UTC\): None is no carbon intensity"):
        look(tmp_path, *GOOD[:2], "2026-03-02T02:00Z")


def test_a_time_that_is_none_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"grid\.csv, row 3: 'yesterday' is no time\. Write for example"):
        look(tmp_path, GOOD[0], "yesterday,100")


def test_a_time_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="row 3: 2026-03-02 00:00 UTC is there twice"):
        look(tmp_path, GOOD[0], GOOD[0])


def test_a_row_between_the_steps_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="row at 2026-03-02 02:10 UTC comes 10 min after the one before, not 60 min"):
        look(tmp_path, *GOOD, "2026-03-02T02:10Z,1")


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (
            "ts_utc,intensity",
            "has no intensity column: it has ts_utc, intensity. Call the intensity column ci_g_per_kwh",
        ),
        ("time,ci_g_per_kwh", "has no time column: it has time, ci_g_per_kwh. Call the time column ts_utc"),
    ],
)
def test_a_wrong_column_is_named_with_the_right_one(tmp_path: Path, header: str, complaint: str) -> None:
    with pytest.raises(TraceError, match=complaint):
        trace(tmp_path, *GOOD, header=header)


def test_a_file_without_any_known_column_gets_one_error_that_names_all_that_are_needed(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        trace(tmp_path, "1,2", header="when,how_much")
    for word in ("when, how_much", "ts_utc (or datetime, timestamp, from_utc)", "ci_g_per_kwh (or carbon_intensity)"):
        assert word in str(caught.value)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_separator_that_is_no_comma_is_named(tmp_path: Path, separator: str) -> None:
    rows = [row.replace(",", separator) for row in GOOD]
    with pytest.raises(TraceError, match=r"separates its columns by .*: separate them by commas") as caught:
        trace(tmp_path, *rows, header=f"ts_utc{separator}ci_g_per_kwh")
    assert repr(separator) in str(caught.value)


def test_the_trace_that_the_documents_show_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
    shown = page.partition("## Carbon-intensity traces")[2].partition("```\n")[2].partition("```")[0]
    (tmp_path / "shown.csv").write_text(shown)
    forecast = read_trace(tmp_path / "shown.csv").forecast("GB", DAY, DAY + 3 * HOUR)
    assert [slot.intensity for slot in forecast.slots] == [187.0, 164.5, 112.0]


@pytest.mark.parametrize("rows", [[], GOOD[:1]])
def test_a_trace_needs_two_rows(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(TraceError, match="a trace needs at least two"):
        look(tmp_path, *rows)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none.csv cannot be read: No such file.*E2S_TRACE"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path)


def test_an_empty_or_binary_file_is_named(tmp_path: Path) -> None:
    for name, content, complaint in [
        ("a.csv", b"", "has no time and no intensity column: it has no columns"),
        ("b.csv", b"ts_utc,ci_g_per_kwh\n\xff\xfe,1\n", "cannot be read as CSV"),
        ("c.parquet", b"ts_utc,ci_g_per_kwh", "cannot be read as Parquet"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=complaint) as caught:
            read_trace(tmp_path / name)
        assert ".." not in str(caught.value)


def test_a_time_outside_the_trace_names_its_span(tmp_path: Path) -> None:
    found = trace(tmp_path, *GOOD)
    for start in (DAY - 5 * HOUR, DAY + 3 * HOUR):
        with pytest.raises(GridError, match="covers 2026-03-02 00:00 UTC to 2026-03-02 03:00 UTC"):
            found.forecast(None, start, start + HOUR)


def test_zones_are_told_apart_and_a_broken_one_breaks_no_other(tmp_path: Path) -> None:
    rows = [
        "2026-03-02T00:00Z,100,GB",
        "2026-03-02T00:00Z,-1,FR",
        "2026-03-02T01:00Z,200,GB",
        "2026-03-02T01:00Z,50,FR",
    ]
    found = trace(tmp_path, *rows, header="ts_utc,ci_g_per_kwh,zone")
    assert [slot.intensity for slot in found.forecast("GBR", DAY, DAY + 2 * HOUR).slots] == [100, 200]
    with pytest.raises(TraceError, match="row 3"):
        found.forecast("FR", DAY, DAY + 2 * HOUR)
    with pytest.raises(GridError, match=r"has no zone DE\. Name one of GB, FR"):
        found.forecast("DE", DAY, DAY + 2 * HOUR)
    with pytest.raises(GridError, match=r"has several zones\. Name one of GB, FR\.$"):
        found.forecast(None, DAY, DAY + 2 * HOUR)


def test_a_trace_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    assert look(tmp_path, *GOOD).slots[0].intensity == 100
    assert look(tmp_path, "2026-03-02T00:00Z,7000", *GOOD[1:]).slots[0].intensity == 7000


def test_a_year_of_a_real_trace_is_read(shared_data: Path) -> None:
    path = shared_data / "carbon_intensity/electricity_maps_2022_14zones_hourly.parquet"
    day = datetime(2022, 6, 1, tzinfo=UTC)
    assert len(read_trace(path).forecast("US-CAL-CISO", day, day + 24 * HOUR).slots) == 24
    with pytest.raises(TraceError, match="no intensity column"):
        read_trace(shared_data / "carbon_intensity/gb_neso_2023_archived_30min.parquet")


def test_lets_wait_awhile_scenario_one_is_reproduced(shared_data: Path) -> None:
    """Savings in % of a daily half-hour at 01:00 UTC within +-h hours, by perfect forecast (Wiesner et al. 2021)."""
    from e2s_tasks.core.planning import best_window

    found = read_trace(shared_data / "carbon_intensity/lets_wait_awhile_2020_de_gb_fr_30min.parquet")
    half = HOUR / 2
    for zone, hours, published in [("DE", 2, 2.8), ("GB", 4, 8.6), ("FR", 8, 7.8)]:
        planned = at_one = 0.0
        for day in range(365):
            one = datetime(2020, 1, 1, 1, tzinfo=UTC) + timedelta(days=day)
            start, end = one - hours * HOUR, one + hours * HOUR + half
            year = found.forecast(zone, start, end)
            at_one += year.at(one)
            if start.year == 2020:  # the paper drops the first day, whose window starts before the year
                planned += best_window(year, start, half, end).expected
        assert 100 * (1 - planned / at_one) == pytest.approx(published, abs=0.05)
