"""Workstation side: from a recording of a subject to float models of its twin."""
