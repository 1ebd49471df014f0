"""Losses of PyTorch that are known by name, and what is measured beside them."""
