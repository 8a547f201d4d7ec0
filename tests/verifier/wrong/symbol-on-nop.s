# A function without a size that ends with a call, and a symbol that begins with a nop.
	.include "frame.inc"
	.globl	falls
falls:	mflr	0
	std	0, 16(1)
	bl	leaf
	bl	leaf
	.globl	entry
entry:	nop
	ld	0, 16(1)
	mtlr	0
	blr
