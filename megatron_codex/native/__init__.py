"""The C++ library of csrc/cpu, where it is built; its Python twins live beside their callers."""
