"""megatron-core on any machine: its CUDA calls answered on a CPU."""
