"""The database: tables (the truth) and how to reach them."""
