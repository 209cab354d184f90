"""Test the trust store of a packaged Java."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tools.setup import java_home, truststore


def test_the_users_bundle_comes_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, system = tmp_path / "own.pem", tmp_path / "system.pem"
    system.touch()
    paths = ssl.get_default_verify_paths()._replace(cafile=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert truststore.system_bundle({"PIP_CERT": str(own)}, (str(system),)) == system
    own.touch()
    assert truststore.system_bundle({"PIP_CERT": str(own)}, (str(system),)) == own
    assert truststore.system_bundle({}, ()) is None


def test_certificates_of_the_system_are_added_to_javas_own(tmp_path: Path) -> None:
    home, bundle = java_home.find(), truststore.system_bundle()
    keytool = home and shutil.which("keytool", path=str(home.home / "bin"))
    if not home or not bundle or not keytool:
        pytest.skip("needs a Java with keytool, and a bundle of certificates")
    binary, begin = home.home / "bin" / "java", "-----BEGIN CERTIFICATE-----"
    certificates = bundle.read_text(errors="replace").split(begin)[1:4]
    few, one = tmp_path / "few.pem", tmp_path / "one.pem"
    few.write_text("".join(begin + certificate for certificate in certificates))
    one.write_text(begin + certificates[0])
    made = ["-importcert", "-noprompt", "-alias", "own", "-file", str(one), "-storetype", "JKS"]
    made += ["-keystore", str(tmp_path / "own"), "-storepass", "changeit"]
    subprocess.run([keytool, *made], check=True, capture_output=True)
    assert truststore.write(binary, tmp_path / "own", few, tmp_path / "cacerts") == 4
    listed = subprocess.run(
        [keytool, "-list", "-keystore", str(tmp_path / "cacerts")], input="\n", capture_output=True, text=True
    )
    assert listed.stdout.count("trustedCertEntry") == 4
