"""What `etude doctor` has to try out: imports, torch, Horovod, audio, executors, checkpoints."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from etude.config import Settings, load_settings
from etude.environment import horovod as build
from etude.environment.checks import AGAIN, Finding

_EXECUTOR_IMPORTS = ("etude", "numpy", "pandas", "pyarrow")
# Those that need much else to import.
_DRIVER_IMPORTS = ("numba", "petastorm.reader", "librosa", "pyspark.sql")


def check_imports(load: Callable[[str], Any] = importlib.import_module) -> Finding:
    """Packages that jobs import, as far as no other check does."""
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
    """torch, and whether it sees a GPU."""
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
    return [*findings, Finding("CUDA", "note", f"no GPU seen, training runs on the CPU ({built})", remedy)]


def check_horovod(version: str | None, lacking: str | None, load: Callable[[], Any] | None = None) -> Finding:
    """Horovod and the operations it was built with.

    Args:
        version: the installed version; None where it isn't installed.
        lacking: what this machine lacks to build it; None where nothing is lacking.
        load: returns the module horovod.torch.
    """
    if version is None:
        text = "not installed; training takes train.distribution=torch"
        if lacking:
            remedy = f"to have it, install {lacking} ({build.INSTALL_HINT}) and {AGAIN}"
        else:
            remedy = f"to have it, remove .venv/etude-setup.json and {AGAIN}; log: build/log/horovod.log"
        return Finding("Horovod", "note", text, remedy)
    try:
        hvd = load() if load else __import__("horovod.torch", fromlist=["torch"])
    except (ImportError, OSError) as error:
        remedy = f"remove build/wheels, uninstall horovod and {AGAIN}: it must be built against the torch that is here"
        return Finding("Horovod", "fault", f"{version} doesn't import: {first_line(error)}", remedy)
    built = {"gloo": hvd.gloo_built(), "mpi": hvd.mpi_built(), "nccl": hvd.nccl_built()}
    text = f"{version} with {', '.join(name for name, there in built.items() if there) or 'no operations'}"
    if not built["gloo"]:
        return Finding("Horovod", "fault", text, f"Etude starts it on gloo: remove build/wheels and {AGAIN}")
    return Finding("Horovod", "ok", text)


def check_audio(load: Callable[[], Any] | None = None) -> Finding:
    """libsndfile, which decides what can be decoded."""
    try:
        soundfile = load() if load else __import__("soundfile")
    except (ImportError, OSError) as error:
        return Finding("audio", "fault", f"soundfile doesn't import: {first_line(error)}", AGAIN)
    formats = set(soundfile.available_formats())
    text = f"libsndfile {soundfile.__libsndfile_version__}"
    missing = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in formats]
    if missing:
        remedy = "such files will be rejected as undecodable; soundfile's own wheels bring a libsndfile with all four"
        return Finding("audio", "note", f"{text}, without {', '.join(missing)}", remedy)
    return Finding("audio", "ok", f"{text} with WAV, FLAC, OGG, MP3")


def executor_facts(master: str) -> dict[str, Any]:
    """Start a small Spark session and have one task tell about its Python; one row goes through a Delta table, too.

    Returns:
        `python` (its version, as text), `executable`, `imports` (module -> "" or its error) and `delta` (rows read).
    """
    from etude.session import spark_session

    names = _EXECUTOR_IMPORTS

    def look(_: int) -> dict[str, Any]:
        # Pickled by value: it must run even where the executor can't import etude.
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

    with tempfile.TemporaryDirectory(prefix="etude-doctor-") as folder:
        os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(_submit_arguments(master))
        small = load_settings((), (f"lake.root={folder}", "spark.snapshot_partitions=1"))
        with spark_session("etude doctor", small.spark, small.lake) as spark:
            facts = spark.sparkContext.parallelize([0], 1).map(look).collect()[0]
            table = str(Path(folder, "table"))
            if master.startswith("local"):  # elsewhere executors don't see this machine's folders
                spark.range(1).write.format("delta").save(table)
                facts["delta"] = spark.read.format("delta").load(table).count()
    return facts


def _submit_arguments(master: str) -> list[str]:
    """What the session's spark-submit is started with: as small as it gets."""
    options = [f"--master={master}", "--conf=spark.ui.enabled=false", "--conf=spark.ui.showConsoleProgress=false"]
    # It ends before compiled code, Java's or Spark's, has paid for itself.
    options += ["--conf=spark.sql.codegen.wholeStage=false", "--conf=spark.sql.codegen.factoryMode=NO_CODEGEN"]
    return [*options, "--driver-memory=1g", "--driver-java-options=-XX:TieredStopAtLevel=1", "pyspark-shell"]


def check_executors(facts: Mapping[str, Any], driver: str) -> list[Finding]:
    """Whether executors run the driver's Python with what tasks import, and Delta writes and reads."""
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
    """`check_executors` on a session that is started for it."""
    try:
        return check_executors(executor_facts(master), ".".join(map(str, sys.version_info[:3])))
    except Exception as error:  # whatever keeps Spark from running a task is the finding
        remedy = "mend the faults above first; else read Spark's own words above"
        return [Finding("executors", "fault", f"Spark can't run a task: {first_line(error)}", remedy)]


def check_checkpoints(settings: Settings) -> Finding:
    """Whether the checkpoint directory can be written: tried out in it, or in the nearest folder that exists."""
    part = "checkpoints"
    uri = settings.spark.checkpoint_dir or f"{settings.lake.root.rstrip('/')}/_checkpoints/spark"
    remedy = "set spark.checkpoint_dir or lake.root to a place that this user may write"
    try:
        from etude import storage

        uri = folder = storage.to_uri(uri)
        # Nothing is created but one small file, which goes again: a look must not leave folders behind.
        while not storage.exists(folder) and folder.count("/") > 3:
            folder = folder.rpartition("/")[0]
        probe = storage.join(folder, f".etude-doctor-{uuid.uuid4().hex}")
        storage.write_bytes(probe, b"")
        storage.delete(probe)
    except Exception as error:  # file systems fail each in their own way; the words are for a person
        return Finding(part, "fault", f"{masked(uri)} can't be written: {first_line(error)}", remedy)
    return Finding(
        part, "ok", masked(uri) if folder == uri else f"{masked(uri)} (not there yet; its place is writable)"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without credentials."""
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])


def masked(text: str) -> str:
    """`text` with what stands before the @ of a URI's host blotted out."""
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)
