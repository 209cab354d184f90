"""Test how the cluster's processes are started and stopped, without a cluster."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading

import psutil
import pytest
import standalone


class Master(http.server.BaseHTTPRequestHandler):
    """Answer as a master's status page does."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"aliveworkers": 2}).encode())

    def log_message(self, *arguments):
        pass


def test_the_status_page_is_asked_without_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with http.server.HTTPServer(("127.0.0.1", 0), Master) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert standalone._living_workers(server.server_port) == 2


def test_a_cluster_that_does_not_come_up_says_what_its_logs_said(monkeypatch, tmp_path):
    (tmp_path / "master.log").write_text("starting\nAddress already in use\n")
    monkeypatch.setattr(standalone, "_START_LIMIT_S", -1.0)
    monkeypatch.setattr(standalone, "_living_workers", lambda port: -1)
    with pytest.raises(TimeoutError, match=r"(?s)fewer than 2 workers.*master\.log: .*Address already in use"):
        standalone._await_workers(1, 2, tmp_path)


def test_what_is_stopped_is_stopped_with_all_below_it():
    process = subprocess.Popen(["sh", "-c", "sleep 60 & echo; sleep 60; true"], stdout=subprocess.PIPE)
    process.stdout.readline()
    family = psutil.Process(process.pid).children()
    standalone.stop(process)
    assert family and not any(member.is_running() for member in family)
    standalone.stop(process)  # a second call has nothing to stop


def test_a_cluster_is_stopped_when_its_program_is_told_to_end():
    script = """
import contextlib, sys, types
import standalone
@contextlib.contextmanager
def fake(*_):
    try:
        yield types.SimpleNamespace(submit_arguments=list)
    finally:
        print("stopped", flush=True)
standalone.standalone = fake
sys.argv = ["standalone"]
standalone.main()
"""
    folder = standalone.__file__.rpartition("/")[0]
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env={"PYTHONPATH": folder}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("spark-submit")
        process.terminate()
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0
