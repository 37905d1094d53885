"""Checkpoints in other forms: of another layout, or Hugging Face's."""
