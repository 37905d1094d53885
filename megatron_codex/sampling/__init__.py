"""Checkpoint -> Completions: decoding, stopping, and log p of given texts."""
