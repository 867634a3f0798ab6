import pytest

from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.records import ProcessRecord, SourceRecord
from e2s_tasks.core.results import RESULT
from tests.lineage.runs import Run


def balanced(found):
    attributed = sum(one.attributed_j or 0.0 for one in found.versions.values())
    return attributed + found.unclaimed_j == pytest.approx(found.energy_j)


def diamond(failed_j=0.0):
    run = Run(flow_j=10.0)
    raw = run.write("raw", by=run.task("load", 20.0))
    left = run.task("left", 5.0)
    run.read(raw, by=left)
    left_out = run.write("left", by=left)
    if failed_j:
        failed = run.task("right", failed_j, status="failed")
        run.read(raw, by=failed)
    right = run.task("right", 15.0, attempt=2)
    run.read(raw, by=right)
    right_out = run.write("right", by=right)
    join = run.task("join", 50.0)
    run.read(left_out, by=join)
    run.read(right_out, by=join)
    run.write("joined", by=join)
    return run.records


def test_a_diamond_counts_its_shared_prefix_once():
    found = lineage_of(diamond())
    joined = found.versions["joined@3"]
    assert joined.in_run_j == pytest.approx(100.0)
    assert joined.attributed_j == pytest.approx(found.energy_j)
    assert found.versions["raw@0"].in_run_j == pytest.approx(20.0 + 10.0 * 20 / 90)
    assert found.versions["left@1"].in_run_j == pytest.approx(25.0 + 10.0 * 25 / 90)
    assert found.versions["left@1"].attributed is None
    assert found.final_products == ("joined@3",)
    assert found.unclaimed_j == 0.0
    assert [step.name for step in joined.steps] == ["load", "left", "right", "join"]
    assert not joined.lower_bound


def test_a_failed_attempt_of_d_joules_raises_the_product_by_exactly_d():
    found = lineage_of(diamond(failed_j=7.0))
    assert found.versions["joined@3"].in_run_j == pytest.approx(107.0)
    assert found.versions["left@1"].in_run_j == pytest.approx(25.0 + 10.0 * 25 / 97)
    assert next(step for step in found.steps if step.name == "right").attempts == 2


def test_a_fan_divides_what_its_products_share_by_their_bytes():
    run = Run(flow_j=0.0)
    raw = run.write("raw", by=run.task("load", 40.0))
    for name, size in (("a", 1), ("b", 3)):
        task = run.task(name, 10.0)
        run.read(raw, by=task)
        run.write(name, by=task, size=size)
    found = lineage_of(run.records)
    assert found.versions["a@1"].attributed_j == pytest.approx(10 + 10)
    assert found.versions["b@2"].attributed_j == pytest.approx(10 + 30)
    assert found.versions["a@1"].in_run_j == found.versions["b@2"].in_run_j == pytest.approx(50)
    assert found.weights == "bytes"


@pytest.mark.parametrize(("sizes", "said"), [((None, 3), "equal"), ((0, 0), "equal")])
def test_a_fan_with_an_unknown_weight_or_none_at_all_is_divided_equally_and_says_so(sizes, said):
    run = Run()
    raw = run.write("raw", by=run.task("load", 40.0))
    for name, size in zip("ab", sizes, strict=True):
        task = run.task(name, 10.0)
        run.read(raw, by=task)
        run.write(name, by=task, size=size)
    found = lineage_of(run.records)
    assert found.versions["a@1"].attributed_j == found.versions["b@2"].attributed_j == pytest.approx(30)
    assert found.weights.startswith(said)
    assert balanced(found)


def test_a_check_that_leads_nowhere_is_unclaimed_with_its_share_of_the_orchestration():
    run = Run(flow_j=10.0)
    raw = run.write("raw", by=run.task("load", 60.0))
    check = run.task("check", 40.0)
    run.read(raw, by=check)
    found = lineage_of(run.records)
    assert found.unclaimed_j == pytest.approx(40.0 * 1.1)
    assert found.versions["raw@0"].in_run_j == pytest.approx(66.0)
    assert balanced(found)


def test_a_run_without_artifacts_is_all_unclaimed():
    run = Run(flow_j=10.0)
    run.task("work", 90.0)
    found = lineage_of(run.records)
    assert found.unclaimed_j == found.energy_j == pytest.approx(100.0)
    assert found.versions == {}


def test_a_run_of_nothing_but_orchestration_leaves_it_unclaimed():
    found = lineage_of(Run(flow_j=10.0).records)
    assert found.unclaimed_j == found.orchestration_j == found.energy_j == 10.0


