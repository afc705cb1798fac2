from twin_edge.errors import ConfigError
from twin_edge.runtime.applying import SettingsApplier
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.wire.setting import Kind, Setting

ALL = (Setting("fps", "", Kind.NUMBER, 0, 1000), Setting("quality", "", Kind.WHOLE, 0, 7))


def test_wishes_are_carried_out_once_and_refusals_stay_local():
    settings = Settings(ALL, {"fps": 30.0, "quality": 1})
    settings.release()
    settings.take_unsaid()
    done = []

    def set_quality(level):
        raise ConfigError(f"no level {level}", fix="choose another")

    applier = SettingsApplier(settings, {"fps": done.append, "quality": set_quality})
    settings.want("quality", "7")
    settings.want("fps", "5")
    applier.apply_wishes()
    applier.apply_wishes()
    assert done == [5.0]
    assert settings.reported() == {"fps": 5.0, "quality": 1}
    assert (settings.applied, settings.refused) == (1, 1)
    assert settings.take_unsaid() == [("fps", "5"), ("quality", "1")]
