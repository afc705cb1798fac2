"""From the frame as captured to the view that the model sees."""

from twin_edge.preprocess.view import ViewSpec, Viewer

__all__ = ["ViewSpec", "Viewer"]
