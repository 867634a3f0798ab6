"""An exporter on a data directory and ledger of its own, and its metrics as Prometheus reads them."""

from collections import defaultdict

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from e2s_tasks.integrations.prometheus.exporter import Exporter
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import Settings, settings


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path / "e2s"))
    settings.cache_clear()
    yield tmp_path / "e2s"
    settings.cache_clear()


@pytest.fixture
def ledger():
    return Ledger.open(settings().ledger)


class Scraped(dict):
    """The samples of a scrape: by name, then by their labels in the order of their names."""

    def one(self, name, **labels):
        """The sum of a metric's samples that have these labels; None where there is none."""
        wanted = set(labels.items())
        found = [value for key, value in self.get(name, {}).items() if wanted <= set(key)]
        return sum(found) if found else None

    def labels(self, name, label):
        """Every value of a label."""
        return {dict(key)[label] for key in self.get(name, {})}


def scraped(text):
    samples = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return Scraped(samples)


class Started:
    """An exporter as it is after its start; each call is a scrape, with nobody having looked just before."""

    def __init__(self, **options):
        self.exporter = Exporter(Settings(data_dir=settings().data_dir, **options))
        self.exporter.read()

    def __call__(self):
        self.exporter._read_at = 0.0
        return scraped(generate_latest(self.exporter.registry).decode())

    @property
    def runs_read(self):
        return self.exporter._reading.runs_read


@pytest.fixture
def start(ledger):
    return Started
