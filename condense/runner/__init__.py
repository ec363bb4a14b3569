"""The work behind the commands and the Python API: cells of the board, resolved, distilled and evaluated."""
