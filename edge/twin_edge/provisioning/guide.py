"""What to do with the files, for the person who has made them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from twin_edge.provisioning.plan import Plan

if TYPE_CHECKING:
    from twin_edge.provisioning.provision import Provisioned


def next_steps(plan: Plan, done: Provisioned) -> str:
    """Returns what was done and what to do next, for people."""
    made = [f"  {what:8} {path}" for path, what in done.files.items() if what != "kept"]
    kept = sum(what == "kept" for what in done.files.values())
    lines = [*made, f"  kept     {kept} files that were there already"] if kept else made
    out, site = plan.out, done.site
    broker = shlex.quote(str(out / "broker"))
    lines += [
        "",
        f"1. Keep {out / 'ca' / 'key.pem'} where nobody else can read it, best on no machine of the network.",
        "2. On the broker's machine, as root:",
        f"     mkdir -p {site.install_dir}",
        f"     install -o mosquitto -g mosquitto -m 600 {broker}/* {site.install_dir}/",
        f"     ln -sf {site.install_dir}/mosquitto.conf /etc/mosquitto/conf.d/twin-edge.conf",
        "     systemctl restart mosquitto",
    ]
    if done.roster.twins:
        twin = (plan.twins or done.roster.twins)[0]
        folder = shlex.quote(str(out / "devices" / twin.namespace / twin.device))
        lines += [
            f"3. Copy its own folder to each device, such as that of {twin}; as root there, for the USER that runs it:",
            f"     mkdir -p {site.device_dir}",
            f"     install -o USER -m 600 {folder}/* {site.device_dir}/",
            f"     twin-edge doctor --config {site.device_dir}/twin.toml",
            f"     twin-edge run --config {site.device_dir}/twin.toml --bundle FILE",
        ]
    if done.roster.clients:
        client = (plan.clients or done.roster.clients)[0]
        folder = shlex.quote(str(out / "clients" / client.role.value / client.name))
        lines += [
            f"4. Each subscriber, such as {client.name}, takes its own folder:",
            f"     twin-edge watch --broker {done.url} --ca-file {folder}/ca.pem \\",
            f"       --cert-file {folder}/cert.pem --key-file {folder}/key.pem",
        ]
    lines += ["", "A device that is gone: delete its folder, run 'twin-edge provision' again, and do step 2."]
    return "\n".join(lines)