def test_a_step_that_rewrites_what_it_read_depends_on_the_version_before():
    run = Run()
    first = run.write("table", by=run.task("create", 30.0))
    update = run.task("update", 12.0)
    run.read(first, by=update)
    second = run.write("table", by=update)
    found = lineage_of(run.records)
    assert found.versions[first].in_run_j == pytest.approx(30.0)
    assert found.versions[second].in_run_j == pytest.approx(42.0)
    assert found.final_products == (second,)


def test_a_step_that_reads_what_its_own_product_led_to_is_contracted_with_it():
    run = Run()
    a, b = run.task("a", 1.0), run.task("b", 2.0)
    first = run.write("first", by=a)
    run.read(first, by=b)
    second = run.write("second", by=b)
    run.read(second, by=a)
    found = lineage_of(run.records)
    assert found.versions[first].in_run_j == found.versions[second].in_run_j == pytest.approx(3.0)
    assert set(found.final_products) == {first, second}
    assert balanced(found)


def test_a_step_that_rewrites_its_output_and_reads_it_back_has_a_final_product():
    run = Run(flow_j=1.0)
    step = run.task("build", 10.0)
    run.write("a", by=step)
    second = run.write("a", by=step)
    run.read(second, by=step)
    found = lineage_of(run.records)
    assert found.final_products == (second,)
    assert found.versions[second].attributed_j == pytest.approx(found.energy_j) == 11.0
    assert found.unclaimed_j == 0.0


def test_a_version_that_led_only_to_what_was_replaced_is_a_final_product():
    run = Run()
    first = run.write("a", by=run.task("import", 3.0))
    draft = run.task("draft", 4.0)
    run.read(first, by=draft)
    run.write("b", by=draft)
    final = run.write("b", by=run.task("start over", 5.0))
    found = lineage_of(run.records)
    assert set(found.final_products) == {first, final}
    assert found.unclaimed_j == 4.0


def mapped():
    """Three instances that write one name, the second of them at its second try, and who reads it."""
    run = Run(flow_j=7.0)
    for name, joules in (("one", 10.0), ("two", 20.0), ("three", 40.0)):
        if name == "two":
            run.task("two", 5.0, status="failed", attempt=1)
        run.write("x://table", by=run.task(name, joules), seen=False)
    use = run.task("use", 25.0)
    run.read("x://table@2", by=use)
    run.write("x://report", by=use, seen=False)
    return run.records


def test_what_several_steps_write_under_one_name_is_read_together():
    found = lineage_of(mapped())
    report = found.versions["x://report@3"]
    assert [step.name for step in report.steps] == ["one", "two", "three", "use"]
    assert report.in_run_j == report.attributed_j == pytest.approx(found.energy_j) == pytest.approx(107.0)
    assert found.final_products == ("x://report@3",)
    assert not report.lower_bound
    assert balanced(found)


def test_a_final_product_that_is_known_by_name_answers_for_all_who_wrote_it():
    run = Run(flow_j=3.0)
    for name, joules in (("create", 10.0), ("append", 20.0)):
        last = run.write("s3://b/tab", by=run.task(name, joules), seen=False)
    found = lineage_of(run.records)
    assert found.final_products == (last,)
    assert found.versions[last].attributed_j == pytest.approx(found.energy_j)
    assert found.versions["s3://b/tab@0"].in_run_j == pytest.approx(11.0)
    assert found.unclaimed_j == 0.0


def test_who_reads_a_name_before_the_last_one_wrote_it_depends_on_those_before():
    run = Run()
    first = run.write("x://table", by=run.task("first", 1.0), seen=False)
    early = run.task("early", 2.0)
    run.read(first, by=early)
    out = run.write("out", by=early)
    run.write("x://table", by=run.task("second", 4.0), seen=False)
    found = lineage_of(run.records)
    assert found.versions[out].in_run_j == pytest.approx(3.0)
    assert balanced(found)


def test_a_write_whose_files_are_known_replaces_what_it_does_not_keep():
    run = Run()
    run.write("a", by=run.task("named", 1.0), seen=False)
    seen = run.write("a", by=run.task("seen", 2.0))
    last = run.write("a", by=run.task("named again", 4.0), seen=False)
    found = lineage_of(run.records)
    assert found.versions[seen].in_run_j == pytest.approx(2.0)
    assert found.versions[last].in_run_j == pytest.approx(6.0)


def test_nested_task_runs_collapse_into_the_outermost_one():
    run = Run()
    outer = run.task("outer", 5.0)
    inner = run.task("inner", 7.0, parent=outer)
    written = run.write("out", by=run.task("innermost", 3.0, parent=inner))
    user = run.task("user", 10.0)
    run.pass_on("inner", "user")
    used = run.write("used", by=user)
    found = lineage_of(run.records)
    assert [step.id for step in found.steps] == ["outer", "user"]
    assert found.versions[written].in_run_j == pytest.approx(15.0)
    assert found.versions[used].in_run_j == pytest.approx(25.0)


