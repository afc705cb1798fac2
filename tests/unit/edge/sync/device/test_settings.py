import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.wire.ditto import DesiredChange
from twin_edge.sync.wire.setting import Kind, Setting

ALL = (Setting("run", "Run"), Setting("fps", "Frame rate", Kind.NUMBER, 0, 1000))
START = {"run": True, "fps": 30.0}


@pytest.fixture
def settings():
    made = Settings(ALL, START)
    made.begin()
    made.release()
    made.take_unsaid()
    return made


def carry_out(settings, *, done=True):
    wishes = settings.take_wishes()
    for key, wish in wishes:
        settings.settle(key, wish, done=done)
    return wishes


def test_a_wish_is_carried_out_once_and_then_said(settings):
    settings.want("fps", "15")
    assert settings.take_unsaid() == []
    assert carry_out(settings) == [("fps", 15.0)]
    assert carry_out(settings) == []
    assert settings.take_unsaid() == [("fps", "15")]
    assert settings.take_unsaid() == []
    settings.want("fps", "15")
    assert carry_out(settings) == []
    assert settings.applied == 1


def test_only_the_latest_wish_counts(settings):
    for value in ("1", "2", "3"):
        settings.want("fps", value)
    assert carry_out(settings) == [("fps", 3.0)]


def test_a_wish_that_comes_while_another_is_carried_out_is_not_lost(settings):
    settings.want("fps", "15")
    (wish,) = settings.take_wishes()
    settings.want("fps", "30")
    settings.settle(*wish, done=True)
    assert carry_out(settings) == [("fps", 30.0)]
    assert settings.reported()["fps"] == 30.0


def test_what_cannot_be_is_refused_and_what_is_said_again(settings):
    with pytest.raises(MessageError, match="no setting 'fpss': use one of run, fps"):
        settings.want("fpss", "1")
    with pytest.raises(MessageError):
        settings.want("fps", "fast")
    assert settings.take_unsaid() == [("fps", "30")]
    settings.want("fps", "15")
    carry_out(settings, done=False)
    assert settings.take_unsaid() == [("fps", "30")]
    assert settings.refused == 1


def test_nothing_is_said_before_it_is_known_what_is_desired():
    settings = Settings(ALL, START)
    settings.begin()
    assert settings.take_unsaid() == []
    assert settings.reported() == {}
    assert settings.desire(DesiredChange({"fps": 5}, complete=True, revision=3))
    settings.release()
    # Not the default either, which is about to be replaced.
    assert settings.take_unsaid() == [("run", "ON")]
    assert settings.delta() == {"fps": 5}
    carry_out(settings)
    assert settings.take_unsaid() == [("fps", "5")]
    assert settings.delta() == {}


def test_older_revisions_are_ignored(settings):
    assert settings.desire(DesiredChange({"fps": 5}, revision=10))
    assert not settings.desire(DesiredChange({"fps": 6}, revision=9))
    assert not settings.desire(DesiredChange({"fps": 7}, revision=10))
    assert settings.stale == 2
    assert carry_out(settings) == [("fps", 5.0)]
    # The whole of the same revision knows more than the change.
    assert settings.desire(DesiredChange({"fps": 5, "run": False}, complete=True, revision=10))
    assert carry_out(settings) == [("run", False)]
    settings.begin()
    assert settings.desire(DesiredChange({"fps": 8}, complete=True, revision=2))
    assert carry_out(settings) == [("fps", 8.0)]


def test_what_is_desired_is_followed_once(settings):
    settings.desire(DesiredChange({"fps": 5}, complete=True, revision=1))
    assert carry_out(settings) == [("fps", 5.0)]
    settings.want("fps", "20")
    carry_out(settings)
    assert settings.delta() == {"fps": 5}
    settings.begin()
    settings.desire(DesiredChange({"fps": 5}, complete=True, revision=2))
    assert carry_out(settings) == []
    settings.desire(DesiredChange({"fps": 6}, revision=3))
    assert carry_out(settings) == [("fps", 6.0)]


def test_what_is_not_desired_any_more_stays_as_it_is(settings):
    settings.desire(DesiredChange({"fps": 5, "run": False}, complete=True, revision=1))
    carry_out(settings)
    settings.desire(DesiredChange({"fps": None}, revision=2))
    settings.desire(DesiredChange({}, complete=True, revision=3))
    assert carry_out(settings) == []
    assert settings.delta() == {}
    assert settings.reported() == {"fps": 5.0, "run": False}


def test_one_odd_value_does_not_harm_the_others(settings):
    settings.desire(DesiredChange({"fps": "fast", "size": 3, "run": False}, complete=True, revision=1, ignored=1))
    assert carry_out(settings) == [("run", False)]
    assert settings.refused == 3
    assert settings.delta() == {"fps": "fast", "size": 3}


@given(
    st.lists(
        st.tuples(st.sampled_from(["run", "fps", "x"]), st.text(max_size=5) | st.integers(-1, 1001) | st.booleans())
        | st.builds(
            DesiredChange,
            st.dictionaries(st.sampled_from(["run", "fps", "x"]), st.none() | st.integers(0, 5) | st.booleans()),
            st.booleans(),
            st.none() | st.integers(0, 5),
        )
        | st.none(),
        max_size=30,
    )
)
def test_after_any_wishes_the_last_value_carried_out_is_the_one_said(steps):
    settings = Settings(ALL, START)
    settings.begin()
    settings.release()
    said = {}
    for step in [*steps, None]:
        if step is None:
            carry_out(settings)
            said |= settings.take_unsaid()
        elif isinstance(step, DesiredChange):
            settings.desire(step)
        else:
            try:
                settings.want(*step)
            except MessageError:
                continue
    assert said == {one.key: one.text(settings.reported()[one.key]) for one in ALL}
