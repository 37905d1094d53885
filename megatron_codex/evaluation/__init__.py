"""Verdicts -> numbers: pass@k, ranking curves, round trip, the report."""
