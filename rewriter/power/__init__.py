"""What the processor is: instruction words and relocation types, as tables."""
