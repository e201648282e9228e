"""Shows that every switch a recipe turns on changes something."""
