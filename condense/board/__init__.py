"""The board: records of trained students, the published numbers, and the tables and plots made of them."""
