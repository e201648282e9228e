"""Where a sweep stands: progress, the live screen, the `status` command's rows."""
