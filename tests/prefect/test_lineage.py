"""Which steps an artifact comes from, on real Prefect: the closures are worked out by hand."""

import asyncio
import subprocess
import sys
import textwrap

import pandas as pd
import pytest
from prefect import task as prefect_task
from prefect.assets import materialize
from prefect.cache_policies import INPUTS
from prefect.filesystems import LocalFileSystem

from e2s_tasks import e2s_flow, e2s_task, span
from e2s_tasks.core.lineage import RunGraph, lineage_of
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.errors import SettingError
from e2s_tasks.io import read_parquet, write_parquet
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import process_recorder
from e2s_tasks.settings import settings

TABLE = pd.DataFrame({"a": range(1000)})


def burn(number=60_000):
    """Work whose energy is not lost in rounding."""
    return sum(i * i for i in range(number))


@e2s_task
def make(name="x"):
    burn()
    return [name, name]


@e2s_task
def use(given, path):
    burn()
    write_parquet(TABLE, path)


@e2s_task
def idle_check():
    burn()


@pytest.fixture
def lineage(ledger_run):
    """The lineage of the run of a flow, which is called here."""

    def of(flow, *args, **kwargs):
        state = flow(*args, return_state=True, **kwargs)
        return lineage_of(ledger_run(state.state_details.flow_run_id))

    return of


def came_from(found, name, number=-1):
    """The names of the steps from which the last version of a file can be reached, its bounds checked."""
    versions = [one for one in found.versions.values() if one.version.uri.endswith(name)]
    one = versions[number]
    steps = sum(step.energy.total for step in one.steps)
    every = sum(step.energy.total for step in found.steps)
    assert one.in_run_j == pytest.approx(steps + found.orchestration_j * steps / every)
    return sorted(step.name for step in one.steps)


def test_a_result_in_memory_leads_to_what_its_user_wrote(lineage, tmp_path):
    @e2s_flow
    def flow():
        use(make(), tmp_path / "out.parquet")
        idle_check()

    found = lineage(flow)
    assert came_from(found, "out.parquet") == ["make", "use"]
    (final,) = found.final_products
    assert found.versions[final].attributed_j + found.unclaimed_j == pytest.approx(found.energy_j)
    assert found.unclaimed_j > 0  # the check


def test_a_result_through_a_future_leads_there_too(lineage, tmp_path):
    @e2s_flow
    def flow():
        use.submit(make.submit(), tmp_path / "out.parquet").wait()

    assert came_from(lineage(flow), "out.parquet") == ["make", "use"]


def test_a_part_of_a_result_is_not_known_to_come_from_it_and_the_figure_says_so(lineage, tmp_path):
    @e2s_flow
    def flow():
        use(str(make()[0] + "!"), tmp_path / "out.parquet")

    found = lineage(flow)
    assert came_from(found, "out.parquet") == ["use"]
    (version,) = found.versions.values()
    assert version.reasons == ("it is not known who used the result of 'make'",)


def test_waiting_for_a_task_is_no_use_of_its_result(lineage, tmp_path):
    @e2s_flow
    def flow():
        first = idle_check.submit()
        use.submit(1, tmp_path / "out.parquet", wait_for=[first]).wait()

    assert came_from(lineage(flow), "out.parquet") == ["use"]


def test_a_file_leads_from_its_writer_to_its_reader(lineage, tmp_path):
    @e2s_task
    def read_and_write(source, target):
        write_parquet(read_parquet(source), target)

    @e2s_flow
    def flow():
        use(1, tmp_path / "a.parquet")
        use(2, tmp_path / "b.parquet")
        read_and_write(tmp_path / "a.parquet", tmp_path / "c.parquet")

    found = lineage(flow)
    assert came_from(found, "c.parquet") == ["read_and_write", "use"]
    assert sorted(one.rpartition("/")[2] for one in (found.versions[f].version.uri for f in found.final_products)) == [
        "b.parquet", "c.parquet"
    ]  # fmt: skip


