"""Names of stage one's products in the store; `records` says which arrays each has."""

MASKS = "masks"
"""SAM's masks of all windows."""
ASSISTANT = "assistant"
"""The assistant's probabilities, agreement, labels and features."""
ENSEMBLE = "ensemble"
"""What fusion makes of both."""
