# A distance to another object, counted from a label in front of a call: R_PPC64_REL32 in code.
	.include "frame.inc"
	begin	finds
	bcl	20, 31, .Lhere
.Lhere:	mflr	31
	bl	leaf
	lwa	4, 48(31)
	end	finds
	.p2align 2
	.long	elsewhere-.Lhere
