# An object among functions: its words look like calls and a branch.
	.include "frame.inc"
	begin	user
	bl	leaf
	end	user
	.type	pattern, @object
pattern:
	.long	0x60000000, 0x4bffffe1, 0x41820008, 0x4bfffff1, 0x7c0802a6
	.size	pattern, .-pattern
