"""(Embedder, Benchmark) to Report: ranking, classification, health and significance."""
