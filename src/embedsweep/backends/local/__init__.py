"""Fine-tuning of sentence-transformers models on this machine."""
