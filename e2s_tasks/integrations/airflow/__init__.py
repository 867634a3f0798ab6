"""The Airflow integration: every attempt of every operator is measured, without an edit of a DAG.

It is active where `E2S_AUTO=true` is in the environment of Airflow's components.
"""
