"""Products of matrices with few rows, by kernels of ours, inside the programs that PyTorch compiles."""
