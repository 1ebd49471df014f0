"""Many clients' local training as one batch."""
