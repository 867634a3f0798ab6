"""How a run's energy flows from its steps into its final products: each joule goes into one of them, or into none."""

from collections import defaultdict
from typing import Any

from e2s_tasks.core.lineage import Lineage
from e2s_tasks.core.records import RunRecords
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.steps import rows_of
from e2s_tasks.reporter.tree import SpanTree

NOTHING = 1e-9  # of the whole: what is left of differences of floats
_Product = str | None  # the id of a final product; None: none
ORCHESTRATION = None  # beside the steps' numbers


def energy_flow(run: RunRecords, spans: SpanTree, lineage: Lineage) -> list[dict[str, Any]]:
    """Joules by step and final product, the URI and number of one; both None for what led to no final product.

    The steps are those of `consumers`: the flows of one add up to its energy, waiting aside. The rows of a product add
    up to its `attributed_j`, those of none to `unclaimed_j`. lower_bound: of the step's energy a part is missing;
    product_lower_bound: of all that went into the product.
    """
    step_of, parts, rows = _steps_of_spans(lineage), _parts(lineage), rows_of(spans)
    flows: dict[tuple[tuple[str, str], _Product], float] = defaultdict(float)
    for span in spans.spans:
        for target, part in parts[step_of[span.id]].items() if span.id in step_of else ():
            flows[rows[span.id], target] += part * (spans.own_j[span.id] or 0.0)
    least = NOTHING * sum(abs(joules) for joules in flows.values())
    uris = {version.id: version.uri for version in run.versions}
    lacking = figures.lacking(run)
    lower = {rows[id_] for id_ in lacking}
    unsure: set[_Product] = {product for product in lineage.parts if lineage.versions[product].lower_bound}
    if not figures.unclaimed(lineage).isdisjoint(lacking):
        unsure.add(None)
    return [
        {
            "step": row[1],
            "uri": None if target is None else uris[target],
            "version": run.version_numbers.get(target or ""),
            "joules": joules,
            "lower_bound": row in lower,
            "product_lower_bound": target in unsure,
        }
        for (row, target), joules in flows.items()
        if joules > least
    ]


def _steps_of_spans(lineage: Lineage) -> dict[str, int | None]:
    """The number of each span's step, or ORCHESTRATION; waiting has neither."""
    found = lineage.graph.found
    # a flow's own span may stand for what its body read and wrote, but what it used is orchestration
    return {**found.of_span, **{span.id: ORCHESTRATION for span in found.orchestration}}


def _parts(lineage: Lineage) -> dict[int | None, dict[_Product, float]]:
    """Which part (0 to 1) of each step, and of the orchestration, every final product answers for."""
    parts: dict[int | None, dict[_Product, float]] = defaultdict(dict)
    for product, of_product in lineage.parts.items():
        for step, part in of_product.items():
            parts[step][product] = part
    wholes = {product: lineage.versions[product].attributed_j for product in lineage.parts} | {
        None: lineage.unclaimed_j
    }
    own: dict[_Product, float] = dict.fromkeys(wholes, 0.0)
    for step, joules in enumerate(lineage.graph.costs.total):
        for target, part in parts.setdefault(step, {None: 1.0}).items():
            own[target] += part * joules
    orchestration = lineage.orchestration_j
    if orchestration:  # what is not of the steps themselves is their share of it
        parts[ORCHESTRATION] = {target: ((j or 0.0) - own[target]) / orchestration for target, j in wholes.items()}
    return parts
