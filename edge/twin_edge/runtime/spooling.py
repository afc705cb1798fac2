"""Where what waits for the broker is kept."""

from __future__ import annotations

from twin_edge.config import RunConfig
from twin_edge.sync import EngineConfig, TwinId, default_folder

_MB = 1024 * 1024


def engine_config(config: RunConfig, twin: TwinId) -> EngineConfig:
    """Returns the bounds of the link engine of a configuration.

    Args:
        config: The configuration.
        twin: Whose messages wait; each twin has a folder of its own.
    """
    if not config.spool_mb:
        return EngineConfig()
    folder = config.spool_dir or config.state_dir
    folder = default_folder(twin) if folder is None else folder / twin.namespace / twin.device
    return EngineConfig(folder, int(config.spool_mb * _MB))
