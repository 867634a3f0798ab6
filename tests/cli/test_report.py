"""`e2s report`: where the page goes, and what cannot be written."""

import json
import stat
from datetime import UTC, datetime

import pytest

from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter.html import page
from e2s_tasks.settings import settings
from tests.reporter.runs import RUN, full_run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    found = tmp_path / "here"
    found.mkdir()
    monkeypatch.chdir(found)
    return found


@pytest.fixture
def ledger(data_dir):
    opened, records = Ledger.open(settings().ledger), full_run()
    opened.ingest([*records.processes, *records.spans, *records.versions, *records.outcomes, *records.decisions])
    return opened


def files(folder):
    return sorted(one.name for one in folder.iterdir())


def test_it_says_where_the_report_of_a_run_is_and_how_large(e2s, ledger, folder):
    code, out, err = e2s("report", "amber-fox", "-o", "report.html")
    assert (code, err) == (0, "")
    size = (folder / "report.html").stat().st_size
    assert out == f"report.html ({size / 1000:.1f} kB)\n"
    assert files(folder) == ["report.html"]
    assert "flight-delays amber-fox" in (folder / "report.html").read_text()


def test_without_a_name_the_file_has_one_of_its_own(e2s, ledger, folder):
    assert e2s("report", RUN)[1].startswith(f"e2s-report-{RUN[:8]}.html (")
    assert e2s("report")[1].startswith(f"e2s-report-{datetime.now(UTC):%Y-%m-%d}.html (")
    assert len(files(folder)) == 2


def test_json_tells_the_file_and_its_bytes(e2s, ledger, folder):
    code, out, _ = e2s("report", "--since", "2026-01-01", "-o", "r.html", "--json")
    assert (code, json.loads(out)) == (0, {"file": "r.html", "bytes": (folder / "r.html").stat().st_size})
    assert "All runs since 2026-01-01" in (folder / "r.html").read_text()


def test_a_dash_is_stdout(ledger, folder, capfdbinary):
    from e2s_tasks.integrations.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["report", RUN, "-o", "-"])
    out, err = capfdbinary.readouterr()
    assert (ended.value.code or 0, err) == (0, b"")
    assert out.startswith(b"<!DOCTYPE html>")
    assert out.endswith(b"</html>\n")
    assert files(folder) == []


def test_a_report_that_is_there_is_replaced_whole_and_keeps_who_may_read_it(e2s, ledger, folder):
    old = folder / "report.html"
    old.write_text("the old one")
    old.chmod(0o640)
    link = folder / "latest.html"
    link.symlink_to(old)
    assert e2s("report", RUN, "-o", "latest.html")[0] == 0
    assert link.is_symlink()
    assert old.read_text().startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert files(folder) == ["latest.html", "report.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", RUN, "-o", "."), "-o . is a directory: give the name of a file, for example report.html."),
        (("report", RUN, "-o", "no/where/r.html"), "there is no directory no/where; make it, or write elsewhere"),
        (("report", RUN, "--since", "7d"), "Both the run"),
        (("report", "--since", "soon"), "--since='soon'"),
        (("report", "--since", "30"), "--since=30: 30 of what? Write for example 30d."),
        (("report", "--since", "2026"), "--since=2026: 2026 of what?"),
        (("report", "--since", "1.5"), "Write for example 1.5d."),
        (("report", "--since", "20269999"), "--since='20269999' is no point in time"),
        (("report", "--since", "99999y"), "--since='99999y' is no point in time"),
        (("report", "--since", "0"), "--since='0' is zero"),
        (("report", "--since", "-2w"), "--since='-2w' is negative"),
        (("report", "--since", "2999-01-01"), "--since=2999-01-01 lies in the future"),
        (("report", RUN, "-o", "-", "--json"), "--json and -o - both want stdout"),
        (("report", "amber-fix"), "Did you mean amber-fox?"),
    ],
)
def test_what_cannot_be_done_is_told_on_one_line_and_leaves_nothing(e2s, ledger, folder, arguments, said):
    code, out, err = e2s(*arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1
    assert files(folder) == []


@pytest.mark.parametrize("since", ["20260101", "2026-01-01", " 2026-01-01 "])
def test_a_day_is_a_day_however_its_iso_form_is_written(e2s, ledger, folder, since):
    assert e2s("report", "--since", since, "-o", "r.html")[0] == 0
    assert "All runs since 2026-01-01" in (folder / "r.html").read_text()


def test_an_empty_ledger_has_a_report_that_says_so(e2s, folder):
    assert e2s("report", "-o", "r.html")[0] == 0
    assert "No measured run started in this period." in (folder / "r.html").read_text()


def test_a_missing_package_is_told_with_what_to_install(e2s, ledger, folder, monkeypatch):
    monkeypatch.setitem(page.NEEDED, "no_such_module", "NoSuch")
    code, _, err = e2s("report", RUN)
    assert code == 1
    assert "pip install 'e2s-tasks[report]'" in err
    assert files(folder) == []
