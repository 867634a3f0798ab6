"""What work that goes on has made, and what that took: so much of its run's summary as can be waited for."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.lineage import RunGraph
from e2s_tasks.core.records import VersionRecord
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.reporter.artifacts import Emitted
from e2s_tasks.reporter.figures import energy_figures
from e2s_tasks.reporter.run import MOST_SPANS
from e2s_tasks.reporter.tree import adopted, outermost, tree

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger


def summarise_made(
    ledger: "Ledger", run_id: str, span_id: str, uris: Collection[str], made: Sequence[VersionRecord] = ()
) -> dict[str, Any]:
    """Of the summary of a root run the rows, with fewer fields, of a span's attempt and of artifacts that it made.

    Of an artifact that several have written it is the version of this attempt. made: versions that the ledger does not
    have yet.

    Raises:
        NotFoundError: the ledger holds no such run.
        LedgerError: the ledger cannot be read.
    """
    run = ledger.run(run_id)
    run.versions.extend(made)
    spans = tree(run.spans, run.run_id)
    this = spans.by_id.get(span_id)
    around = [] if this is None else [*spans.within(outermost(this, spans))]
    own = {one.id for one in around}
    by_uri = {one.uri: one for one in sorted(run.versions, key=lambda one: one.span_id in own) if one.uri in uris}
    graph, upstream, emitted = RunGraph(adopted(run, spans)), Upstream(ledger.loader(), MOST_SPANS), Emitted()
    artifacts = []
    for version in by_uri.values():
        loaded, closure = upstream.of(graph, version.id), graph.reach.steps(graph.to_version(version.id))
        artifacts.append({
            "uri": version.uri,
            "version_id": version.id,
            "in_run_j": graph.costs.in_run(closure).total,
            "fully_loaded_j": loaded.joules.total,
            "emissions_g": emitted.in_run(graph, closure),
            "fully_loaded_reasons": list(loaded.reasons),
        })  # fmt: skip
    rows = [
        {
            "id": one.id,
            "parent_id": spans.parents[one.id],
            "kind": str(one.kind),
            "energy_j": energy_figures(one.energy),
        }
        for one in around
    ]
    return {"spans": rows, "artifacts": artifacts}
