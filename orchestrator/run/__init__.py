"""Running a sweep: the driver, in this process or on Ray; feed, board, slots, Tune, preflight, trackers."""
