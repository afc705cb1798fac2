"""The checks in their order, and what each needs of those before it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from twin_edge.doctor import broker, machine, network
from twin_edge.doctor.finding import Finding, Outcome, failed, skipped
from twin_edge.doctor.patient import DoctorConfig, Patient
from twin_edge.errors import TwinEdgeError

__all__ = ["CHECKS", "Check", "DoctorConfig", "examine", "exit_code_of"]

_LOGGER = logging.getLogger(__name__)
_GOOD: Final = frozenset({Outcome.OK, Outcome.WARN})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try."""

    name: str
    """What its findings are called, or begin with."""
    run: Callable[[Patient, str], Iterable[Finding]]
    """Tries it."""
    needs: tuple[str, ...] = ()
    """Checks that must have come out right or well enough."""


CHECKS: Final = (
    Check("runtime", machine.check_runtime),
    Check("opencv", machine.check_opencv),
    Check("bundle", machine.check_bundle, ("runtime",)),
    Check("camera", machine.check_camera, ("opencv",)),
    Check("state folder", machine.check_state_folder),
    Check("free space", machine.check_free_space, ("state folder",)),
    Check("credentials", network.check_credentials),
    Check("clock", network.check_clock, ("credentials",)),
    Check("dns", network.check_dns, ("credentials",)),
    Check("tcp", network.check_tcp, ("dns",)),
    Check("tls", network.check_tls, ("tcp",)),
    Check("login", broker.check_login, ("tls",)),
    Check("mqtt version", broker.check_version, ("login",)),
    Check("identity", broker.check_identity, ("login",)),
    Check("write", broker.check_writes, ("login",)),
    Check("isolation", broker.check_isolation, ("login",)),
    Check("discovery", broker.check_discovery, ("login",)),
    Check("will", broker.check_will, ("login",)),
    Check("read down", broker.check_down, ("login",)),
    Check("receive maximum", broker.check_receive_maximum, ("login",)),
    Check("packet size", broker.check_packet_size, ("login",)),
)


def examine(config: DoctorConfig, checks: Iterable[Check] = CHECKS) -> Iterator[Finding]:
    """Tries everything, and tells what was found as soon as it is.

    Args:
        config: What to examine.
        checks: What to try, each after those that it needs.

    Raises:
        ConfigError: The twin id is malformed; whatever else is wrong is a finding.
    """
    good: set[str] = set()
    with Patient(config) as patient:
        for check in checks:
            lacking = [name for name in check.needs if name not in good]
            if lacking:
                yield skipped(check.name, f"needs {lacking[0]}")
                continue
            worst = Outcome.OK
            for finding in _run(check, patient):
                worst = finding.outcome if finding.outcome not in _GOOD else worst
                yield finding
            if worst in _GOOD:
                good.add(check.name)


def exit_code_of(findings: Iterable[Finding]) -> int:
    """Returns the exit code of the first failure, 0 without one."""
    return next((finding.exit_code for finding in findings if finding.outcome is Outcome.FAIL), 0)


def _run(check: Check, patient: Patient) -> Iterator[Finding]:
    try:
        yield from check.run(patient, check.name)
    except TwinEdgeError as error:
        yield failed(check.name, error)
    except Exception as error:
        _LOGGER.debug("the check %s broke", check.name, exc_info=error)
        yield failed(
            check.name, TwinEdgeError(f"the check broke ({type(error).__name__}: {error})"[:300], fix="report it")
        )
