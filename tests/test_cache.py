"""Where the cache is."""

from pathlib import Path

import pytest

from clscli import cache
from clscli.cache import cache_directory


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in ("CLSCLI_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "place"),
    [("linux", ".cache/clscli"), ("darwin", "Library/Caches/clscli"), ("win32", ".cache/clscli")],
)
def test_each_platform_has_its_place(monkeypatch, home, platform, place):
    monkeypatch.setattr(cache.sys, "platform", platform)
    assert cache_directory() == home / place


def test_windows_names_the_local_application_data(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_directory() == tmp_path / "local" / "clscli"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_xdg_goes_before_the_platform(monkeypatch, tmp_path, platform):
    monkeypatch.setattr(cache.sys, "platform", platform)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "clscli"


def test_our_own_variable_goes_before_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "ours"))
    assert cache_directory() == tmp_path / "ours"


def test_empty_variables_count_as_unset(monkeypatch, home):
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("CLSCLI_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_directory() == home / ".cache" / "clscli"


def test_asking_creates_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "ours"))
    assert not cache_directory().exists()
