"""The device's runtime: camera, twin and link tied together."""

from twin_edge.runtime.device import DeviceRuntime
from twin_edge.runtime.reporting import SyncJudge
from twin_edge.runtime.stats import RunStats, RunSummary

__all__ = ["DeviceRuntime", "RunStats", "RunSummary", "SyncJudge"]
