"""Dense networks, trained by a native program of ours: a whole training in one call."""
