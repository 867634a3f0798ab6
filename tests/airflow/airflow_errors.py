"""Airflow's exceptions, from where the version under test has them."""

try:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferred
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferred

__all__ = ["AirflowException", "AirflowFailException", "AirflowSkipException", "TaskDeferred"]
