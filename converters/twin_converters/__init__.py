"""Workstation side: from the float models of a run to the bundle that devices and subscribers use."""
