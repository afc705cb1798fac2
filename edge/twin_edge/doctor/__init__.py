"""Finding out what is wrong with a device by trying everything that it will do, without disturbing anybody."""

from twin_edge.doctor.examination import DoctorConfig, examine, exit_code_of
from twin_edge.doctor.finding import Finding, Outcome

__all__ = ["DoctorConfig", "Finding", "Outcome", "examine", "exit_code_of"]
