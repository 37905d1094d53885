"""Isolated runs of untrusted programs, and the judge. docs/security.md has the threat model."""
