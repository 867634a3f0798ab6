"""The plurals of what people count."""

import pytest

from e2s_tasks.core.plurals import plural
from e2s_tasks.reporter import phrases, summarise
from tests.reporter.runs import outcome, root, run, span


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("prediction", "predictions"), ("accurate prediction", "accurate predictions"), ("stretch", "stretches"),
        ("batch", "batches"), ("box", "boxes"), ("process", "processes"), ("delivery", "deliveries"), ("day", "days"),
        ("rows", "rows"), ("kg", "kg"), ("by cb", "by cb"),
    ],
)  # fmt: skip
def test_a_noun_beside_a_number_is_in_the_plural_unless_it_is_one(noun, many):
    assert plural(noun, 3) == plural(noun, 0) == plural(noun) == many
    assert plural(noun, 1) == noun


def test_what_an_outcome_counts_is_in_the_plural_in_a_kpi_and_in_its_name():
    records = run(root(), span("t", cpu_j=6.0), outcomes=[outcome("t", units=3.0, name="stretch")])
    summary = summarise(records)
    assert any(line.endswith("/ 3 stretches") for line in phrases.kpi_lines(summary))
    assert "performance per watt: stretches per joule" in [one["label"] for one in summary["kpis"].values()]
