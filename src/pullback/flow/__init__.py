"""Gradient flow: measure it, diagnose it, repair it."""

from pullback.flow.diagnose import Diagnosis, diagnose
from pullback.flow.figures import plot
from pullback.flow.findings import Finding
from pullback.flow.highways import PathReport, branch, paths
from pullback.flow.monitor import Monitor
from pullback.flow.nonfinite import Origin, find_nonfinite
from pullback.flow.probe import Probe, probe
from pullback.flow.problem import Problem
from pullback.flow.recording import tag
from pullback.flow.remedies import Treatment, remedies
from pullback.flow.starts import lsuv

__all__ = [
    "Diagnosis",
    "Finding",
    "Monitor",
    "Origin",
    "PathReport",
    "Probe",
    "Problem",
    "Treatment",
    "branch",
    "diagnose",
    "find_nonfinite",
    "lsuv",
    "paths",
    "plot",
    "probe",
    "remedies",
    "tag",
]
