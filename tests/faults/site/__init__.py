"""What a node under fault injection finds on its PYTHONPATH."""
