"""Operations of a training step that torch makes slowly on a CPU, and their twins in plain torch."""
