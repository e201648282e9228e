"""The model: pure PyTorch, no files, no environment, no process group."""
