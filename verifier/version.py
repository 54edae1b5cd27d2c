"""The version of this distribution, in the one place that packaging and the command both read."""

from __future__ import annotations

__version__ = "0.1.0"
