"""Indexed datasets and the batches cut from them."""
