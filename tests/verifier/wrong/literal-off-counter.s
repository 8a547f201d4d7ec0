# A word that is read at a distance from the program counter, over a call.
	.include "frame.inc"
	begin	reads
	bcl	20, 31, .Lhere
.Lhere:	mflr	31
	bl	leaf
	ld	3, .Lnumber-.Lhere(31)
	end	reads
	.p2align 3
.Lnumber:
	.quad	1311768467463790320
