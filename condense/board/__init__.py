"""The board: tables, plots and a summary that are computed from the records."""
