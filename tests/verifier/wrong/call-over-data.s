# A call over a word that its target reads through the return address.
	.include "frame.inc"
	begin	start
	bl	leaf
	bl	.Lover
	.long	elsewhere-.
.Lover:	mflr	31
	lwa	12, 0(31)
	add	12, 12, 31
	mtctr	12
	bctrl
	end	start
