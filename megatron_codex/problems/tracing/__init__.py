"""What runs inside the sandbox, beside the project's own tests: the standard library and tagged.py only."""
