"""Process groups of a layout."""
