"""Fixtures of all tests."""

from __future__ import annotations

from tests.slurm_cluster import slurm_cluster

__all__ = ["slurm_cluster"]
