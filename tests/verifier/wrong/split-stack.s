# The prologue of -fsplit-stack: __morestack goes on three instructions behind where it returns to.
	.include "frame.inc"
	.globl	deep
	.type	deep, @function
deep:	ld	0, -28736(13)
	addi	12, 1, -4096
	cmpld	7, 12, 0
	bge	7, .Lenough
	mflr	0
	std	0, 16(1)
	bl	__morestack
	ld	0, 16(1)
	mtlr	0
	blr
.Lenough:
	mflr	0
	std	0, 16(1)
	stdu	1, -64(1)
	bl	leaf
	addi	1, 1, 64
	ld	0, 16(1)
	mtlr	0
	blr
	.size	deep, .-deep
	.section .note.GNU-split-stack, "", @progbits