def test_what_a_subflow_was_given_and_what_it_returned_are_followed(lineage, tmp_path):
    @e2s_task
    def inside(given):
        burn()
        return given * 2

    @e2s_flow
    def sub(given):
        return inside(given)

    @e2s_flow
    def flow():
        use(sub(make()), tmp_path / "out.parquet")

    assert came_from(lineage(flow), "out.parquet") == ["inside", "make", "use"]


def test_tasks_inside_a_task_are_a_part_of_it(lineage, tmp_path):
    @e2s_task
    def outer():
        return make()

    @e2s_flow
    def flow():
        use(outer(), tmp_path / "out.parquet")

    found = lineage(flow)
    assert came_from(found, "out.parquet") == ["outer", "use"]
    outer_step = next(step for step in found.steps if step.name == "outer")
    spans = [one for one in found.graph.run.spans if one.name in ("outer", "make")]
    assert outer_step.energy.total == pytest.approx(sum(one.energy.total for one in spans))


def test_attempts_that_failed_are_a_part_of_their_step(lineage, tmp_path):
    failures = iter([True, True, False])

    @e2s_task(retries=2)
    def flaky():
        burn()
        if next(failures):
            raise ValueError("not yet")
        return [1]

    @e2s_flow
    def flow():
        use(flaky(), tmp_path / "out.parquet")

    found = lineage(flow)
    assert came_from(found, "out.parquet") == ["flaky", "use"]
    step = next(step for step in found.steps if step.name == "flaky")
    assert step.attempts == 3
    assert step.energy.total == pytest.approx(
        sum(one.energy.total for one in found.graph.run.spans if one.name == "flaky")
    )


def test_a_write_that_is_retried_makes_two_versions_and_the_last_one_is_final(lineage, tmp_path):
    failures = iter([True, False])

    @e2s_task(retries=1)
    def write_and_fail(path):
        burn()
        write_parquet(TABLE, path)
        if next(failures):
            raise ValueError("after the write")

    @e2s_flow
    def flow():
        write_and_fail(tmp_path / "out.parquet")

    found = lineage(flow)
    assert len(found.versions) == 2
    assert len(found.final_products) == 1
    assert came_from(found, "out.parquet") == came_from(found, "out.parquet", 0) == ["write_and_fail"]
    assert found.unclaimed_j == 0.0


def test_a_flow_that_is_retried_counts_its_tasks_as_attempts_of_the_same_steps(lineage, tmp_path):
    failures = iter([True, False])

    @e2s_flow(retries=1)
    def flow():
        made = make()
        if next(failures):
            raise ValueError("the flow fails once")
        use(made, tmp_path / "out.parquet")

    found = lineage(flow)
    assert came_from(found, "out.parquet") == ["make", "use"]
    step = next(step for step in found.steps if step.name == "make")
    assert step.attempts == 2
    assert step.energy.total == pytest.approx(
        sum(one.energy.total for one in found.graph.run.spans if one.name == "make")
    )


def test_what_the_body_of_a_flow_writes_stands_on_every_step_that_had_ended(lineage, tmp_path):
    @e2s_flow
    def flow():
        make()
        with span("join"):
            burn()
        write_parquet(TABLE, tmp_path / "out.parquet")
        idle_check()

    found = lineage(flow)
    assert came_from(found, "out.parquet") == ["flow", "make"]
    assert found.unclaimed_j > 0  # the check came later


def test_a_cached_result_leads_back_to_the_run_that_made_it(ledger_run, tmp_path):
    storage = LocalFileSystem(basepath=str(tmp_path / "results"))
    storage.save("lineage-results", overwrite=True)

    @e2s_task(persist_result=True, cache_policy=INPUTS, result_storage=storage)
    def expensive(number):
        burn(300_000)
        return [number]

    @e2s_flow
    def flow(path):
        use(expensive(7), path)

    first = ledger_run(flow(tmp_path / "one.parquet", return_state=True).state_details.flow_run_id)
    second = ledger_run(flow(tmp_path / "two.parquet", return_state=True).state_details.flow_run_id)
    (version,) = second.versions
    found = lineage_of(second)
    assert found.versions[version.id].in_run_j == pytest.approx(found.energy_j)
    process_recorder().flush()
    loaded = Upstream(Ledger.open(settings().ledger).loader()).of(RunGraph(second), version.id)
    old = lineage_of(first)
    spent = next(step for step in old.steps if step.name == "expensive").energy.total
    every = sum(step.energy.total for step in old.steps)
    assert loaded.by_run[first.run_id].total == pytest.approx(spent + old.orchestration_j * spent / every)
    assert loaded.reasons == ()


