"""What drives the product, or shows what it found: Prefect and the command line."""
