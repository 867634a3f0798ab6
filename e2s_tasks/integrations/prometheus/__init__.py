"""`e2s exporter`: the ledger's figures as Prometheus metrics (docs/prometheus.md)."""
