"""What the system remembers: MLflow ledger and registry, the study, and their in-memory twins."""
