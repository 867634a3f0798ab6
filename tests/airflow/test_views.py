"""The Energy tabs: what they show of a real run, and to whom."""

import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest
from strict_auth import SECRET

from e2s_tasks.core.records import DecisionRecord, Kind
from e2s_tasks.integrations.airflow import states, why_nothing
from e2s_tasks.integrations.airflow.identity import dag_run_id, task_instance_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import phrases, summarise_run, units

DAG = "energy_pages"
MARKUP = "<script"


class Page(HTMLParser):
    """The words of a page, and what it would fetch or run."""

    def __init__(self, answer):
        super().__init__()
        self.html, self.words, self.fetched, self._open = answer.text, [], [], None
        self.feed(answer.text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self._open = tag
        found = dict(attrs)
        self.fetched += [found[name] for name in ("src", "srcset", "data", "action") if found.get(name)]
        if tag in {"script", "link", "iframe", "object"} or any(name.startswith("on") for name in found):
            self.fetched.append(tag)

    def handle_data(self, data):
        if self._open != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        self._open = None


class Ran:
    """A run of each DAG, as Airflow and the ledger know it."""

    def __init__(self, airflow):
        self.airflow = airflow
        self.run_id, self.secret = airflow.trigger(DAG), airflow.trigger(SECRET)
        assert (airflow.wait(DAG, self.run_id), airflow.wait(SECRET, self.secret)) == ("success", "success")
        self.ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
        replay(airflow.home / "e2s" / "journal", self.ledger)
        self.summary = summarise_run(self.ledger, dag_run_id(DAG, self.run_id))

    def rows(self, task_id, map_index=-1):
        """The summary's rows of a task instance."""
        wanted = task_instance_id(DAG, self.run_id, task_id, map_index)
        spans = {one["id"] for one in self.summary["spans"] if one["task_run_id"] == wanted}
        return [one for one in self.summary["steps"] if one["depth"] == 0 and one["span_id"] in spans]

    def get(self, page, user="ada", of=DAG, **asked):
        """The answer to a user's request for a page; of nobody for None."""
        headers = {} if user is None else {"Authorization": f"Bearer {self.airflow.token(user)}"}
        url = f"{self.airflow.url}/e2s/dags/{of}{page}"
        return httpx.get(url, params={"run_id": self.run_id} | asked, headers=headers, timeout=60)

    def task(self, task_id, user="ada", map_index=-1):
        """The page of a task instance."""
        answer = self.get("/task-instance", user, task_id=task_id, map_index=map_index)
        assert answer.status_code == 200, answer.text
        return Page(answer)


@pytest.fixture(scope="module")
def ran(airflow):
    return Ran(airflow)


PAGES = [("", {}), ("/run", {}), ("/task-instance", {"task_id": "train", "map_index": -1})]


@pytest.mark.parametrize(("page", "asked"), PAGES)
def test_nobody_sees_anything(ran, page, asked):
    answer = ran.get(page, None, **asked)
    assert answer.status_code == 401
    assert DAG not in answer.text


@pytest.mark.parametrize(("page", "asked"), PAGES)
def test_who_is_logged_in_as_the_browser_does_it_sees_the_page(ran, page, asked):
    cookies = {"_token": ran.airflow.token("vic")}
    url = f"{ran.airflow.url}/e2s/dags/{DAG}{page}"
    answer = httpx.get(url, params={"run_id": ran.run_id} | asked, cookies=cookies, timeout=60)
    assert answer.status_code == 200
    assert "train" in answer.text or DAG in answer.text


@pytest.mark.parametrize("page", ["", "/run", "/task-instance"])
@pytest.mark.parametrize("asked", [{}, {"dag_id": DAG}])  # another DAG's id beside that of the path
def test_who_may_not_see_a_dag_sees_none_of_its_pages(ran, page, asked):
    asked = {"run_id": ran.secret, "task_id": "hidden"} | asked
    assert ran.get(page, "ada", SECRET, **asked).status_code == 200
    denied = ran.get(page, "vic", SECRET, **asked)
    assert denied.status_code == 403
    assert "hidden" not in denied.text


@pytest.mark.parametrize(("page", "asked"), PAGES)
def test_who_may_see_a_dag_but_not_what_runs_in_it_sees_no_page(ran, page, asked):
    assert ran.get(page, "tim", **asked).status_code == 403


def _crafted(ran):
    """Ids under which somebody may ask for another DAG's run."""
    yield DAG, ran.secret
    yield "~", ran.secret
    head, _, tail = ran.secret.partition(":")  # "DAG:begin" and "of the run" make the same text as DAG and its run
    assert dag_run_id(f"{SECRET}:{head}", tail) == dag_run_id(SECRET, ran.secret)
    yield f"{SECRET}:{head}", tail
    yield DAG, f"../{SECRET}/{ran.secret}"


def test_another_dags_run_is_not_found_under_a_dag_that_one_may_see(ran):
    for dag_id, run_id in _crafted(ran):
        for page in ("/run", "/task-instance"):
            answer = ran.get(page, "vic", dag_id, run_id=run_id, task_id="hidden")
            assert answer.status_code == 404, (dag_id, run_id)
            assert " J " not in Page(answer).text
            assert "completed" not in answer.text


def test_a_task_of_another_run_is_not_found_in_this_one(ran):
    answer = ran.get("/task-instance", "vic", task_id="hidden")
    assert answer.status_code == 404
    assert "There is no such task in this run" in answer.text


def test_every_try_of_a_task_is_told_as_show_tells_it(ran):
    page, rows = ran.task("train"), ran.rows("train")
    assert [one["status"] for one in rows] == ["failed", "completed"]
    for row in rows:
        for figure in (
            units.joules(row["inclusive_j"]), units.percent(row["share"]), units.seconds(row["duration_s"]),
            units.seconds(row["cpu_s"]), units.size(row["peak_memory_bytes"]),
        ):  # fmt: skip
            assert figure in page.text, figure
    used = sum(one["inclusive_j"] for one in rows)
    assert units.joules(used) in page.text
    assert units.percent(used / ran.summary["energy_j"]["total"]) in page.text
    assert "modelled (between" in page.text
    assert "1 attempt that did not succeed" in page.text
    assert rows[0]["peak_memory_bytes"] > 96_000_000  # bytes of its array


def test_the_artifacts_that_a_task_wrote_are_told_with_their_energy(ran):
    page = ran.task("build_features")
    artifact = next(one for one in ran.summary["artifacts"] if one["uri"].endswith("features.parquet"))
    assert "features.parquet" in page.text
    assert units.joules(artifact["in_run_j"]) in page.text
    assert "features.parquet" not in ran.task("publish").text


def test_a_mapped_index_has_its_own_page_and_the_task_all_of_them(ran):
    one, whole = ran.task("score", map_index=1), ran.task("score", map_index="{MAP_INDEX}")
    assert ran.task("score", map_index=-1).text.count("score[") == whole.text.count("score[") >= 3
    assert "score [1]" in one.text
    assert units.joules(ran.rows("score", 1)[0]["inclusive_j"]) in one.text
    for index in range(3):  # by the label that each gave itself
        assert f"score[<script>alert(1)</script> {index}]" in whole.text


def test_a_task_that_is_not_mapped_is_found_with_the_placeholder_that_airflow_leaves(ran):
    assert units.joules(ran.rows("publish")[0]["inclusive_j"]) in ran.task("publish", map_index="{MAP_INDEX}").text


def test_the_tab_of_a_run_says_what_show_says(ran):
    page = Page(ran.get("/run"))
    for said in (
        phrases.whole(ran.summary), phrases.worth(ran.summary)[2:], phrases.biggest(ran.summary),
        *(units.joules(one["inclusive_j"]) for one in ran.summary["steps"]),
        *(units.size(one["peak_memory_bytes"]) for one in ran.summary["steps"] if one["peak_memory_bytes"]),
    ):  # fmt: skip
        assert said in page.text, said
    assert "task-instance?" in page.html  # a row leads to its task instance


def test_the_tab_of_a_dag_lists_its_latest_runs(ran):
    page = Page(ran.get(""))
    assert ran.run_id in page.text
    assert units.joules(ran.summary["energy_j"]["total"]) in page.text
    assert ran.secret not in page.text


def test_the_tab_of_a_dag_says_of_a_lower_bound_that_it_is_one_as_show_does(ran):
    id_ = dag_run_id(SECRET, ran.secret)
    cut = next(one for one in ran.ledger.run(id_).spans if one.kind == Kind.ATTEMPT)
    ran.ledger.ingest([replace(cut, seq=cut.seq + 1, attributes=cut.attributes | {"gaps": ["cpu"]})])
    said = phrases.whole(summarise_run(ran.ledger, id_))
    assert said.startswith(">= ")
    assert said in Page(ran.get("", of=SECRET)).text


def test_names_are_no_markup_and_nothing_is_fetched_or_run(ran):
    for answer in (ran.get(""), ran.get("/run"), ran.get("/task-instance", task_id="train", map_index=-1)):
        assert MARKUP not in answer.text.lower()
        assert Page(answer).fetched == []
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    crafted = ran.get("/task-instance", task_id=f"{MARKUP}>", map_index=-1)
    assert MARKUP not in crafted.text.lower()


def test_while_a_run_goes_on_its_pages_say_so_far(ran, airflow):
    run_id = airflow.trigger(DAG, {"sleep_s": 8})
    until = time.monotonic() + 60
    while "It still goes on" not in (page := ran.get("/task-instance", run_id=run_id, task_id="publish").text):
        assert time.monotonic() < until, page
        time.sleep(0.5)
    assert "Energy so far" in page
    assert "Energy so far" in ran.get("/run", run_id=run_id).text
    assert "so far" in ran.get("").text
    airflow.wait(DAG, run_id)


def test_what_is_not_measured_is_told_with_the_remedy(ran):
    unknown = ran.get("/run", run_id="no such run")
    assert unknown.status_code == 404
    assert "Airflow has none of that id" in unknown.text
    told = " ".join(text for _, text in why_nothing.of_run("success"))
    assert "E2S_AUTO=true" in told
    assert "E2S_LEDGER_URL" in told
    assert "Another process holds the ledger's lock" in str(why_nothing.of_run("running", is_behind=True))
    idle = ran.get("/task-instance", task_id="done", map_index=-1)
    assert idle.status_code == 404
    assert "EmptyOperator" in idle.text


def test_a_task_that_is_not_there_or_never_began_is_told_as_that(ran):
    no_index = ran.get("/task-instance", task_id="score", map_index=17)
    assert (no_index.status_code, "There is no such task in this run" in no_index.text) == (404, True)
    assert why_nothing.of_task(["upstream_failed"], "failed", None)[0] == "It did not begin"
    assert why_nothing.of_task([None], "failed", None)[0] == "It did not begin"
    assert why_nothing.of_task([None], "running", None)[0] == "It has not begun"
    assert why_nothing.of_task([states.MARKED, "queued"], "running", None)[0] == "It has not begun"
    for some in ([states.MARKED], [states.MARKED, "skipped"], [states.MARKED, "upstream_failed"]):
        said, reasons = why_nothing.of_task(some, "running", None)
        assert said == "It was marked before it began"
        assert "E2S_AUTO" not in str(reasons)
    said, reasons = why_nothing.of_task(["lost", "marked"], "failed", None)
    assert (said, "not known" in str(reasons)) == ("It was lost before it began", True)


def _decision(reason, start=None, **plan):
    return DecisionRecord("d", "r", 0.0, "average, direct", "somebody", reason, "DE", start=start, plan=plan)


def test_a_task_that_waited_and_never_worked_is_told_as_that(ran):
    until = _decision("start at 13:40", 3600.0, waits=True)
    for states_, run_state, said in (
        (["deferred"], "running", "It waits for a cleaner grid"),
        (["deferred"], "failed", "It was to wait for a cleaner grid, and has not begun"),
        (["skipped"], "failed", "It was to wait for a cleaner grid, and has not begun"),
        (["failed"], "failed", "It was to wait for a cleaner grid, and no attempt of it is known"),
    ):
        assert why_nothing.of_task(states_, run_state, until)[0] == said
    marked = _decision(f"{states.NOTHING_STARTS}the task was marked failed while it waited", waits=False)
    said, reasons = why_nothing.of_task(["failed"], "running", marked)
    assert said == "It was marked while it waited for a cleaner grid"
    assert reasons[0][1].endswith("the task was marked failed while it waited.")
    said, _ = why_nothing.of_task([states.LOST], "failed", until)
    assert said.startswith("It was lost while it waited")
    at_once = _decision("start now: it is clean", 0.0, waits=False)
    assert why_nothing.of_task(["failed"], "failed", at_once)[0] == "This task was not measured"


def test_a_dag_that_airflow_does_not_have_is_not_found_by_who_may_ask(ran):
    answers = {user: ran.get("", user, "nosuch") for user in (None, "tim", "vic", "ada")}
    assert {user: one.status_code for user, one in answers.items()} == {None: 401, "tim": 403, "vic": 404, "ada": 404}
    assert "There is no such DAG" in Page(answers["vic"]).text
    not_run = ran.get("", "vic", "gated_by_tags")
    assert (not_run.status_code, "This DAG has not run yet" in not_run.text) == (200, True)


def test_the_tabs_are_where_airflow_looks_for_them(ran):
    plugins = ran.airflow.client.get("/api/v2/plugins").raise_for_status().json()["plugins"]
    views = next(one for one in plugins if one["name"] == "e2s")["external_views"]
    assert {one["destination"] for one in views} == {"dag", "dag_run", "task_instance"}
    assert all(not one["href"].startswith("/") for one in views)  # Airflow may be below a path of its host


def _python(code, env, **more):
    done = subprocess.run(
        [sys.executable, "-c", code], env=env | more, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_there_are_no_tabs_where_it_is_not_switched_on(airflow):
    code = "from e2s_tasks.integrations.airflow.plugin import E2SPlugin as P; print(P.fastapi_apps, P.external_views)"
    assert _python(code, airflow.env, E2S_AUTO="false").splitlines()[-1] == "[] []"


def test_a_ledger_that_does_not_answer_is_told_without_its_place(airflow):
    code = (
        "from e2s_tasks.integrations.airflow import pages; found = pages.dag_run('a', 'b');"
        "print(found.status, 'nowhere' in found.html, 'The ledger does not answer' in found.html)"
    )
    told = _python(code, airflow.env, E2S_LEDGER_URL="sqlite:////proc/nowhere/ledger.db")
    assert told.splitlines()[-1] == "503 False True"
