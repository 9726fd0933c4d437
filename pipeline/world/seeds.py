"""Seeds of scenes, in named ranges that never overlap, so that nothing is ever tested on what it was trained on."""

DEMO_TRAIN = range(10_000)
"""Unlabelled panoramas that the demo distils from."""

DEMO_EVALUATION = range(20_000, 30_000)
"""Labelled panoramas that only the demo's evaluation opens."""

MODEL_TRAINING = range(100_000, 200_000)
"""Scenes on which the demo's own teacher networks are trained."""

MODEL_VALIDATION = range(200_000, 210_000)
"""Scenes that tell when those networks have been trained enough."""
