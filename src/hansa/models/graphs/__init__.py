"""Steps that are replayed as CUDA graphs."""
