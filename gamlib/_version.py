"""The version of gamlib."""

__version__ = "0.1.0"
