"""Checks of derivatives, for users (``check_grads``) and for every primitive (``battery``)."""
