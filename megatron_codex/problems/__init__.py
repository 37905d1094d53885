"""Problems: functions to write, with their tests; where they come from and how they are filtered."""
