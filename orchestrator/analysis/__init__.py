"""What came out of a sweep: tables, comparison, confirmation, acceptance, next steps, summary."""
