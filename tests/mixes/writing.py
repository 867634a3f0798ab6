"""What workers do that use this library themselves. Loads no more than that needs, since each worker imports it."""


def write(path):
    """Write a thousand rows, and tell of them."""
    import pandas as pd

    from e2s_tasks import record_outcome
    from e2s_tasks.io import write_parquet

    write_parquet(pd.DataFrame({"a": range(1000)}), path)
    record_outcome(1000, name="row")
