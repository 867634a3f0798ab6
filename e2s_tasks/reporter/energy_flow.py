"""How a run's energy flows from its steps into its final products: each joule goes into one of them, or into none."""

from collections import defaultdict
from typing import Any

from e2s_tasks.core.lineage import Lineage
from e2s_tasks.core.records import RunRecords
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.steps import orchestration_name

NOTHING = 1e-9  # of the whole: what is left of differences of floats


def energy_flow(run: RunRecords, lineage: Lineage) -> list[dict[str, Any]]:
    """Joules by step and final product, the URI and number of one; both None for what led to no final product.

    The rows of a product add up to its `attributed_j`, those of none to `unclaimed_j`. lower_bound: of the step's
    energy a part is missing; product_lower_bound: of all that went into the product.
    """
    costs, parts = lineage.graph.costs, lineage.parts
    orchestration = orchestration_name(lineage.graph.found.orchestration)
    flows: dict[tuple[str, str | None], float] = defaultdict(float)
    for product, of_product in parts.items():
        for step, part in of_product.items():
            flows[lineage.steps[step].name, product] += part * costs.total[step]
    claimed = {step for of_product in parts.values() for step in of_product}
    for number, step_ in enumerate(lineage.steps):
        if number not in claimed:
            flows[step_.name, None] += costs.total[number]
    wholes = {product: lineage.versions[product].attributed_j for product in parts} | {None: lineage.unclaimed_j}
    for target, whole in wholes.items():  # what is not of the steps themselves is their share of the orchestration
        own = sum(joules for (_, other), joules in flows.items() if other == target)
        flows[orchestration, target] += (whole or 0.0) - own
    least = NOTHING * sum(abs(joules) for joules in flows.values())
    uris = {version.id: version.uri for version in run.versions}
    lower = _lower_steps(run, lineage)
    unsure: set[str | None] = {product for product in parts if lineage.versions[product].lower_bound}
    if any(name in lower and target is None and joules > least for (name, target), joules in flows.items()):
        unsure.add(None)
    return [
        {
            "step": name,
            "uri": None if target is None else uris[target],
            "version": run.version_numbers.get(target or ""),
            "joules": joules,
            "lower_bound": name in lower,
            "product_lower_bound": target in unsure,
        }
        for (name, target), joules in flows.items()
        if joules > least
    ]


def _lower_steps(run: RunRecords, lineage: Lineage) -> set[str]:
    """The names of the steps, and of the orchestration, whose energy lacks a part."""
    found, lacking = lineage.graph.found, figures.lacking(run)
    lower = {found.steps[found.of_span[id_]].name for id_ in lacking if id_ in found.of_span}
    return lower | {orchestration_name(found.orchestration) for span in found.orchestration if span.id in lacking}
