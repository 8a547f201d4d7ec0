# An address made from the program counter, over a call.
	.include "frame.inc"
	begin	makes
	bcl	20, 31, .Lhere
.Lhere:	mflr	31
	bl	leaf
	addi	4, 31, .Lthere-.Lhere
	mtctr	4
	bl	leaf
.Lthere:
	end	makes
