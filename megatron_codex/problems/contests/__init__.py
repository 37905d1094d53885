"""Contests and problem sets as Problems; hidden tests revealed by a judge."""
