"""A layout's memory, communication and time, from a dry run of the real model: nothing is allocated or sent."""
