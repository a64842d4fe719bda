"""What was spent: every entry as a row, loaded from the journal exactly once, asked by the console alone."""
