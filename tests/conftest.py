"""Hypothesis without deadlines: a machine may be busy."""

from hypothesis import settings

settings.register_profile("goodsam", deadline=None)
settings.load_profile("goodsam")
