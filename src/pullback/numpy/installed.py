"""Which code belongs to Python or to an installed package."""

from __future__ import annotations

import site
import sysconfig

__all__ = ["is_installed"]

LIBRARIES = tuple(
    {
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)


def is_installed(file: str | None) -> bool:
    """Whether a file belongs to Python or to an installed package: these are not looked into."""
    return file is None or file.startswith((*LIBRARIES, "<frozen"))
