"""Test which kept or installed Horovod fits the pinned torch."""

from pathlib import Path

import pytest

from tools.setup import horovod
from tools.setup.horovod import python_tag


def test_a_wheel_is_kept_for_one_torch_one_python_and_one_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\n")
    assert horovod.kept_wheel(tmp_path) is None
    folder = horovod.wheel_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "horovod-0.28.1-cp27-cp27-linux_x86_64.whl").touch()
    (folder / f"horovod-0.28.0-{python_tag()}-{python_tag()}-linux_x86_64.whl").touch()
    assert horovod.kept_wheel(tmp_path) is None
    wheel = folder / f"horovod-0.28.1-{python_tag()}-{python_tag()}-linux_x86_64.whl"
    wheel.touch()
    assert horovod.kept_wheel(tmp_path) == wheel
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(horovod.sysconfig, "get_platform", lambda: "macosx-14.0-arm64")
        assert horovod.kept_wheel(tmp_path) is None
    with monkeypatch.context() as with_gpus:
        with_gpus.setenv("HOROVOD_GPU_OPERATIONS", "NCCL")
        assert horovod.kept_wheel(tmp_path) is None
    (tmp_path / "constraints.txt").write_text("torch==2.14.0\nhorovod==0.28.1\n")
    assert horovod.kept_wheel(tmp_path) is None


def test_an_installed_horovod_of_another_torch_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\nhorovod==0.28.1\n")
    assert not horovod.installed_for(tmp_path, tmp_path)
    info = tmp_path / "horovod-0.28.1.dist-info"
    info.mkdir()
    folder = horovod.wheel_folder(tmp_path).name
    other = folder.replace("2.13.0", "2.12.0")
    (info / "direct_url.json").write_text(f'{{"url": "file:///x/build/wheels/{other}/horovod-0.28.1-x.whl"}}')
    assert not horovod.installed_for(tmp_path, tmp_path)
    (info / "direct_url.json").write_text(f'{{"url": "file:///x/build/wheels/{folder}/horovod-0.28.1-x.whl"}}')
    assert horovod.installed_for(tmp_path, tmp_path)
