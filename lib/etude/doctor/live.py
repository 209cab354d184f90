"""Check parts by using them: imports, torch, Horovod, audio, executors, checkpoints."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from etude import storage
from etude.config import Settings, load_settings
from etude.doctor import toolchain
from etude.doctor.checks import AGAIN, Finding
from etude.lake import folders
from etude.small_session import INTERPRETED

_EXECUTOR_IMPORTS = ("etude", "numpy", "pandas", "pyarrow")
# Packages with many dependencies of their own.
_DRIVER_IMPORTS = ("numba", "petastorm.reader", "librosa", "pyspark.sql")
# The session ends before compiled code, Java's or Spark's, repays the time of its compilation.
_SMALL_SESSION = {
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    **INTERPRETED,
}


def check_imports(load: Callable[[str], Any] = importlib.import_module) -> Finding:
    """Check that the packages import that jobs need and no other check covers."""
    failed = [f"{name} doesn't import: {why}" for name in _DRIVER_IMPORTS if (why := _failure(name, load))]
    if failed:
        return Finding("imports", "fault", "; ".join(failed), AGAIN)
    return Finding("imports", "ok", ", ".join(_DRIVER_IMPORTS))


def _failure(name: str, load: Callable[[str], Any]) -> str | None:
    try:
        load(name)
    except (ImportError, OSError) as error:
        return first_line(error)
    return None


def check_torch(load: Callable[[], Any] | None = None) -> list[Finding]:
    """Check that torch imports, and whether it finds a GPU."""
    try:
        torch = load() if load else __import__("torch")
    except (ImportError, OSError) as error:
        return [Finding("torch", "fault", f"doesn't import: {first_line(error)}", AGAIN)]
    findings = [Finding("torch", "ok", str(torch.__version__))]
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return [*findings, Finding("CUDA", "ok", f"{torch.version.cuda}: {names}")]
    built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
    remedy = "nothing, unless this machine has an NVIDIA GPU: then its driver is missing or too old (nvidia-smi)"
    return [*findings, Finding("CUDA", "note", f"no GPU found, training runs on the CPU ({built})", remedy)]


def check_horovod(version: str | None, lacking: str | None, load: Callable[[], Any] | None = None) -> Finding:
    """Check Horovod and the operations in its build.

    Args:
        version: the installed version; None if Horovod isn't installed.
        lacking: the tool that this machine lacks to build it; None if nothing is lacking.
        load: returns the module horovod.torch.
    """
    if version is None:
        text = "not installed; training uses train.distribution=torch"
        if lacking:
            remedy = f"to get it, install {lacking} ({toolchain.INSTALL_HINT}) and {AGAIN}"
        else:
            remedy = f"to get it, {AGAIN}; log: build/log/horovod.log"
        return Finding("Horovod", "note", text, remedy)
    try:
        hvd = load() if load else __import__("horovod.torch", fromlist=["torch"])
    except (ImportError, OSError) as error:
        remedy = f"remove build/wheels, uninstall horovod and {AGAIN}: it must be built for the installed torch"
        return Finding("Horovod", "fault", f"{version} doesn't import: {first_line(error)}", remedy)
    built = {"gloo": hvd.gloo_built(), "mpi": hvd.mpi_built(), "nccl": hvd.nccl_built()}
    text = f"{version} with {', '.join(name for name, there in built.items() if there) or 'no operations'}"
    if not built["gloo"]:
        return Finding("Horovod", "fault", text, f"Etude needs gloo: remove build/wheels and {AGAIN}")
    return Finding("Horovod", "ok", text)


def check_audio(load: Callable[[], Any] | None = None) -> Finding:
    """Check libsndfile, which determines the audio formats that can be decoded."""
    try:
        soundfile = load() if load else __import__("soundfile")
    except (ImportError, OSError) as error:
        return Finding("audio", "fault", f"soundfile doesn't import: {first_line(error)}", AGAIN)
    formats = set(soundfile.available_formats())
    text = f"libsndfile {soundfile.__libsndfile_version__}"
    missing = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in formats]
    if missing:
        remedy = (
            "mel rejects such files as undecodable; soundfile's own wheels contain a libsndfile with all four formats"
        )
        return Finding("audio", "note", f"{text}, without {', '.join(missing)}", remedy)
    return Finding("audio", "ok", f"{text} with WAV, FLAC, OGG, MP3")


def executor_facts(master: str) -> dict[str, Any]:
    """Start a small Spark session, collect facts about an executor's Python, and use a Delta table.

    Returns:
        `python` (its version, as text), `executable`, `imports` (module -> "" or its error) and, if the master is
        local, `delta` (rows read of one row written).
    """
    from etude.session import spark_session

    names = _EXECUTOR_IMPORTS

    def look(_: int) -> dict[str, Any]:
        # Pickled by value: it must run even if the executor can't import etude.
        import importlib
        import sys

        def failure(name: str) -> str:
            try:
                importlib.import_module(name)
            except ImportError as error:
                return str(error)
            return ""

        version = ".".join(map(str, sys.version_info[:3]))
        return {"python": version, "executable": sys.executable, "imports": {name: failure(name) for name in names}}

    options = [f"--master={master}", *(f"--conf={key}={value}" for key, value in _SMALL_SESSION.items())]
    with tempfile.TemporaryDirectory(prefix="etude-doctor-") as folder:
        os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join([*options, "pyspark-shell"])
        small = load_settings((), (f"lake.root={folder}", "spark.snapshot_partitions=1"))
        with spark_session("etude doctor", small.spark, small.lake) as spark:
            facts = spark.sparkContext.parallelize([0], 1).map(look).collect()[0]
            table = str(Path(folder, "table"))
            if master.startswith("local"):  # executors on other machines can't read this machine's folders
                spark.range(1).write.format("delta").save(table)
                facts["delta"] = spark.read.format("delta").load(table).count()
    return facts


def check_executors(facts: Mapping[str, Any], driver: str) -> list[Finding]:
    """Check an executor's Python version against the driver's, its imports, and the Delta round trip.

    Args:
        facts: the result of `executor_facts`.
        driver: the driver's Python version, as text.
    """
    part = "executors"
    text = f"Python {facts['python']}, {facts['executable']}"
    missing = [f"{name} ({error})" for name, error in facts["imports"].items() if error]
    if facts["python"].split(".")[:2] != driver.split(".")[:2]:
        remedy = "set PYSPARK_PYTHON to a Python of the driver's version that every executor has"
        return [Finding(part, "fault", f"{text}; the driver runs {driver}", remedy)]
    if missing:
        remedy = "set PYSPARK_PYTHON to the Python of an environment made by `make setup`, or unset it"
        return [Finding(part, "fault", f"{text} lacks {', '.join(missing)}", remedy)]
    findings = [Finding(part, "ok", f"{text}, imports {', '.join(facts['imports'])}")]
    if "delta" in facts and facts["delta"] != 1:
        return [*findings, Finding("Delta round trip", "fault", f"{facts['delta']} rows read of 1 written", AGAIN)]
    return [*findings, Finding("Delta round trip", "ok", "1 row written and read")] if "delta" in facts else findings


def try_executors(master: str) -> list[Finding]:
    """Run `check_executors` in a Spark session of its own."""
    try:
        return check_executors(executor_facts(master), ".".join(map(str, sys.version_info[:3])))
    except Exception as error:  # any error that stops Spark from running a task is the finding
        remedy = "fix the faults above first; if there are none, read Spark's messages above"
        return [Finding("executors", "fault", f"Spark can't run a task: {first_line(error)}", remedy)]


def check_checkpoints(settings: Settings) -> Finding:
    """Check that the checkpoint directory, or its nearest existing parent, is writable."""
    part = "checkpoints"
    uri = settings.spark.checkpoint_dir or folders.checkpoints(settings.lake.root, "spark")
    remedy = "set spark.checkpoint_dir or lake.root to a writable place"
    try:
        uri = folder = storage.to_uri(uri)
        # Only one small file is created, and deleted again: a check must not leave folders behind.
        while not storage.exists(folder) and folder.count("/") > 3:
            folder = folder.rpartition("/")[0]
        probe = storage.join(folder, f".etude-doctor-{uuid.uuid4().hex}")
        storage.write_bytes(probe, b"")
        storage.delete(probe)
    except Exception as error:  # each file system has its own error classes
        shown = storage.shown(uri)
        # An error that quotes a part of the URI may quote a part of a secret, which nothing can recognise.
        why = first_line(error) if shown == uri else type(error).__name__
        return Finding(part, "fault", f"{shown} isn't writable: {why}", remedy)
    parent = "" if folder == uri else " (doesn't exist yet; its parent is writable)"
    return Finding(part, "ok", storage.shown(uri) + parent)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class, with credentials masked."""
    return storage.shown((str(error).strip().splitlines() or [type(error).__name__])[0])
