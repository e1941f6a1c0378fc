"""Steps written for ALeRCE's APF, without ``apf_base``.

``install()`` makes ``apf`` importable for them. Nothing is put in place by importing this package.
"""

from __future__ import annotations

from .shims import ApfInstalledError, install

__all__ = ["ApfInstalledError", "install"]
