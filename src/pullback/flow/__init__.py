"""Gradient flow: measure it, diagnose it, repair it."""

from pullback.flow.diagnose import Diagnosis, diagnose
from pullback.flow.findings import Finding
from pullback.flow.probe import Probe, probe
from pullback.flow.problem import Problem
from pullback.flow.recording import tag

__all__ = ["Diagnosis", "Finding", "Probe", "Problem", "diagnose", "probe", "tag"]
