"""Where projects come from, what they need, and how their own suites are started: before anything is traced."""
