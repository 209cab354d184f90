"""Test the installation of Delta's jars."""

import hashlib
from pathlib import Path

import pytest

from etude.doctor import delta
from tools.setup import delta_jars
from tools.setup.errors import SetupError

JARS = tuple(
    delta.Jar("io.delta", name, "1.0", hashlib.sha256(name.encode()).hexdigest())
    for name in ("delta-spark_2.13", "delta-storage")
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site" / "pyspark" / "jars").mkdir(parents=True)
    return tmp_path / "site"


@pytest.fixture
def spark_submit(tmp_path: Path) -> Path:
    """Make a spark-submit whose resolver writes jars into the given cache and records its calls."""
    script = tmp_path / "spark-submit"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        'for word in "$@"; do case "$word" in spark.jars.ivy=*) cache="${word#spark.jars.ivy=}";; esac; done\n'
        'mkdir -p "$cache/jars"\n'
        "for name in delta-spark_2.13 delta-storage; do\n"
        '  printf %s "${FAKE_CONTENT:-$name}" > "$cache/jars/io.delta_$name-1.0.jar"; done\n'
        'exit "${FAKE_STATUS:-0}"\n'
    )
    script.chmod(0o755)
    return script


def install(site: Path, spark_submit: Path, tmp_path: Path, **environ: str) -> None:
    delta_jars.install(site, spark_submit, {"PATH": "/usr/bin:/bin", **environ}, tmp_path, JARS)


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_jars_are_fetched_once_and_kept(site: Path, spark_submit: Path, tmp_path: Path) -> None:
    assert delta.faults(site, JARS) == ["delta-spark_2.13-1.0.jar is missing", "delta-storage-1.0.jar is missing"]
    install(site, spark_submit, tmp_path)
    assert delta.faults(site, JARS) == []
    install(site, spark_submit, tmp_path)
    delta.jar_path(JARS[0], site).unlink()  # a new environment beside the old cache
    install(site, spark_submit, tmp_path)
    assert delta.faults(site, JARS) == []
    assert len(calls(tmp_path)) == 1
    assert "--packages io.delta:delta-spark_2.13:1.0,io.delta:delta-storage:1.0" in calls(tmp_path)[0]


def test_other_content_than_pinned_is_never_used(site: Path, spark_submit: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="SHA-256"):
        install(site, spark_submit, tmp_path, FAKE_CONTENT="something else")
    assert "delta-spark_2.13-1.0.jar is missing" in delta.faults(site, JARS)
    install(site, spark_submit, tmp_path)
    assert delta.faults(site, JARS) == []


def test_a_damaged_jar_and_one_of_another_version_are_replaced(site: Path, spark_submit: Path, tmp_path: Path) -> None:
    install(site, spark_submit, tmp_path)
    delta.jar_path(JARS[1], site).write_text("half a j")
    (site / "pyspark" / "jars" / "delta-spark_2.13-0.9.jar").touch()
    assert len(delta.faults(site, JARS)) == 2
    install(site, spark_submit, tmp_path)
    assert delta.faults(site, JARS) == []


def test_a_mirror_is_passed_on_and_a_failure_names_the_setting(site: Path, spark_submit: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"name its ivysettings\.xml in ETUDE_IVY_SETTINGS"):
        install(site, spark_submit, tmp_path, FAKE_STATUS="1", ETUDE_IVY_SETTINGS="/etc/ivysettings.xml")
    assert "spark.jars.ivySettings=/etc/ivysettings.xml" in calls(tmp_path)[-1]
