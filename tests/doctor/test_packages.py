"""Test the inspection of installed packages."""

from pathlib import Path

from etude.doctor import packages


def test_packages_damaged_by_an_interruption_are_found(tmp_path: Path) -> None:
    for name in ("whole", "short", "gone", "unrecorded"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        if name != "unrecorded":
            (info / "RECORD").write_text(f"{name}.py,sha256=x,4\n{name}-1.0.dist-info/RECORD,,\n")
    (tmp_path / "whole.py").write_text("a=1\n")
    (tmp_path / "short.py").write_text("a=")
    assert packages.damaged(tmp_path) == ["gone", "short", "unrecorded"]
    assert packages.installed(tmp_path)["whole"] == "1.0"
