"""Packaging; what is not about files is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    # twisted.plugins is Twisted's: only our plugin file goes there
    packages=[*find_packages(include=["evok_twisted", "evok_twisted.*"]), "twisted.plugins"],
    data_files=[
        ("share/evok-twisted", ["conf/config.yaml"]),
        (
            "share/evok-twisted/hw_definitions",
            [str(path.relative_to(HERE)) for path in sorted(HERE.glob("conf/hw_definitions/*.yaml"))],
        ),
    ],
)