def test_a_write_in_the_flows_body_depends_on_every_step_that_had_ended():
    run = Run(flow_j=1.0)
    run.task("before", 10.0, at=0.0, seconds=2.0)
    run.task("during", 20.0, at=0.0, seconds=10.0)
    report = run.write("report", by="flow", at=3.0, joules=5.0)
    found = lineage_of(run.records)
    assert found.versions[report].in_run_j == pytest.approx(15.0 + 1.0 * 15 / 35)
    assert [step.name for step in found.versions[report].steps] == ["before", "flow"]
    assert balanced(found)


def test_a_body_write_that_waits_for_a_reader_of_an_earlier_body_write_is_contracted():
    run = Run()
    first = run.write("first", by="flow", joules=1.0)
    middle = run.task("middle", 2.0, seconds=3.0)
    run.read(first, by=middle)
    second = run.write("second", by="flow", joules=4.0)
    found = lineage_of(run.records)
    assert found.versions[first].in_run_j == found.versions[second].in_run_j == pytest.approx(7.0)


def test_waiting_is_part_of_no_artifact():
    run = Run(flow_j=1.0)
    run.span("wait", "for a cleaner grid", 50.0)
    out = run.write("out", by=run.task("work", 9.0))
    found = lineage_of(run.records)
    assert found.waiting_j == 50.0
    assert found.energy_j == found.versions[out].in_run_j == pytest.approx(10.0)


def test_a_cached_task_run_of_an_earlier_run_adds_nothing():
    run = Run()
    run.task("features", 0.0, status="cached", result_key="k")
    run.pass_on("features", "train")
    out = run.write("model", by=run.task("train", 9.0))
    found = lineage_of(run.records)
    assert found.versions[out].in_run_j == pytest.approx(9.0)
    assert len(found.versions[out].steps) == 2


def test_a_result_reused_inside_the_run_counts_its_original_energy_once():
    run = Run()
    run.task("features", 30.0, result_key="k")
    run.task("features", 0.0, task_run="features-again", status="cached", result_key="k")
    run.pass_on("features-again", "train")
    run.pass_on("features", "train")
    out = run.write("model", by=run.task("train", 9.0))
    assert lineage_of(run.records).versions[out].in_run_j == pytest.approx(39.0)


def test_the_tasks_of_a_failed_flow_attempt_are_attempts_of_their_successors():
    run = Run(flow_j=1.0)
    run.task("load", 10.0, task_run="load-1", task_key="load")
    run.task("side", 5.0, task_run="side-1", task_key="side")
    run.span("flow", "flow", 2.0, span_id="flow-2", parent=None, flow_run_id="R")
    load = run.task("load", 20.0, task_run="load-2", task_key="load", parent="flow-2")
    out = run.write("out", by=load)
    found = lineage_of(run.records)
    assert [(step.id, step.attempts) for step in found.steps] == [("load-2", 2)]
    assert found.orchestration_j == 8.0
    assert found.versions[out].in_run_j == found.energy_j == pytest.approx(38.0)


def test_the_result_of_a_subflow_may_come_from_any_of_its_steps():
    run = Run(flow_j=0.0)
    run.task("before", 1.0)
    sub = run.span("flow", "sub", 4.0, flow_run_id="S", task_run_id="stands-for-S")
    run.task("in-sub", 10.0, parent=sub, flow_run_id="S")
    user = run.task("user", 20.0)
    run.pass_on("before", "stands-for-S")
    run.pass_on("S", "user")
    out = run.write("out", by=user)
    found = lineage_of(run.records)
    assert found.orchestration_j == 4.0
    assert [step.name for step in found.versions[out].steps] == ["before", "in-sub", "user"]


def test_declared_products_replace_the_final_ones():
    found = lineage_of(diamond(), products=["left"])
    assert found.final_products == ("left@1",)
    assert found.unclaimed_j == pytest.approx(65.0 * (1 + 10 / 90))
    assert balanced(found)


def test_a_flow_declares_its_products_and_by_what_their_energy_is_divided():
    records = diamond()
    records.spans[0].attributes |= {"products": ["left", "right", "never"], "product_weight": {"left": 3, "right": 1}}
    found = lineage_of(records)
    assert found.final_products == ("left@1", "right@2")
    assert found.versions["left@1"].attributed_j == pytest.approx((5.0 + 20.0 * 3 / 4) * (1 + 10 / 90))
    assert found.not_made == ("never",)
    assert found.weights == "declared weight"
    assert balanced(found)
    records.spans[0].attributes |= {"product_weight": {"left": 3}}
    assert lineage_of(records).weights == "equal: declared weight unknown or zero"


