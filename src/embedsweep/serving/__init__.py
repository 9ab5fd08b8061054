"""The OpenAI-compatible HTTP service over the champion."""
