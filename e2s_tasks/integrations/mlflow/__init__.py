"""MLflow: each measured flow run as a run with its energy, and joules on the models that it logged (docs/mlflow.md)."""
