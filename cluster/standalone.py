"""Run a Spark standalone cluster on this machine: a master and workers as processes with their own work directories.

    python cluster/standalone.py --workers 2 --cores 1 --memory 3g

The command prints the start of a spark-submit command for the cluster, and runs until it is interrupted. Executors use
a separate Python environment with Etude's dependencies but without Etude: they get Etude's code with each job.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HOST = "127.0.0.1"
_START_LIMIT_S = 90.0


@dataclass
class Cluster:
    """Describe a running cluster."""

    master: str
    spark_home: Path
    executor_python: Path
    workers: list[subprocess.Popen] = field(default_factory=list)

    def submit_arguments(self, executor_memory: str = "1500m") -> list[str]:
        """Return the arguments with which spark-submit runs a job on this cluster."""
        return [
            *("--master", self.master),
            *("--conf", f"spark.executor.memory={executor_memory}"),
            *("--conf", f"spark.driver.host={HOST}"),
            *("--conf", f"spark.driver.bindAddress={HOST}"),
            *("--conf", f"spark.pyspark.python={self.executor_python}"),
            *("--conf", f"spark.pyspark.driver.python={sys.executable}"),
        ]

    def executors(self) -> list[psutil.Process]:
        """Return the executors' Java processes, oldest first."""
        found = []
        for worker in self.workers:
            for child in psutil.Process(worker.pid).children():
                with suppress(psutil.NoSuchProcess):  # ended meanwhile
                    if any("CoarseGrainedExecutorBackend" in word for word in child.cmdline()):
                        found.append(child)
        return sorted(found, key=lambda process: process.create_time())

    def commands_of_executors(self) -> list[list[str]]:
        """Return the command lines of the processes that executors started: Python workers, ranks of a training."""
        found = []
        for executor in self.executors():
            with suppress(psutil.NoSuchProcess):  # ended meanwhile
                found += [child.cmdline() for child in executor.children(recursive=True)]
        return found


@contextmanager
def standalone(folder: Path, workers: int = 2, cores: int = 1, memory: str = "3g") -> Iterator[Cluster]:
    """Start a cluster with its files in `folder`, and stop all its processes at the end.

    Raises:
        TimeoutError: the workers have not registered within 90 s; the message quotes the logs in `folder`.
    """
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": HOST, "SPARK_DAEMON_MEMORY": "256m"}
    port, master_ui, *worker_uis = _free_ports(2 + workers)
    cluster = Cluster(f"spark://{HOST}:{port}", home, executor_environment(folder / "python"))
    started: list[subprocess.Popen] = []

    def launch(name: str, main_class: str, *arguments: str) -> subprocess.Popen:
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{main_class}", *arguments]
        work = folder / name
        work.mkdir(parents=True)
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
        started.append(process)
        return process

    try:
        ports = ["--port", str(port), "--webui-port", str(master_ui)]
        launch("master", "master.Master", "--host", HOST, *ports)
        _await_workers(master_ui, 0, folder)
        for number, ui in enumerate(worker_uis, start=1):
            size = ["--cores", str(cores), "--memory", memory, "--webui-port", str(ui)]
            place = ["--host", HOST, "--work-dir", str(folder / f"worker-{number}")]
            cluster.workers.append(launch(f"worker-{number}", "worker.Worker", *place, *size, cluster.master))
        _await_workers(master_ui, workers, folder)
        yield cluster
    finally:
        for process in reversed(started):
            stop(process)


def executor_environment(folder: Path) -> Path:
    """Create a Python environment with this one's packages but not its editable installs; return its interpreter."""
    venv.create(folder, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = [path for path in sys.path if path.endswith("site-packages")]
    # Python adds the folders named in a .pth file to sys.path, but ignores .pth files (editable installs) inside them.
    (folder / "lib" / version / "site-packages" / "dependencies.pth").write_text("\n".join(packages) + "\n")
    return folder / "bin" / "python"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind((HOST, 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _await_workers(master_ui: int, count: int, folder: Path) -> None:
    """Poll the master's status page until it reports `count` live workers."""
    limit = time.monotonic() + _START_LIMIT_S
    while _living_workers(master_ui) < count:
        if time.monotonic() > limit:
            said = "\n".join(f"{log.name}: {_last_lines(log)}" for log in sorted(folder.glob("*.log")))
            raise TimeoutError(f"the master counts fewer than {count} workers after {_START_LIMIT_S:.0f} s\n{said}")
        time.sleep(0.5)


def _last_lines(log: Path, count: int = 5) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _living_workers(master_ui: int) -> int:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # ignores http_proxy
    try:
        with direct.open(f"http://{HOST}:{master_ui}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except OSError:
        return -1


def stop(process: subprocess.Popen) -> None:
    """Terminate a process and its descendants; kill those that still run after 10 s."""
    if process.poll() is not None:
        return  # another process may have its id by now
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    for member in psutil.wait_procs(family, timeout=10)[1]:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def main() -> None:
    """Run a cluster until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=1, help="cores per worker (default: %(default)s)")
    parser.add_argument("--memory", default="3g", help="memory per worker (default: %(default)s)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # stops the cluster, as an interrupt does
    with (
        tempfile.TemporaryDirectory(prefix="etude-cluster-") as folder,
        standalone(Path(folder), given.workers, given.cores, given.memory) as cluster,
    ):
        print("spark-submit", *cluster.submit_arguments(), "jobs/pipeline.py ...", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
