"""What a receipt tells apart, and waiting for it."""

import threading

from twin_edge.sync.engine.delivery import Receipt, ReceiptState


def test_a_final_state_stays():
    receipt = Receipt()
    assert not receipt.state.final
    receipt.advance(ReceiptState.IN_FLIGHT)
    receipt.advance(ReceiptState.REJECTED, "too long")
    receipt.advance(ReceiptState.ACKNOWLEDGED)
    assert (receipt.state, receipt.reason) == (ReceiptState.REJECTED, "too long")
    assert not receipt.acknowledged


def test_being_on_the_disk_and_being_in_flight_are_two_things():
    receipt = Receipt()
    receipt.advance(ReceiptState.IN_FLIGHT)
    receipt.spool()
    assert receipt.state is ReceiptState.IN_FLIGHT
    assert receipt.spooled
    receipt.advance(ReceiptState.QUEUED)
    receipt.spool()
    assert receipt.state is ReceiptState.SPOOLED
    receipt.advance(ReceiptState.ACKNOWLEDGED)
    assert receipt.spooled
    assert receipt.acknowledged


def test_waiting_ends_when_it_is_decided():
    receipt = Receipt()
    assert receipt.wait(0.01) is ReceiptState.QUEUED
    assert not receipt.wait_safe(0.01)
    threading.Timer(0.05, receipt.spool).start()
    assert receipt.wait_safe(5)
    assert receipt.wait(0.01) is ReceiptState.SPOOLED
    threading.Timer(0.05, lambda: receipt.advance(ReceiptState.EXPIRED, "late")).start()
    assert receipt.wait(5) is ReceiptState.EXPIRED
    assert Receipt(ReceiptState.REJECTED, "no").wait_safe(5) is False
