"""Published results on gradient flow, reproduced: ``python -m experiments.run``."""
