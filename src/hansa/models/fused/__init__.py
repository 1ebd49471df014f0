"""Local training without Python between its steps."""
