"""The walls around a process that touches data: one file per layer, each set and then read back."""

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.probe import probe
from sandbox.lockdown.walls import IsolationMissing, confine

__all__ = ["Confinement", "IsolationMissing", "confine", "probe"]
