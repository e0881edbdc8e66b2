"""Building payload images."""

import json
import os
from pathlib import Path

import pytest

from virtproof.guest_payloads import images
from virtproof.guest_payloads.images import BuildError


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    images.load.cache_clear()


@pytest.mark.parametrize("name", images.RECIPES)
def test_every_image_builds_with_the_symbols_that_the_host_needs(name: str) -> None:
    image = images.load(name)
    wanted = {"image", "image_end", "entry"}
    if "table" in image.symbols:
        wanted |= {"count", "kernel_code", "kernel_data", "kernel_stack_top"}
        assert image["table"] == 0x20000
    assert wanted <= set(image.symbols)
    assert image["image"] <= image["entry"] < image["image"] + len(image.data) <= image["image_end"]


def test_an_image_is_built_again_when_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = tmp_path / "images"
    images.build("real16", built)
    monkeypatch.setattr(images, "BUILT", built)
    good = images.load("real16")
    index = json.loads((built / "real16.json").read_text())
    (built / "real16.json").write_text(json.dumps(index | {"stamp": "of an older source"}))
    (built / "real16.bin").write_bytes(b"stale")
    images.load.cache_clear()
    assert images.load("real16") == good


def test_no_compiler_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="apt-get install gcc binutils") as caught:
        images.build("real16", tmp_path)
    assert "no gcc, ld, objcopy, nm" in str(caught.value)


def test_built_images_need_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.build("real16", tmp_path)
    monkeypatch.setattr(images, "BUILT", tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert images.load("real16").name == "real16"


def test_a_source_that_does_not_assemble_shows_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.S").write_text("frobnicate %eax\n")
    monkeypatch.setattr(images, "HERE", tmp_path)
    monkeypatch.setattr(images, "RECIPES", {"broken": images.assembled("broken.S", "broken.ld", "64")})
    with pytest.raises(BuildError, match="no such instruction"):
        images.build("broken", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_read_only_installation_builds_into_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BUILT", tmp_path / "absent")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images.load("real16")
    assert (tmp_path / "cache/virtproof/images/real16.bin").exists()


def test_a_folder_that_cannot_be_made_is_a_fault_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(images.BuildError) as caught:
        images.build("fresh_zero", tmp_path / "file" / "images")
    assert caught.value.saw == "Not a directory"
    assert "XDG_CACHE_HOME" in caught.value.remedy
