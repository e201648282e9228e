"""Text, tokenizer, shards, the loader and the byte counts behind bits per byte."""
