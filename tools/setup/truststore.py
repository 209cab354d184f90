"""Write the trust store of a packaged Java: its own certificates and this machine's, such as a company's.

The system maintains an installed Java's trust store. A packaged Java lacks the certificates that this machine's
administrators added, so downloads that succeed in Python would fail in Java.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SETTINGS = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_PLACES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def system_bundle(environ: Mapping[str, str] = os.environ, places: tuple[str, ...] = _PLACES) -> Path | None:
    """Return the PEM file of the certificates that this machine trusts; None if there is none."""
    named = [environ.get(name) for name in _SETTINGS]
    candidates = [*named, ssl.get_default_verify_paths().cafile, *places]
    return next((Path(name) for name in candidates if name and Path(name).is_file()), None)


def write(java: Path, own_store: Path, bundle: Path, target: Path) -> int:
    """Write a JKS trust store with the certificates of another store and of a PEM file; return their number.

    Needs py4j, through which Java's own classes write the store. It has no password, since it holds no secret.
    """
    from py4j.java_gateway import JavaGateway

    gateway: Any = JavaGateway.launch_gateway(java_path=str(java), die_on_exit=True)
    try:
        security, io = gateway.jvm.java.security, gateway.jvm.java.io
        store = security.KeyStore.getInstance("JKS")
        store.load(io.FileInputStream(str(own_store)), None)
        certificates = security.cert.CertificateFactory.getInstance("X.509").generateCertificates(
            io.FileInputStream(str(bundle))
        )
        for number, certificate in enumerate(certificates):
            store.setCertificateEntry(f"system-{number}", certificate)
        stream = io.FileOutputStream(str(target))
        store.store(stream, gateway.new_array(gateway.jvm.char, 0))
        stream.close()
        return int(store.size())
    finally:
        gateway.shutdown()


if __name__ == "__main__":
    print(write(*(Path(argument) for argument in sys.argv[1:])))
