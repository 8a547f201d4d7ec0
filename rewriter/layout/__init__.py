"""What is inserted, and where everything goes."""
