"""The shipped configuration is found from a checkout and from an installation; the cache survives a read-only home."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from r3d2_ros import resources
from r3d2_ros.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def forget_cached_answers():
    resources.config_dir.cache_clear()
    resources.cache_dir.cache_clear()
    yield
    resources.config_dir.cache_clear()
    resources.cache_dir.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix in which the package alone is installed, as `lib/python3.12/site-packages/r3d2_ros`."""
    package = tmp_path / "prefix" / "lib" / "python3.12" / "site-packages" / "r3d2_ros"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE_DIR", package)
    monkeypatch.setattr(resources.sys, "prefix", str(tmp_path / "python"))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    return tmp_path / "prefix"


def _share(prefix: Path) -> Path:
    config = prefix / "share" / "r3d2_ros" / "config"
    config.mkdir(parents=True)
    return config


def test_the_shipped_configuration_holds_the_shipped_rigs():
    assert (resources.config_dir() / "rigs" / "demo3.yaml").is_file()


def test_checkout_is_recognised_by_its_package_xml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "package.xml").touch()
    monkeypatch.setattr(resources, "PACKAGE_DIR", tmp_path / "r3d2_ros")
    assert resources.config_dir() == tmp_path / "config"


def test_installation_is_found_from_the_package_itself(installed: Path):
    expected = _share(installed)
    assert resources.config_dir() == expected


def test_debian_style_installation_is_found(installed: Path, monkeypatch: pytest.MonkeyPatch):
    package = installed / "local" / "lib" / "python3.12" / "dist-packages" / "r3d2_ros"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE_DIR", package)
    expected = _share(installed)
    assert resources.config_dir() == expected


def test_installation_is_found_through_ament_prefix_path(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = _share(tmp_path / "workspace")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'other'}:{tmp_path / 'workspace'}")
    assert resources.config_dir() == expected


def test_missing_configuration_names_the_places(installed: Path, tmp_path: Path):
    with pytest.raises(InputError, match="share/r3d2_ros/config") as caught:
        resources.config_dir()
    assert str(tmp_path / "python") in str(caught.value)


def test_cache_dir_prefers_its_own_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("R3D2_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert resources.cache_dir() == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize(
    "xdg, expected", [("xdg", "xdg/r3d2_ros"), (None, "home/.cache/r3d2_ros")], ids=["XDG_CACHE_HOME", "home"]
)
def test_cache_dir_follows_xdg(
    xdg: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("R3D2_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if xdg:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / xdg))
    assert resources.cache_dir() == tmp_path / expected


@pytest.fixture
def without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a user who has neither HOME nor an entry in passwd."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("R3D2_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(resources, "_temporary", [])
    return tmp_path / f"r3d2_ros-{os.getuid()}"


def test_without_a_home_the_cache_is_the_users_own_among_the_temporary_folders(without_home: Path):
    assert resources.cache_dir() == without_home
    assert without_home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["for everybody", "link"])
def test_without_a_home_no_folder_is_used_that_another_user_may_have_put_there(
    trap: str, without_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    if trap == "link":
        (tmp_path / "elsewhere").mkdir()
        without_home.symlink_to(tmp_path / "elsewhere")
    else:
        without_home.mkdir()
        without_home.chmod(0o777)
    folder = resources.cache_dir()
    assert folder != without_home and folder.parent == tmp_path
    assert f"the cache folder {without_home} may have been put there by another user" in caplog.text


def test_an_unwritable_cache_becomes_one_temporary_folder_that_goes_with_the_process(tmp_path: Path):
    """Two threads ask at once, then a forked child ends: one folder, one line on stderr, and nothing stays."""
    (tmp_path / "file").touch()  # a file where a folder is needed: unwritable for root as well
    wanted = tmp_path / "file" / "cache"
    code = (
        "import os, sys; from concurrent.futures import ThreadPoolExecutor; from r3d2_ros.resources import cache_dir\n"
        "folders = list(ThreadPoolExecutor(8).map(lambda _: cache_dir(), range(8)))\n"
        "pid = os.fork()\n"
        "if pid == 0: sys.exit()\n"
        "os.waitpid(pid, 0); print(len(set(folders)), folders[0], folders[0].is_dir())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=ROOT,
        env=os.environ | {"R3D2_CACHE_DIR": str(wanted), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    count, folder, existed = done.stdout.split()
    assert (count, existed, Path(folder).parent) == ("1", "True", tmp_path)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"the cache folder {wanted} cannot be written (Not a directory): using {folder} ")
    assert not Path(folder).exists()


def test_home_folders_are_expanded_and_unknown_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resources.user_path("~/a.ply", "scene") == tmp_path / "a.ply"
    assert resources.user_path("a~.ply", "scene") == Path("a~.ply")
    with pytest.raises(InputError, match="scene: expected a path, got '~nobody-has-this/a', and there is no home"):
        resources.user_path("~nobody-has-this/a", "scene")
    with pytest.raises(InputError, match=r"there is no home folder for '~\\x00'"):
        resources.user_path("~\0/a", "scene")
    monkeypatch.setenv("R3D2_CACHE_DIR", "~nobody-has-this/cache")
    with pytest.raises(InputError, match="R3D2_CACHE_DIR: expected a path"):
        resources.cache_dir()
