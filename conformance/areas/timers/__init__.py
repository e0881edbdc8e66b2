"""Timers and the time stamp counter: what comes, how often and in what order, never how long it takes."""
