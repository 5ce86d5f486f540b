"""Types of the compiled block hook."""

BLOCK: int
NEW_BLOCK: int
STATE_SIZE: int
