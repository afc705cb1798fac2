"""What keeps a bundle from being overwritten by mistake. Loads no TensorFlow."""

from __future__ import annotations

from pathlib import Path

from twin_converters.run import Run
from twin_edge.bundle import Bundle
from twin_edge.errors import ConfigError, TwinEdgeError


def check_may_write(path: Path, run: Run, folder: Path, *, force: bool) -> None:
    """Refuses to write a bundle over one that is there.

    Args:
        path: Where the bundle is to be.
        run: What it is to be made from.
        folder: The run folder.
        force: Whether a bundle that is there is to be replaced.

    Raises:
        ConfigError: There is one; says whether it is the same.
    """
    if force or not path.exists():
        return
    if _made_from(path, run, folder):
        raise ConfigError(
            f"{path} has been made from this run already", fix="use it, or --force to make it again (make: FORCE=1)"
        )
    raise ConfigError(
        f"{path} is there already and was made from another run",
        fix="give another name with --out, or --force to replace it (make: FORCE=1)",
    )


def _made_from(path: Path, run: Run, folder: Path) -> bool:
    """Whether a bundle was made from a run as it is now."""
    try:
        origin = Bundle.open(path).manifest.origin
        older = path.stat().st_mtime < (folder / "metrics.json").stat().st_mtime
    except (OSError, TwinEdgeError):
        return False
    return not older and (origin.recipe_digest, origin.data_digest) == (run.recipe_digest, run.data_digest)
