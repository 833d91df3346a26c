"""What would have happened? The driver of the engine; its face is its command, ``simulator``."""
