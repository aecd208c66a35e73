"""Taking a result back, in each receiver's own words."""
