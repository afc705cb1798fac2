"""From the frame as captured to the view that the model sees."""

from twin_edge.preprocess.view import Viewer, ViewSpec

__all__ = ["ViewSpec", "Viewer"]
