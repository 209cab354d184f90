"""Build the installable package. Direct dependencies, with reasons: requirements/; exact versions: constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Return the requirements of one file, without comments."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "lib/etude/__init__.py").read_text(encoding="utf-8"), re.M)

setup(
    name="etude",
    version=VERSION[1] if VERSION else "",
    description="Every user's top-N tracks from listening logs and audio, on Apache Spark",
    python_requires=">=3.11,<3.12",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"etude.report": ["templates/*"]},
    install_requires=requirements("core"),
    extras_require={name: requirements(name) for name in ("train", "query", "dev")},
    entry_points={"console_scripts": ["etude = etude.cli.main:main"]},
)
