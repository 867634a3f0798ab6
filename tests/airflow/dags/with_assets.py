"""DAGs that hand an artifact on: one writes it, another, which its asset starts, reads it and makes a second one."""

import os
import time
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetAlias, asset, task

FOLDER = Path(os.environ["AIRFLOW_HOME"]) / "lake"
RAW = Asset(name="raw", uri=(FOLDER / "raw.parquet").as_uri())
CLEAN = Asset(name="clean", uri=(FOLDER / "clean.parquet").as_uri())
TABLE = Asset("warehouse table")


@task(outlets=[RAW])
def make():
    import pandas as pd

    from e2s_tasks.io import write_parquet

    FOLDER.mkdir(exist_ok=True)
    write_parquet(pd.DataFrame({"x": range(1000)}), FOLDER / "raw.parquet")


@task(inlets=[RAW], outlets=[CLEAN, TABLE])
def clean():
    from e2s_tasks import record_outcome
    from e2s_tasks.io import read_parquet, write_parquet

    rows = read_parquet(FOLDER / "raw.parquet")
    write_parquet(rows[rows["x"] > 10], FOLDER / "clean.parquet")
    record_outcome(units=len(rows), accurate=len(rows) - 11, name="row")


@task(outlets=[AssetAlias("by country"), AssetAlias("all countries"), Asset.ref(name="clean")])
def split(*, outlet_events):
    outlet_events[AssetAlias("by country")].add(Asset("lake/norway"), extra={"rows": 7})
    outlet_events[AssetAlias("by country")].add(Asset("lake/sweden"))
    outlet_events[AssetAlias("all countries")].add(Asset("lake/norway"))


@asset(schedule=None)
def ore():
    time.sleep(0.3)


@asset(schedule=None)
def metal(ore):
    return str(ore)


with DAG("makes_by_alias", schedule=None):
    split()


@task(outlets=[Asset("without extra"), Asset("with an extra of its own"), Asset("handed on")])
def tells_of_its_own(*, outlet_events):
    outlet_events[Asset("without extra")].extra = None
    outlet_events[Asset("with an extra of its own")].extra = {"e2s": "mine", "rows": 7}
    of_another = {"run_id": "of another", "attempt_host_energy_j": 1.0}
    outlet_events[Asset("handed on")].extra = {"e2s": of_another, "rows": 7}


with DAG("own_extras", schedule=None):
    tells_of_its_own()


@task(inlets=[AssetAlias("by country")], outlets=[Asset("of whatever it stands for")])
def gather():
    return None


with DAG("makes_of_an_alias", schedule=None):
    gather()


@task(outlets=[Asset(name="not there", uri=(FOLDER / "not there.parquet").as_uri())])
def writes_nothing():
    time.sleep(0.3)


with DAG("makes_nothing", schedule=None):
    writes_nothing()


@task(outlets=[Asset("x://parts")])
def makes_a_part(number):
    time.sleep(0.1)


@task(inlets=[Asset("x://parts")], outlets=[Asset("x://whole")])
def puts_together():
    time.sleep(0.1)


@task(outlets=[Asset("x://while the ledger is held")])
def holds_the_ledger():
    import sqlite3
    import sys

    sys.held = sqlite3.connect(Path(os.environ["E2S_DATA_DIR"]) / "ledger.db", isolation_level=None)  # to its end
    sys.held.execute("BEGIN IMMEDIATE")


with DAG("ledger_is_held", schedule=None):
    holds_the_ledger()

with DAG("makes_parts", schedule=None):
    makes_a_part.expand(number=[1, 2, 3, 4, 5, 6])

with DAG("makes_a_whole", schedule=None):
    puts_together()

with DAG("makes_raw", schedule=None):
    make()

with DAG("makes_clean", schedule=None, params={"e2s": {"solution": "rows"}}):
    clean()
