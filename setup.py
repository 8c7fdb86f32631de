"""Packaging; what is not about files is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """Our version, as the Debian package has it too; its ``~rc1`` is Python's ``rc1``."""
    first_line = HERE.joinpath("debian/changelog").read_text("utf-8").partition("\n")[0]
    found = re.fullmatch(r"evok-twisted \((\S+)\) .*", first_line)
    if found is None:
        raise ValueError(f"debian/changelog begins with {first_line!r}, expected 'evok-twisted (VERSION) ...'")
    return found[1].replace("~", "")


setup(
    version=version(),
    # twisted.plugins is Twisted's: only our plugin file goes there
    packages=[*find_packages(include=["evok_twisted", "evok_twisted.*"]), "twisted.plugins"],
    package_data={"evok_twisted.panel": ["static/*"]},
    data_files=[
        ("share/evok-twisted", ["conf/config.yaml"]),
        (
            "share/evok-twisted/hw_definitions",
            [str(path.relative_to(HERE)) for path in sorted(HERE.glob("conf/hw_definitions/*.yaml"))],
        ),
    ],
)
