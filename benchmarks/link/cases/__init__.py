"""The 32 ways in which a link goes wrong, each with what must hold then."""

from link.cases import broker_trouble, identity, messages, network, spool, twin
from link.cases.registry import CASES, LIMIT_S, Case

__all__ = ["CASES", "LIMIT_S", "Case", "broker_trouble", "identity", "messages", "network", "spool", "twin"]
