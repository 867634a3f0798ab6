"""Several root runs that read what others wrote and reuse their results: at random, or by hand."""

from hypothesis import strategies as st

from tests.lineage.oracle import makers_of
from tests.lineage.runs import Run

# A joule figure of 1e-311 would only test the floats: the oracle divides by it.
JOULES = st.just(0.0) | st.floats(1e-6, 100.0)

FILES = st.sampled_from([None, [["a", 1, 1]]])  # whether it is known which files were read


@st.composite
def ledgers(draw, most_runs=4, most_events=12):
    """Up to four runs that go on at the same time, so that two may even feed each other."""
    runs = [Run(flow_j=draw(JOULES), run_id=f"R{number}") for number in range(draw(st.integers(1, most_runs)))]
    versions: list[str] = []
    tasks: dict[str, list[str]] = {run.run_id: [] for run in runs}
    containers = {run.run_id: ["flow"] for run in runs}
    for number in range(draw(st.integers(0, most_events * len(runs)))):
        run = draw(st.sampled_from(runs))
        inside = draw(st.sampled_from(containers[run.run_id]))
        what = draw(st.sampled_from(["task", "task", "write", "write", "read", "read", "keep", "pass"]))
        if what == "task":
            key = draw(st.sampled_from([None, "k", "l"]))
            status = "cached" if key and draw(st.booleans()) else "completed"
            joules = 0.0 if status == "cached" else draw(JOULES)
            fields = {"result_key": key, "status": status, "at": draw(st.floats(0.0, run.clock))}
            containers[run.run_id].append(run.task(f"t{number}", joules, parent=inside, **fields))
            tasks[run.run_id].append(f"t{number}")
        elif what == "write":
            uri, seen = draw(st.sampled_from("abc")), draw(st.booleans())
            versions.append(run.write(uri, by=inside, joules=draw(JOULES), seen=seen))
        elif what == "read" and versions:
            run.read(draw(st.sampled_from(versions)), by=inside, joules=draw(JOULES), files=draw(FILES))
        elif what == "keep" and run.records.versions and run.records.versions[-1].written is not None:
            new = run.records.versions[-1]
            older = [one for one in versions if one.partition("@")[0] == new.uri and one != new.id]
            if older:
                run.keep(draw(st.sampled_from(older)), of=new.id, files=draw(FILES))
        elif what == "pass" and tasks[run.run_id]:
            both = [draw(st.sampled_from(tasks[run.run_id])) for _ in range(2)]
            run.pass_on(*both)
    return connected([run.records for run in runs])


def connected(runs):
    """The runs with what the ledger would tell of each: who wrote what it read, and who made what it reused."""
    writer = {version.id: run.run_id for run in runs for version in run.versions}
    for run in runs:
        run.writers = {
            one.version_id: writer[one.version_id]
            for one in run.reads
            if one.version_id and writer[one.version_id] != run.run_id
        }
        for cached in [span for span in run.spans if span.status == "cached" and span.result_key]:
            makers = [(one, other) for other in runs if other is not run for one in makers_of(cached, other.spans)]
            if makers:
                maker, other = max(makers, key=lambda found: (found[0].ended_at, found[0].id))
                run.producers[cached.id] = other.run_id, maker.id
    return runs


def loading(runs):
    """What loads runs by their ids, as a ledger does."""
    by_id = {run.run_id: run for run in runs}
    return lambda run_ids, _ahead: [by_id[run_id] for run_id in run_ids if run_id in by_id]
