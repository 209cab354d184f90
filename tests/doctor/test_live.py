"""Test the checks that use parts, on stand-ins for those parts."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from etude.config import load_settings
from etude.doctor import live


def broken():
    raise ImportError("undefined symbol: x\nmore")


def fake_torch(devices: int):
    cuda = SimpleNamespace(
        is_available=lambda: devices > 0, device_count=lambda: devices, get_device_name=lambda index: f"GPU {index}"
    )
    return lambda: SimpleNamespace(__version__="2.13.0", cuda=cuda, version=SimpleNamespace(cuda="13.0"))


def fake_horovod(**built: bool):
    return lambda: SimpleNamespace(**{f"{name}_built": lambda there=there: there for name, there in built.items()})


def test_torch_with_and_without_a_gpu(assert_fault) -> None:
    assert [finding.status for finding in live.check_torch(fake_torch(0))] == ["ok", "note"]
    with_gpus = live.check_torch(fake_torch(2))
    assert [finding.status for finding in with_gpus] == ["ok", "ok"]
    assert with_gpus[1].found == "13.0: GPU 0, GPU 1"
    assert_fault(live.check_torch(broken)[0], "undefined symbol: x", "make setup")


def test_the_imports_of_jobs_are_tried(assert_fault) -> None:
    assert live.check_imports(lambda name: None).status == "ok"

    def load(name: str) -> None:
        if name == "petastorm.reader":
            raise ImportError("No module named 'dill'")

    assert_fault(live.check_imports(load), "petastorm.reader doesn't import: No module named 'dill'", "make setup")


def test_horovod_and_its_operations(assert_fault) -> None:
    ok = live.check_horovod("0.28.1", None, fake_horovod(gloo=True, mpi=False, nccl=True))
    assert (ok.status, ok.found) == ("ok", "0.28.1 with gloo, nccl")
    without = live.check_horovod("0.28.1", None, fake_horovod(gloo=False, mpi=True, nccl=False))
    assert_fault(without, "0.28.1 with mpi", "build/wheels")
    assert_fault(live.check_horovod("0.28.1", None, broken), "undefined symbol", "build/wheels")


def test_a_missing_horovod_is_a_note_that_says_how_to_get_it() -> None:
    note = live.check_horovod(None, "a C++ compiler")
    assert note.status == "note"
    assert "train.distribution=torch" in note.found and "apt-get install g++" in note.remedy
    assert "horovod.log" in live.check_horovod(None, None).remedy


def test_audio_without_mp3_is_a_note(assert_fault) -> None:
    def library(*formats: str):
        return lambda: SimpleNamespace(__libsndfile_version__="1.0.28", available_formats=lambda: set(formats))

    assert live.check_audio(library("WAV", "FLAC", "OGG", "MP3")).status == "ok"
    note = live.check_audio(library("WAV", "FLAC", "OGG"))
    assert note.status == "note" and "without MP3" in note.found
    assert_fault(live.check_audio(broken), "undefined symbol", "make setup")


def facts(**changes):
    right = {"python": "3.11.7", "executable": "/x/python", "imports": {"etude": "", "pyarrow": ""}, "delta": 1}
    return {**right, **changes}


def test_executors_with_another_python_or_without_packages_are_a_fault(assert_fault) -> None:
    assert [finding.status for finding in live.check_executors(facts(), "3.11.2")] == ["ok", "ok"]
    assert_fault(live.check_executors(facts(python="3.10.7"), "3.11.2")[0], "3.10.7", "PYSPARK_PYTHON")
    lacking = facts(imports={"etude": "", "pyarrow": "No module named 'pyarrow'"})
    assert_fault(live.check_executors(lacking, "3.11.2")[0], "lacks pyarrow", "PYSPARK_PYTHON")
    assert_fault(live.check_executors(facts(delta=0), "3.11.2")[1], "0 rows", "make setup")


def test_a_spark_that_does_not_start_is_a_finding_not_a_crash(assert_fault, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(master: str):
        raise RuntimeError("can't reach s3a://KEY:sec/ret@store/x\nat java.lang")

    monkeypatch.setattr(live, "executor_facts", fails)
    (finding,) = live.try_executors("local[1]")
    assert_fault(finding, "can't reach s3a://***@store/x", "faults above")
    assert "sec" not in finding.found and "ret" not in finding.found


def test_the_checkpoint_directory_is_tried_and_left_unchanged(tmp_path: Path) -> None:
    lake = load_settings((), (f"lake.root={tmp_path}/lake",))
    finding = live.check_checkpoints(lake)
    assert finding.status == "ok" and f"{tmp_path}/lake/_checkpoints/spark" in finding.found
    assert list(tmp_path.iterdir()) == []
    own = tmp_path / "own"
    own.mkdir()
    finding = live.check_checkpoints(load_settings((), (f"spark.checkpoint_dir={own}",)))
    assert (finding.status, finding.found) == ("ok", f"file://{own}")
    assert list(own.iterdir()) == []


def test_a_checkpoint_directory_that_cannot_be_written_is_a_fault(assert_fault, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = load_settings((), (f"spark.checkpoint_dir={tmp_path}/file/below",))
    assert_fault(live.check_checkpoints(blocked), "isn't writable", "spark.checkpoint_dir")
    unknown = live.check_checkpoints(load_settings((), ("spark.checkpoint_dir=gopher://host/x",)))
    assert_fault(unknown, "gopher://host/x isn't writable: Unrecognized filesystem", "spark.checkpoint_dir")


def test_credentials_of_a_checkpoint_directory_are_masked(assert_fault) -> None:
    """The error of pyarrow quotes the URI up to the first slash of the secret."""
    secret = load_settings((), ("spark.checkpoint_dir=gopher://KEY:sec/ret@host/x",))
    finding = live.check_checkpoints(secret)
    assert_fault(finding, "gopher://***@host/x isn't writable", "spark.checkpoint_dir")
    assert not any(part in finding.found for part in ("KEY", "sec/", "ret@"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_a_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    finding = live.check_checkpoints(load_settings((), (f"lake.root={tmp_path}/lake",)))
    tmp_path.chmod(0o700)
    assert finding.status == "fault"
