"""What keeps a bundle from being overwritten by mistake. Loads no TensorFlow."""

from __future__ import annotations

from pathlib import Path

from twin_converters.run import Run
from twin_edge.bundle import Bundle
from twin_edge.errors import ConfigError, TwinEdgeError
from twin_edge.files import refuse_unwritable


def check_may_write(path: Path, run: Run, folder: Path, *, force: bool) -> None:
    """Refuses to write a bundle over one that is there, or where none can be written.

    Args:
        path: Where the bundle is to be.
        run: What it is to be made from.
        folder: The run folder.
        force: Whether a bundle that is there is to be replaced.

    Raises:
        ConfigError: One of these; says whether the bundle is the same.
    """
    refuse_unwritable(path)
    if force or not path.exists():
        return
    match _made_from(path, run, folder):
        case True:
            raise ConfigError(
                f"{path} has been made from this run already", fix="use it, or --force to make it again (make: FORCE=1)"
            )
        case False:
            what = "is there already and was made from another run, or from this one before it was trained again"
        case None:
            what = "is there already and is not a bundle that this release can read"
    raise ConfigError(f"{path} {what}", fix="give another name with --out, or --force to replace it (make: FORCE=1)")


def _made_from(path: Path, run: Run, folder: Path) -> bool | None:
    """Whether a bundle was made from a run as it is now; None when it cannot be read."""
    try:
        origin = Bundle.open(path).manifest.origin
        older = path.stat().st_mtime < (folder / "metrics.json").stat().st_mtime
    except (OSError, TwinEdgeError):
        return None
    return not older and (origin.recipe_digest, origin.data_digest) == (run.recipe_digest, run.data_digest)
