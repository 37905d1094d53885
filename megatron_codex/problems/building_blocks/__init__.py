"""Generated problems: building blocks chained into documented functions (Codex paper, appendix C)."""
