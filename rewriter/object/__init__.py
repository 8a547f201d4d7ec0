"""What the file is: its sections and symbols, and who refers to which place in it."""
