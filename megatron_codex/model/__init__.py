"""ModelConfig to megatron-core's GPT, and checkpoints to full weights."""