def test_an_external_input_makes_what_depends_on_it_a_lower_bound():
    run = Run()
    load = run.task("load", 10.0)
    run.read(None, by=load)
    out = run.write("out", by=load)
    other = run.write("other", by=run.task("other", 1.0))
    found = lineage_of(run.records)
    assert found.versions[out].reasons == ("no measured write explains the input external",)
    assert not found.versions[other].lower_bound


def test_an_input_from_an_earlier_run_is_no_gap_of_this_one():
    run = Run()
    load = run.task("load", 10.0)
    run.read("earlier@0", by=load)
    out = run.write("out", by=load)
    assert not lineage_of(run.records).versions[out].lower_bound


def test_a_step_without_any_figure_is_a_gap_and_not_zero():
    run = Run(flow_j=None)
    out = run.write("out", by=run.task("work", None), joules=None)
    one = lineage_of(run.records).versions[out]
    assert one.in_run_j is None
    assert "the energy of 'work' is missing" in one.reasons


def test_a_device_that_the_host_does_not_have_is_no_gap_but_one_that_fails_is():
    run = Run()
    out = run.write("out", by=run.task("work", 1.0))
    sources = [SourceRecord("cpu", "model", "modelled"), SourceRecord("gpu", "NVML", "missing", absent=True)]
    run.records.processes = [ProcessRecord("p", "h", "b", 1, 1, 0.0, "share", sources)]
    assert not lineage_of(run.records).versions[out].lower_bound
    sources.append(SourceRecord("dram", "RAPL", "missing"))
    assert lineage_of(run.records).versions[out].reasons == ("dram energy of 'work' is missing",)


def test_a_result_that_nobody_is_known_to_have_used_is_unlinked_and_bounds_every_figure():
    run = Run()
    run.task("evaluate", 1.0, attributes={"returned": True})
    out = run.write("out", by=run.task("work", 1.0))
    found = lineage_of(run.records)
    assert [step.name for step in found.unlinked] == ["evaluate"]
    assert found.versions[out].lower_bound


def test_work_outside_any_flow_is_a_step_of_its_own():
    run = Run()
    run.records.spans.clear()
    attempt = run.span("attempt", "work", 3.0, parent=None, flow_run_id=None)
    out = run.write("out", by=attempt)
    found = lineage_of(run.records)
    assert [step.id for step in found.steps] == [attempt]
    assert found.versions[out].in_run_j == found.energy_j == 3.0


def test_a_chain_of_thousands_of_steps_needs_no_recursion_and_no_second_for_each():
    run = Run(flow_j=5.0)
    before = None
    for number in range(3000):
        task = run.task(f"t{number}", 1.0)
        if before:
            run.read(before, by=task)
        before = run.write(f"v{number}", by=task)
    found = lineage_of(run.records)
    assert found.versions[before].in_run_j == pytest.approx(3005.0)
    assert found.versions["v0@0"].in_run_j == pytest.approx(1.0 + 5.0 / 3000)


def results_of(run):
    """The run's steps by their task runs, and the sum of the energy that the lineage knows."""
    found = lineage_of(run.records)
    return {step.id: step for step in found.steps}, found


def test_a_persisted_result_belongs_to_the_last_attempt_of_its_task_run():
    run = Run(flow_j=10.0)
    run.task("make", 20.0, status="failed", attempt=1, result_key="k")
    run.task("make", 30.0, attempt=2, result_key="k")
    run.span("move", "write result", 5.0, task_run_id="make", attributes={RESULT: "k"})
    run.write("out", by=run.task("use", 40.0))
    run.pass_on("make", "use")
    steps, found = results_of(run)
    assert (steps["make"].energy.total, steps["make"].attempts, steps["make"].status) == (55.0, 2, "completed")
    assert found.orchestration_j == pytest.approx(10.0)
    assert found.versions["out@0"].in_run_j == pytest.approx(found.energy_j) == pytest.approx(105.0)


def test_loading_a_cached_result_is_new_energy_of_the_task_run_that_reuses_it():
    run = Run(flow_j=0.0)
    run.task("make", 20.0, result_key="k")
    run.span("move", "load result", 3.0, task_run_id="again", attributes={RESULT: "k"})
    run.task("again", 0.0, status="cached", result_key="k")
    steps, _ = results_of(run)
    assert (steps["make"].energy.total, steps["again"].energy.total) == (20.0, 3.0)


def test_a_result_that_a_flow_loads_belongs_to_its_maker_and_one_of_nobody_to_the_body():
    run = Run(flow_j=0.0)
    run.task("make", 20.0, result_key="k")
    run.span("move", "load result", 3.0, attributes={RESULT: "k"})
    run.span("move", "load result", 4.0, attributes={RESULT: "of another run"})
    steps, found = results_of(run)
    assert (steps["make"].energy.total, steps["R"].energy.total) == (23.0, 4.0)
    assert found.energy_j == pytest.approx(27.0)
