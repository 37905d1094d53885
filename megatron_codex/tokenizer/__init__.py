"""Codex's tokenizer: GPT-2's byte pairs plus tokens for runs of spaces."""
