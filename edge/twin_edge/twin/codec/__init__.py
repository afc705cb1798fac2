"""Codec 1: predicted states, quantized and entropy-coded with tables that come with the bundle."""

from twin_edge.twin.codec.coder import PayloadDecoder, PayloadEncoder, Position
from twin_edge.twin.codec.reader import PacketReader
from twin_edge.twin.codec.tables import CodecTables, Level
from twin_edge.twin.codec.writer import PacketWriter

__all__ = [
    "CodecTables",
    "Level",
    "PacketReader",
    "PacketWriter",
    "PayloadDecoder",
    "PayloadEncoder",
    "Position",
]
