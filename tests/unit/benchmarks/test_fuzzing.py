"""The fuzzer finds what it is there to find, and nothing in the parsers as they are."""

from __future__ import annotations

import contextlib
import json
import random
import time

import pytest

from fuzzing.harness import ACCEPTED, FAILED, REFUSED, Target, make_input, run
from fuzzing.mutate import bundle_of, bytes_of, json_of, mutate_bytes, png_of, zip_of
from fuzzing.targets import all_targets
from twin_edge.bundle import Bundle
from twin_edge.bundle.archive import GOLDEN
from twin_edge.errors import BundleError, MessageError

SAMPLE = bytes(range(64))


def target_of(parse, **options):
    return Target("planted", bytes_of([SAMPLE]), parse, 1, **options)


def test_outcomes():
    def parse(data):
        if len(data) < 32:
            raise MessageError("too short")
        if data[0]:
            raise ZeroDivisionError("planted")

    report = run(target_of(parse), 1, 500)
    assert report.outcomes.total() == 500
    assert all(report.outcomes[outcome] > 5 for outcome in (ACCEPTED, REFUSED, FAILED))
    assert report.kinds == {"MessageError": report.outcomes[REFUSED]}
    assert 1 <= len(report.failures) <= 10
    assert "ZeroDivisionError: planted in parse" in report.failures[0]["why"]
    assert json.loads(json.dumps(report.to_json()))["failed"] == report.outcomes[FAILED]


def test_failures_can_be_made_again():
    seen = {}

    def parse(data):
        seen[len(seen)] = data

    target = target_of(parse)
    run(target, 7, 50)
    assert all(make_input(target, 7, number) == data for number, data in seen.items())
    assert make_input(target, 8, 0) != make_input(target, 7, 0)


def test_hang_is_a_failure_and_ends():
    def parse(_data):
        while True:
            with contextlib.suppress(Exception):  # as a careless parser would
                sum(range(1000))

    began = time.process_time()
    report = run(target_of(parse, seconds=0.05), 1, 3)
    assert time.process_time() - began < 5
    assert report.outcomes == {FAILED: 3}
    assert "took more than 0.05 s" in report.failures[0]["why"]


def test_hang_that_swallows_what_stops_it_ends_too():
    def parse(_data):
        with contextlib.suppress(BaseException):
            while True:
                sum(range(1000))
        while True:
            sum(range(1000))

    assert run(target_of(parse, seconds=0.05), 1, 1).outcomes == {FAILED: 1}


def test_memory_is_a_failure():
    report = run(target_of(lambda _data: bytearray(8 << 20), peak_bytes=1 << 20), 1, 1)
    assert report.outcomes == {FAILED: 1}
    assert report.peak_bytes >= 8 << 20


def test_error_of_several_lines_is_a_failure():
    def parse(_data):
        raise MessageError("two", fix="or\nmore lines")

    assert run(target_of(parse), 1, 3).outcomes == {FAILED: 3}


@pytest.mark.parametrize("make", [bytes_of, json_of, png_of])
def test_mutations_change_and_differ(make, bundle_path):
    bundle = Bundle.open(bundle_path)
    sample = {bytes_of: SAMPLE, json_of: bundle.manifest.to_bytes(), png_of: bundle.members["preview.png"]}[make]
    mutate = make([sample])
    made = {mutate(random.Random(seed)) for seed in range(100)}
    assert len(made - {sample}) > 60


def test_structured_mutations_get_past_the_checksums(bundle_path):
    bundle = Bundle.open(bundle_path)
    mutate = bundle_of([bundle.data], {})
    digests = set()
    for seed in range(60):
        data = mutate(random.Random(seed))
        with contextlib.suppress(BundleError):
            digests.add(Bundle.from_bytes(data).digest)
    assert len(digests) > 5
    inside = zip_of([bundle.members[GOLDEN]], {})
    assert any(inside(random.Random(seed)).startswith(b"PK") for seed in range(5))


def test_bytes_stay_bounded():
    data = SAMPLE
    for seed in range(300):
        data = mutate_bytes([data, SAMPLE], random.Random(seed))
        assert len(data) <= 1 << 20


def test_every_parser_takes_a_first_hundred(bundle_path):
    targets = all_targets(Bundle.open(bundle_path))
    assert len({target.name for target in targets}) == len(targets) > 20
    for target in targets:
        report = run(target, 3, 100 if target.weight > 10 else 30)
        assert not report.failures, (target.name, report.failures)
        assert report.outcomes[FAILED] == 0
