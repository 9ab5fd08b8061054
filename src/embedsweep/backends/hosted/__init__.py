"""Models of providers that speak the OpenAI API: embeddings, and fine-tuning jobs paid for once."""
