"""Filming a subject: from any camera to a video that a twin is trained on."""

from twin_edge.filming.config import FilmConfig, FilmStats
from twin_edge.filming.matroska import MatroskaWriter
from twin_edge.filming.recorder import film

__all__ = ["FilmConfig", "FilmStats", "MatroskaWriter", "film"]