def test_three_flows_that_feed_each_other_are_followed_through_their_files(ledger_run, tmp_path):
    @e2s_task
    def convert(source, target):
        burn()
        write_parquet(read_parquet(source), target)

    @e2s_flow
    def first():
        use(1, tmp_path / "raw.parquet")

    @e2s_flow
    def second():
        convert(tmp_path / "raw.parquet", tmp_path / "features.parquet")

    @e2s_flow
    def third():
        convert(tmp_path / "features.parquet", tmp_path / "forecast.parquet")

    runs = [ledger_run(flow(return_state=True).state_details.flow_run_id) for flow in (first, second, third)]
    (version,) = runs[2].versions
    loaded = Upstream(Ledger.open(settings().ledger).loader()).of(RunGraph(runs[2]), version.id)
    assert loaded.joules.total == pytest.approx(sum(lineage_of(run).energy_j for run in runs))
    assert loaded.reasons == ()


def test_a_plain_task_in_a_measured_flow_is_orchestration(lineage, tmp_path):
    @prefect_task
    def unmeasured():
        return [burn()]

    @e2s_flow
    def flow():
        use(unmeasured(), tmp_path / "out.parquet")

    assert came_from(lineage(flow), "out.parquet") == ["use"]


def test_what_an_asynchronous_subflow_was_given_is_followed(lineage, tmp_path):
    @e2s_task
    async def inside(given):
        return [given, burn()]

    @e2s_flow
    async def sub(given):
        return await inside(given)

    @e2s_flow
    async def flow():
        use(await sub(given=make.submit()), tmp_path / "out.parquet")

    def run(**options):
        return asyncio.run(flow(**options))

    assert came_from(lineage(run), "out.parquet") == ["inside", "make", "use"]


