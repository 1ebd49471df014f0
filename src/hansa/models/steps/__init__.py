"""One step of local training at a time."""
