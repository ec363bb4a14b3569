"""The board as one page for a browser: a table to sort and filter, with plots, that needs no server."""
