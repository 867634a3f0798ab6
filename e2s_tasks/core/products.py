"""What a run's flow and tasks declare of its products: which are final, what divides energy among them, their uses.

A flow span keeps them in the attributes `products` (URIs), `product_weight` and, like an attempt, `uses` (a number by
URI): how often a version will be used in its life.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from e2s_tasks.core.records import Kind, RunRecords

PRODUCTS, WEIGHT, USES = "products", "product_weight", "uses"
WEIGHTS = ("bytes", "rows", "equal")
Weight = Literal["bytes", "rows", "equal"]


@dataclass(frozen=True, slots=True)
class Products:
    """uris: the final products; None where nobody declared them. weight: what divides a step's energy among those that
    depend on it, or each product's own weight by its URI. uses: by URI, how often a version is used.
    """

    uris: frozenset[str] | None = None
    weight: Weight | Mapping[str, float] = "bytes"
    uses: Mapping[str, float] = field(default_factory=dict)


def declared(run: RunRecords) -> Products:
    """What the last life of the run's root flow declares, and the uses that any of its flows and attempts tell."""
    uses: dict[str, float] = {}
    told: Mapping[str, Any] = {}
    for span in run.spans:
        if span.kind == Kind.FLOW and span.flow_run_id == run.run_id:
            told = span.attributes
        if span.kind in (Kind.FLOW, Kind.ATTEMPT) and isinstance(span.attributes.get(USES), Mapping):
            uses |= span.attributes[USES]
    uris = told.get(PRODUCTS)
    return Products(None if uris is None else frozenset(uris), told.get(WEIGHT, "bytes"), uses)
