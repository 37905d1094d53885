"""Nodes of a job before it starts: what each rank finds, what they find of each other, and who is bad. No torch."""
