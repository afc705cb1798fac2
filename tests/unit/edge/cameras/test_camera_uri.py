from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.cameras import (
    CsiCamera,
    DeviceCamera,
    FolderCamera,
    RigCamera,
    StreamCamera,
    VideoCamera,
    open_camera,
    redact,
)
from twin_edge.errors import ConfigError


@pytest.mark.parametrize(
    ("uri", "kind", "shown"),
    [
        ("rig:", RigCamera, "rig:"),
        ("rig:seed=7,fault=leak,at=20", RigCamera, "rig:seed=7,fault=leak,at=20"),
        ("clip.mp4", VideoCamera, "file:clip.mp4"),
        ("clip.mp4?loop=1", VideoCamera, "file:clip.mp4?loop=1"),
        ("file:some/clip.mp4?loop=0", VideoCamera, "file:some/clip.mp4"),
        ("file:///data/a%20clip.mp4", VideoCamera, "file:/data/a clip.mp4"),
        ("images:shots", FolderCamera, "images:shots"),
        ("images:shots?fps=12&loop=true", FolderCamera, "images:shots?fps=12&loop=1"),
        ("0", DeviceCamera, "/dev/video0"),
        ("12", DeviceCamera, "/dev/video12"),
        ("/dev/video3", DeviceCamera, "/dev/video3"),
        ("/dev/v4l/by-id/usb-046d_C920-video-index0", DeviceCamera, "/dev/v4l/by-id/usb-046d_C920-video-index0"),
        ("/dev/shm/clip.mp4", VideoCamera, "file:/dev/shm/clip.mp4"),  # noqa: S108
        ("csi:1", CsiCamera, "csi:1"),
        ("rtsp://cam.local:8554/main", StreamCamera, "rtsp://cam.local:8554/main"),
        ("RTSP://cam.local/main", StreamCamera, "rtsp://cam.local/main"),
        ("https://[::1]:8443/stream.mjpg?fps=5", StreamCamera, "https://[::1]:8443/stream.mjpg?fps=5"),
    ],
)
def test_every_form_makes_its_camera(uri: str, kind: type, shown: str) -> None:
    camera = open_camera(uri)
    assert type(camera) is kind
    assert camera.uri == shown
    assert camera.live is (kind in (DeviceCamera, CsiCamera, StreamCamera))
    camera.close()  # allowed before open


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "rig:"),
        ("\0", "rig:"),
        ("x" * 5000, "rig:"),
        ("ftp://host/clip.mp4", "rtsp://"),
        ("gopher:hole", "images:FOLDER"),
        ("csi:", "csi:0"),
        ("csi:-1", "csi:0"),
        ("rig:sead=1", "seed="),
        ("file:", "no path"),
        ("images:", "no path"),
        ("images:shots?fps=0", "fps"),
        ("images:shots?fps=inf", "fps"),
        ("images:shots?fps=5&fps=6", "repeated"),
        ("images:shots?speed=2", "fps, loop"),
        ("clip.mp4?loop=maybe", "loop=1"),
        ("clip.mp4?fps=3", "own frame rate"),
        ("file://host/clip.mp4", "another host"),
        ("file:///%00", "not text"),
        ("rtsp:", "malformed"),
        ("rtsp://", "malformed"),
        ("rtsp://host:99999/", "malformed"),
        ("http://host/a b", "malformed"),
        ("http://[::1/", "malformed"),
    ],
)
def test_wrong_uris_say_what_would_be_right(uri: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        open_camera(uri)
    assert caught.value.fix


@given(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            "{}:{}".format,
            st.sampled_from(["rig", "file", "images", "csi", "rtsp", "http", "x"]),
            st.text(alphabet="/:@?&=#%[]0159afloprst.é\n ", max_size=30),
        ),
    )
)
def test_any_uri_makes_a_camera_or_a_config_error(uri: str) -> None:
    try:
        camera = open_camera(uri)
    except ConfigError:
        return
    else:
        assert camera.uri


_WORD = st.text(alphabet="abcXYZ019!$,.~%*'", min_size=12, max_size=20)


@given(
    _WORD,
    st.text(alphabet="pqrsPQRS678:/?#[]@+", min_size=10, max_size=24),
    st.sampled_from(["/x", "", "/a@b", "/?q=1"]),
)
def test_credentials_never_show(user: str, password: str, path: str) -> None:
    url = f"rtsp://{user}:{password}@cam.local{path}"
    shown = redact(url)
    assert user not in shown
    assert password not in shown
    try:
        camera = open_camera(url)
    except ConfigError as error:
        shown = str(error)
    else:
        shown = camera.uri
    assert user not in shown
    assert password not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://cam/v.cgi?user=bob&pwd=tiger&res=hd", "http://cam/v.cgi?user=***&pwd=***&res=hd"),
        ("http://cam/v?access_token=abc#x", "http://cam/v?access_token=***#x"),
        ("rtsp://:secret@cam:554/1", "rtsp://cam:554/1"),
        ("rtsp://cam/1?Password=a;b=c", "rtsp://cam/1?Password=***;b=c"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_files_are_what_they_are_even_with_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a?loop=1", "odd:name.mp4", "rtsp:x"):
        Path(name).write_bytes(b"x")
        camera = open_camera(name)
        assert type(camera) is VideoCamera
        assert camera.uri == f"file:{name}"
    assert type(open_camera(str(tmp_path))) is FolderCamera
    assert open_camera(f"{tmp_path}?fps=5").fps == 5.0
    assert type(open_camera(f"file:{tmp_path}")) is FolderCamera
