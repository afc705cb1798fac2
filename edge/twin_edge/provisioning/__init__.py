"""Certificates, access rules and settings for a broker and those who use it; made on a workstation."""

from twin_edge.provisioning.access import Role, access_rules
from twin_edge.provisioning.guide import next_steps
from twin_edge.provisioning.plan import Client, Plan, Site
from twin_edge.provisioning.provision import Provisioned, provision

__all__ = ["Client", "Plan", "Provisioned", "Role", "Site", "access_rules", "next_steps", "provision"]
