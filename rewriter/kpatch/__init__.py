"""What kpatch asks of an object besides its slots."""
