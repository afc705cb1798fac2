from types import SimpleNamespace

from twin_edge.sync.view.cache import BundleCache, default_folder


def test_what_is_no_bundle_is_discarded(tmp_path, caplog):
    digest = "ab" * 32
    path = tmp_path / f"{digest}.twin"
    cache = BundleCache(tmp_path)
    assert cache.load(digest) is None
    path.write_bytes(b"rubbish")
    assert cache.load(digest) is None
    assert not path.exists()
    assert "discarding" in caplog.text


def test_unwritable_folder_is_only_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    BundleCache(tmp_path / "file" / "folder").store(SimpleNamespace(digest="ab" * 32, data=b"x"))
    assert "not cached" in caplog.text


def test_default_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "twin-edge" / "bundles"