@pytest.mark.slow
def test_where_a_task_runner_loses_what_was_handed_on_the_figure_says_so(tmp_path):
    script = tmp_path / "pooled.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            from prefect.task_runners import ProcessPoolTaskRunner
            from e2s_tasks import e2s_flow, e2s_task
            from e2s_tasks.io import writing

            @e2s_task
            def make():
                return list(range(1000))

            @e2s_task
            def use(given, path):
                with writing(path):
                    open(path, "w").write("made")

            @e2s_flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
            def flow(path):
                use.submit(make.submit(), path).wait()

            if __name__ == "__main__":
                state = flow(sys.argv[1], return_state=True)
                print(state.state_details.flow_run_id)
        """)
    )
    command = [sys.executable, str(script), str(tmp_path / "out.txt")]
    out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert out.returncode == 0, out.stderr
    run = Ledger.open(settings().ledger).run(out.stdout.split()[-1])
    (one,) = lineage_of(run).versions.values()
    assert [step.name for step in one.steps] == ["use"]
    assert one.reasons == ("it is not known who used the result of 'make'",)


def test_declared_inputs_and_outputs_are_lineage_where_nothing_sees_the_files(lineage, tmp_path):
    @e2s_task(outputs=str(tmp_path / "{name}.csv"))
    def dump(name):
        burn()
        (tmp_path / f"{name}.csv").write_text("a,b")

    @e2s_task(inputs=[str(tmp_path / "one.csv"), lambda name: tmp_path / "two.csv"], outputs=[tmp_path / "all.csv"])
    def merge(name):
        burn()
        (tmp_path / "all.csv").write_text("merged")

    @e2s_flow
    def flow():
        dump("one")
        dump("two")
        idle_check()
        merge("x")

    found = lineage(flow)
    assert came_from(found, "all.csv") == ["dump", "dump", "merge"]
    assert not found.versions[found.final_products[0]].reasons


def test_mapped_tasks_that_write_one_name_are_read_together_and_those_of_an_earlier_run_are_replaced(ledger_run):
    @e2s_task(outputs="x://table")
    def load(part):
        burn()

    @e2s_task(inputs=["x://table"], outputs="x://report")
    def report():
        burn()

    @e2s_flow
    def flow():
        for part in load.map([1, 2, 3]):
            part.result()
        idle_check()
        report()

    runs = [ledger_run(flow(return_state=True).state_details.flow_run_id) for _ in range(2)]
    assert came_from(lineage_of(runs[1]), "x://report") == ["load", "load", "load", "report"]
    last = next(one for one in runs[1].versions if one.uri == "x://report")
    loaded = Upstream(Ledger.open(settings().ledger).loader()).of(RunGraph(runs[1]), last.id)
    assert {run_id for run_id, part in loaded.by_run.items() if part.total} == {runs[1].run_id}
    assert loaded.reasons == ()


def test_a_declared_output_that_a_measured_write_made_is_one_version(lineage, tmp_path):
    @e2s_task(outputs=["{path}"])
    def make_file(path):
        write_parquet(TABLE, path)

    @e2s_flow
    def flow():
        make_file(str(tmp_path / "out.parquet"))

    assert len(lineage(flow).versions) == 1


def test_a_declared_output_of_a_task_that_failed_is_no_version(lineage, tmp_path):
    @e2s_task(outputs=[tmp_path / "out.csv"])
    def fail():
        (tmp_path / "out.csv").write_text("half")
        raise ValueError("no")

    @e2s_flow
    def flow():
        fail()

    assert lineage(flow).versions == {}


@pytest.mark.parametrize(
    "declared", [{"inputs": ["raw/{day}.csv"]}, {"outputs": [3]}, {"outputs": ""}, {"outputs": "{name:%Y}.csv"}]
)
def test_a_declaration_that_cannot_be_used_is_an_error_at_once(declared):
    with pytest.raises(SettingError, match=r"day|outputs|braces"):

        @e2s_task(**declared)
        def work(name):
            return name


def test_a_task_that_materializes_an_asset_writes_a_version_and_its_event_carries_the_joules(lineage, monkeypatch):
    sent = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: sent.append(event))

    @e2s_task
    @materialize("s3://lake/raw.csv")
    def load():
        with span("inside"):
            burn()

    @e2s_task
    @materialize("s3://lake/features.csv", asset_deps=["s3://lake/raw.csv"])
    async def build():
        burn()

    @e2s_flow
    async def flow():
        load()
        await build()

    found = lineage(lambda **options: asyncio.run(flow(**options)))
    assert came_from(found, "features.csv") == ["build", "load"]
    events = {one["resource"]["prefect.resource.id"]: one for one in sent if "materialization" in one["event"]}
    for name, key in (("load", "s3://lake/raw.csv"), ("build", "s3://lake/features.csv")):
        payload = events[key]["payload"]
        step = next(step for step in found.steps if step.name == name)
        assert payload["e2s_host_energy_j"] == pytest.approx(step.energy.host, rel=0.05)
        assert payload["e2s_run_id"] == found.graph.run.run_id


def test_an_input_that_cannot_be_named_makes_a_lower_bound_and_the_others_count(ledger_run, tmp_path, recwarn):
    def fail(path):
        raise ValueError("cannot say")

    @e2s_task(outputs=[tmp_path / "in.csv"])
    def dump():
        (tmp_path / "in.csv").write_text("a")

    @e2s_task(inputs=[fail, tmp_path / "in.csv"], outputs=[lambda path: None, lambda path: 5, "{path}"])
    def merge(path):
        (tmp_path / "out.csv").write_text("b")

    @e2s_flow
    def flow():
        dump()
        merge(str(tmp_path / "out.csv"))

    found = lineage_of(ledger_run(flow(return_state=True).state_details.flow_run_id))
    (made,) = [one for one in found.versions.values() if one.version.uri.endswith("out.csv")]
    assert [step.name for step in made.steps] == ["dump", "merge"]
    assert made.reasons == ("no measured write explains the input unknown:input-of-merge",)
    told = [str(one.message) for one in recwarn.list if "merge" in str(one.message)]
    assert len(told) == 2
    assert all("give paths or URIs" in one for one in told)
    recwarn.clear()
