"""megatron_codex: the Codex training system (Chen et al. 2021, arXiv 2107.03374) on megatron-core."""

__version__ = "0.1.0"
