"""Gradient flow: measure it, diagnose it, repair it."""

from pullback.flow.diagnose import Diagnosis, diagnose
from pullback.flow.findings import Finding
from pullback.flow.probe import Probe, probe
from pullback.flow.problem import Problem
from pullback.flow.recording import tag
from pullback.flow.remedies import Treatment, remedies
from pullback.flow.starts import lsuv

__all__ = [
    "Diagnosis",
    "Finding",
    "Probe",
    "Problem",
    "Treatment",
    "diagnose",
    "lsuv",
    "probe",
    "remedies",
    "tag",
]
