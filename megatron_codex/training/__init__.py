"""THE loop: batches, loss, optimizer, checkpoints, metrics."""
